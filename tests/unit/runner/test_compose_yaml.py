"""Compose files as YAML."""

import json

import pytest

from runner.compose_files import as_yaml
from runner.compose_yaml import BadYaml, read_yaml


def test_scalars_are_read_as_compose_reads_them() -> None:
    text = b"a: on\nb: 22:22\nc: 0440\nd: 1.5\ne: ~\nf:\ng: 2024-01-01\nh: -3\ni: 'true'\nj: true\nk: 1e3\nl: 0x10\n9: nine\n"
    assert read_yaml(text) == {
        "a": "on",
        "b": "22:22",
        "c": 0o440,
        "d": 1.5,
        "e": None,
        "f": None,
        "g": "2024-01-01",
        "h": -3,
        "i": "true",
        "j": True,
        "k": 1000.0,
        "l": "0x10",
        "9": "nine",
    }


def test_aliases_and_merges_are_written_out() -> None:
    text = b"base: &base {image: a, user: b}\nservices:\n  app:\n    <<: *base\n    user: c\n"
    assert read_yaml(text)["services"] == {"app": {"image": "a", "user": "c"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a: 1\na: 2\n", "the key 'a' is there twice"),
        (b"a: !reset null\n", "!reset"),
        (b"a: !!python/object/apply:os.system [x]\n", "python/object"),
        (b"a: !!binary aGk=\n", "binary"),
        (b"a: &a [*a]\n", "recursive"),
        (b"- a\n", "not a mapping"),
        (b"", "not a mapping"),
        (b"a: [\n", "line 2"),
        (b"a: \xff\n", "not UTF-8"),
        (b"a: " + b"[" * 100 + b"]" * 100, "nested too deeply"),
        (b"a: " + b"[" * 30_000, "nested too deeply"),
        (b"a: " + b"x" * 70_000, "longer than 64 KiB"),
        (b"a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
         b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n", "too many values"),
    ],
)  # fmt: skip
def test_what_readers_could_understand_differently_or_not_at_all_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(BadYaml, match=why):
        read_yaml(text)


def test_what_is_written_anew_is_the_same_to_every_reader_of_yaml() -> None:
    document = {"services": {"app": {"command": ["é", "😀", "\x85\u2028", "a\nb", "on", 3, True, None, "$$x", "\\"]}}}
    written = as_yaml(document)
    assert written.isascii()
    assert read_yaml(written) == document
    assert as_yaml({"a": ["b", 1]}) == json.dumps({"a": ["b", 1]}).encode()
