"""config.yaml → catalogue, with every mistake at its line and column."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.config import parse_config
from hub.config_document import MAX_BYTES
from hub.config_file import ConfigFile
from hub.errors import ConfigError
from schemas.catalogue import Catalogue
from schemas.programs import Program, ProgramKind
from schemas.retries import Retry
from schemas.settings import ProgramSettings
from tests.support.documentation import code_blocks
from tests.support.hub_process import ROOT
from tests.support.seed_config import FOUR_SCRIPTS

HERE = Path("/srv/project")


def parse(text: str, *, overrides: dict[str, str] | None = None, fallbacks: dict[str, str] | None = None) -> Catalogue:
    return parse_config(text, project_dir=HERE, overrides=overrides, fallbacks=fallbacks)


def mistakes(text: str, **layers: dict[str, str]) -> list[str]:
    """What is wrong with this config.yaml, a line a mistake."""
    with pytest.raises(ConfigError) as caught:
        parse(text, **layers)
    assert str(caught.value).splitlines()[:100] == [str(problem) for problem in caught.value.problems][:100]
    return [str(problem).removeprefix("config.yaml:") for problem in caught.value.problems]


NUMBERED_EXTERNAL = """
scripts:
  extractcredentialsfromemail:
    id: "1"
    name: "Extractor de creds"
    path: "/docker/scripts/extractcredentialsfromemail"  # Absolute path
    description: "Script scrapping de Emails"
    enabled: true
    main_file: "run.py"
    docker_image: "extractcredentialsfromemail:latest"

  photovalidator:
    id: "18"
    name: "Screenshot Validator"
    path: "/docker/scripts/photovalidator"  # Absolute path
    description: "Valida la imagen"
    enabled: true
    main_file: "run.py"
    docker_image: "photovalidator:latest"
"""

COMPOSE = """
scripts:
  docker_compose_script:
    id: "docker_compose_script"
    name: "Docker Compose Script"
    path: "scripts/docker_compose_script"
    description: "Script that uses docker compose up"
    enabled: true
    path_docker_compose_run: "docker-compose.yml"  # Path to docker-compose file
  absolute:
    path: "scripts/my_script"
    path_docker_compose_run: "/docker/scripts/my_script/docker-compose.yml"
"""

PARAMETERS = """
scripts:
  example_script:
    id: "example_script"
    name: "Example Script"
    path: "scripts/example_script"
    description: "Example script with parameters"
    enabled: true
    main_file: "main.py"
    parameters: "--process proceso_2 --verbose"  # Optional parameters

bots:
  data_processor:
    id: "data_processor"
    name: "Data Processor"
    path: "bots/data_processor"
    description: "Process data with custom parameters"
    enabled: true
    main_file: "run.py"
    parameters: "--input data.csv --output results.json --format json"
"""

ONLY_A_LIMIT = """
settings:
  max_concurrent_executions: 5  # Maximum concurrent executions
"""


def test_a_file_as_people_write_it_loads_as_typed() -> None:
    """P19, P8, P18"""
    catalogue = parse(FOUR_SCRIPTS)

    assert [program.id for program in catalogue] == [
        "example_script",
        "script_with_custom_image",
        "script_with_parameters",
        "external_script",
        "example_bot",
    ]
    assert [program.kind for program in catalogue] == [ProgramKind.SCRIPT] * 4 + [ProgramKind.BOT]
    assert catalogue.find("script_with_custom_image") == Program(
        key="script_with_custom_image",
        id="script_with_custom_image",
        name="Script with Custom Docker Image",
        kind=ProgramKind.SCRIPT,
        path="scripts/custom_script",
        description="Runs in an image of its own",
        main_file="run.py",
        docker_image="custom-image:latest",
    )
    assert [program.parameters for program in catalogue] == [
        None,
        None,
        "--process proceso_2 --verbose",
        None,
        "--mode production --verbose",
    ]
    assert catalogue.programs[3].path == "/docker/scripts/external_script"
    assert catalogue.project_dir == HERE
    settings = catalogue.settings
    assert (settings.docker_image, settings.timeout_seconds, settings.max_concurrent_executions) == (
        "pyexecutorhub-base",
        300,
        5,
    )
    assert (settings.memory_limit, settings.cpu_limit) == (1024**3, 500_000_000)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (NUMBERED_EXTERNAL, ["1", "18"]),
        (COMPOSE, ["docker_compose_script", "absolute"]),
        (PARAMETERS, ["example_script", "data_processor"]),
        (ONLY_A_LIMIT, []),
    ],
)
def test_the_smaller_shapes_load_as_typed(text: str, ids: list[str]) -> None:
    """P19"""
    assert [program.id for program in parse(text)] == ids


def test_programs_are_found_by_id_and_by_key() -> None:
    """P5"""
    catalogue = parse(NUMBERED_EXTERNAL)

    assert catalogue.find("18") is catalogue.find("photovalidator") is catalogue.programs[1]


def test_only_the_path_is_required() -> None:
    """P6"""
    (program,) = parse("scripts:\n  tidy:\n    path: scripts/tidy\n")

    assert program == Program(
        key="tidy",
        id="tidy",
        name="tidy",
        kind=ProgramKind.SCRIPT,
        path="scripts/tidy",
        description="",
        enabled=True,
        main_file="main.py",
    )


def test_without_settings_the_defaults_hold() -> None:
    """P9, P10, P11"""
    settings = parse("scripts:\n").settings

    assert settings == ProgramSettings()
    assert (settings.docker_image, settings.timeout_seconds, settings.max_concurrent_executions) == (
        "pyexecutorhub-base",
        300,
        5,
    )


@pytest.mark.parametrize("text", ["scripts:\nbots:\nsettings:\n", "scripts: {}\n", "settings: ~\n", "bots:\n  # none yet\n"])
def test_an_empty_section_is_legal(text: str) -> None:
    """P17"""
    assert list(parse(text)) == []


@pytest.mark.parametrize(("written", "read"), [("1", "1"), ('"1"', "1"), ("010", "010"), ("1_0", "1_0"), ("no", None)])
def test_an_id_that_is_a_number_is_what_was_typed(written: str, read: str | None) -> None:
    """P7"""
    text = f"bots:\n  b:\n    path: p\n    id: {written}\n"
    if read is None:
        assert mistakes(text) == ["4:9: program 'b', field 'id': must be text: put it in quotes"]
    else:
        assert parse(text).programs[0].id == read


def test_a_key_that_is_a_number_is_what_was_typed() -> None:
    """P7"""
    assert parse("bots:\n  007: {path: p}\n").programs[0].key == "007"


def test_p8_an_image_that_is_written_and_left_empty_is_none() -> None:
    assert parse("scripts:\n  a: {path: p, docker_image: ''}\n").programs[0].docker_image is None


def test_a_field_with_nothing_behind_it_counts_as_not_written() -> None:
    program = parse("scripts:\n  a:\n    path: p\n    docker_image:\n    description:\n    main_file: ~\n").programs[0]

    assert (program.docker_image, program.description, program.main_file) == (None, "", "main.py")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scripts:\n  a:\n", ["2:3: program 'a', field 'path': is required"]),
        ("scripts:\n  a:\n    path:\n", ["3:10: program 'a', field 'path': is required"]),
        ("scripts:\n  a: {path: ''}\n", ["2:13: program 'a', field 'path': must not be empty"]),
        ("scripts:\n  a: {path: 7}\n", ["2:13: program 'a', field 'path': must be text: put it in quotes"]),
        ("scripts:\n  a: {path: [x]}\n", ["2:13: program 'a', field 'path': must be text: put it in quotes"]),
        ("scripts:\n  a: scripts/a\n", ["2:6: program 'a': must hold fields, each on a line of its own and indented"]),
        (
            "scripts:\n  a:\n    path: p\n    docker-image: x\n",
            ["4:5: program 'a', field 'docker-image': is not known: did you mean 'docker_image'?"],
        ),
        (
            "scripts:\n  a: {path: p, key: b}\n",
            [
                "2:16: program 'a', field 'key': is not known: use one of id, name, path, description, enabled, main_file, "
                "docker_image, parameters, path_docker_compose_run, compose_profile, on_limit, timeout_seconds, "
                "stop_grace_seconds, memory_limit, cpu_limit, pids_limit, network, retry, warm, preload, pool"
            ],
        ),
        (
            "scripts:\n  a: {path: p, retry: {max: 3, backof: 2s}}\n",
            ["2:40: program 'a', field 'retry.backof': is not known: did you mean 'backoff'?"],
        ),
        (
            "scripts:\n  a: {path: p, retry: {max: -1, backoff: soon}}\n",
            [
                "2:29: program 'a', field 'retry.max': must be greater than or equal to 0",
                "2:42: program 'a', field 'retry.backoff': 'soon' is not a duration: write seconds, or a number with h, m, s "
                "or ms, as in 300 or 5m",
            ],
        ),
        ("scripts:\n  a: {path: p, retry: {backoff: 1s}}\n", ["2:23: program 'a', field 'retry.max': is required"]),
        (
            "scripts:\n  a: {path: p, retry: {max: 1, on: [failed, cancelled]}}\n",
            [
                "2:45: program 'a', field 'retry.on': must be a list of what another attempt may follow: failed, timeout, "
                "runner_lost"
            ],
        ),
        (
            "scripts:\n  a: {path: p, retry: {max: 1, on: []}}\n",
            [
                "2:36: program 'a', field 'retry.on': must be a list of what another attempt may follow: failed, timeout, "
                "runner_lost"
            ],
        ),
        (
            "settings:\n  retry: true\n",
            [
                "2:10: field 'retry': must be a number of attempts, or a table with max, backoff, max_backoff, on",
            ],
        ),
        ("settings:\n  retry: 21\n", ["2:10: field 'retry.max': must be less than or equal to 20"]),
        ("scripts:\n  a: {path: p, retries: 3}\n", ["2:16: program 'a', field 'retries': is not known: did you mean 'retry'?"]),
        ("bots:\n  a: {path: p, enabled: perhaps}\n", ["2:25: program 'a', field 'enabled': must be true or false"]),
        ("bots:\n  á: {path: p}\n", ["2:3: program 'á': may hold letters, digits, _ and - only, at most 128 of them"]),
        ("bots:\n  á: {path: p, id: a}\n", ["2:3: program 'á': may hold letters, digits, _ and - only, at most 128 of them"]),
        (
            "bots:\n  a: {path: p, id: a.b}\n",
            ["2:20: program 'a', field 'id': may hold letters, digits, _ and - only, at most 128 of them"],
        ),
        (
            "bots:\n  a: {path: p, pids_limit: 0}\n",
            ["2:28: program 'a', field 'pids_limit': must be greater than or equal to 1"],
        ),
        ("bots:\n  a: {path: p, network: host}\n", ["2:25: program 'a', field 'network': must be 'bridge' or 'none'"]),
        ("settings:\n  network: internal\n", ["2:12: field 'network': must be 'bridge' or 'none'"]),
        (
            "bots:\n  a: {path: p, path_docker_compose_run: c.yml, network: none}\n",
            [
                "2:57: program 'a', field 'network': does not hold for a Compose program; "
                "write network_mode into its Compose file"
            ],
        ),
        (
            "bots:\n  a: {path: p, pool: a b}\n",
            ["2:22: program 'a', field 'pool': may hold letters, digits, _ and - only, at most 64 of them"],
        ),
        (
            "bots:\n  a: {path: p, memory_limit: lots}\n",
            [
                "2:30: program 'a', field 'memory_limit': 'lots' is not a size: "
                "write bytes, or a number with k, m, g or t, as in 512m or 1g"
            ],
        ),
        (
            "bots:\n  a: {path: p, memory_limit: 5m}\n",
            ["2:30: program 'a', field 'memory_limit': '5m' is not enough memory: a container needs at least 6m"],
        ),
        (
            "scripts:\n  a: 5\nbots:\n  b: {path: p, id: a}\n",
            [
                "2:6: program 'a': must hold fields, each on a line of its own and indented",
                "4:20: program 'b': the name 'a' belongs to program 'a' already, line 2",
            ],
        ),
        ("bot:\n", ["1:1: field 'bot': is not known: did you mean 'bots'?"]),
        ("bots: 5\n", ["1:7: field 'bots': must hold entries, each on a line of its own and indented"]),
        ("- bots\n", ["1:1: must hold the sections scripts, bots and settings"]),
        ("settings:\n  timeout: 5\n", ["2:3: field 'timeout': is not known: did you mean 'timeout_seconds'?"]),
        ("settings: {max_executions: 1.5}\n", ["1:28: field 'max_executions': must be a whole number"]),
        (
            "settings: {max_concurrent_executions: 0}\n",
            ["1:39: field 'max_concurrent_executions': must be greater than or equal to 1"],
        ),
        ("settings: {pool: 2024-13-45}\n", ["1:18: '2024-13-45' can't be read: put text in quotes"]),
    ],
)
def test_a_mistake_is_named_with_its_place_its_program_and_its_field(text: str, expected: list[str]) -> None:
    """P6"""
    assert mistakes(text) == expected


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "settings:\n  timeout_seconds: -1\nscripts:\n  b: {}\n  a:\n    pth: x\n    enabled: 9\nwhat: 1\n"

    assert mistakes(text, overrides={"cpu_limit": "many"}) == [
        "variable HUB_CPU_LIMIT: 'many' is not a number of processors: write a number such as 0.5 or 2",
        "2:20: field 'timeout_seconds': -1 is not a duration: it must be above zero and at most a year",
        "4:3: program 'b', field 'path': is required",
        "5:3: program 'a', field 'path': is required",
        "6:5: program 'a', field 'pth': is not known: did you mean 'path'?",
        "7:14: program 'a', field 'enabled': must be true or false",
        "8:1: field 'what': is not known: use one of scripts, bots, settings",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "scripts:\n  a: {path: p, id: x}\nbots:\n  b: {path: p, id: x}\n",
            ["4:20: program 'b': the name 'x' belongs to program 'a' already, line 2"],
        ),
        (
            "scripts:\n  a: {path: p}\nbots:\n  b: {path: p, id: a}\n",
            ["4:20: program 'b': the name 'a' belongs to program 'a' already, line 2"],
        ),
        (
            "scripts:\n  a: {path: p, id: b}\n  b: {path: p, id: c}\n",
            ["3:3: program 'b': the name 'b' belongs to program 'a' already, line 2"],
        ),
        (
            "scripts:\n  a: {path: p, id: 1}\n  b: {path: p, id: 2}\nbots:\n  a: {path: p, id: 3}\n",
            ["5:3: program 'a': the name 'a' belongs to program 'a' already, line 2"],
        ),
        ("scripts:\n  a: {path: p}\n  a: {path: q}\n", ["3:3: 'a' stands here twice: first in line 2"]),
        ("scripts:\n  a:\n    path: p\n    path: q\n", ["4:5: 'path' stands here twice: first in line 3"]),
        ("bots:\nbots:\n", ["2:1: 'bots' stands here twice: first in line 1"]),
    ],
)
def test_a_name_belongs_to_one_program(text: str, expected: list[str]) -> None:
    """P7"""
    assert mistakes(text) == expected


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("scripts:\n  a: [1\nbots:\n", "3:5: "),
        ("scripts:\n\ta: 1\n", "2:1: "),
        ("scripts: a: b\n", "1:11: "),
        ('scripts: "ñ\n', "2:1: "),
        ("scripts:\n--- \nbots:\n", "2:1: "),
        ("bots:\n  ñ: \x07\n", "2:6: the character U+0007 is not allowed"),
        ("x: &all 1\ny: [*all]\nz: *all\n", "2:5: aliases are not allowed: write the value out"),
        ("? [a]\n: b\n", "1:3: a key must be text"),
        ("a: " + "[" * 100_000, "1:19: it is nested deeper than 16 levels"),
        ("a: " + "{a: " * 100_000, "1:64: it is nested deeper than 16 levels"),
    ],
)
def test_text_that_is_not_allowed_is_named_with_its_place(text: str, place: str) -> None:
    assert mistakes(text)[0].startswith(place)


@pytest.mark.parametrize("text", ["", "\n", "# nothing here\n", "---\n", "~\n"])
def test_a_file_without_content_is_refused(text: str) -> None:
    """It is nearly always one that an editor has truncated and not written yet."""
    assert len(mistakes(text)) == 1


def test_a_bomb_of_aliases_is_refused_before_it_goes_off() -> None:
    layers = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30))

    assert mistakes("l0: &l0 boom\n" + layers)[0] == "2:10: aliases are not allowed: write the value out"


def test_a_merge_key_means_nothing_here() -> None:
    assert mistakes("scripts:\n  a:\n    <<: {path: p}\n    path: q\n")[0].startswith("3:5: program 'a', field '<<'")


@pytest.mark.parametrize("tagged", ["!!python/object/apply:os.getcwd []", "!!int", "!!timestamp x", "!mine {}", "!!set {a}"])
def test_tags_are_refused(tagged: str) -> None:
    assert mistakes(f"scripts: {tagged}\n")[0].startswith("1:10: tags are not allowed: ")


def test_variables_of_the_hub_win_over_the_file_and_the_file_over_those_of_the_seed() -> None:
    """P14"""
    text = "settings:\n  timeout_seconds: 60\n  max_executions: 70\n"
    overrides = {"timeout_seconds": "5m", "pids_limit": "9"}
    fallbacks = {"timeout_seconds": "1", "max_executions": "50", "memory_limit": "2g"}

    settings = parse(text, overrides=overrides, fallbacks=fallbacks).settings

    assert (settings.timeout_seconds, settings.pids_limit) == (300, 9)
    assert settings.max_executions == 70
    assert (settings.memory_limit, settings.cpu_limit) == (2 * 1024**3, 500_000_000)


@pytest.mark.parametrize(
    ("layer", "field", "variable"),
    [
        ("overrides", "timeout_seconds", "HUB_TIMEOUT_SECONDS"),
        ("fallbacks", "timeout_seconds", "EXECUTION_TIMEOUT"),
        ("fallbacks", "max_executions", "MAX_EXECUTIONS"),
    ],
)
def test_a_mistake_in_a_variable_is_told_even_where_another_layer_wins(layer: str, field: str, variable: str) -> None:
    """P14"""
    text = f"settings:\n  {field}: 60\n"

    (mistake,) = mistakes(text, **{layer: {field: "soon"}})

    assert mistake.startswith(f"variable {variable}: ")


def test_a_mistake_in_the_file_is_told_even_where_a_variable_wins() -> None:
    assert len(mistakes("settings:\n  timeout_seconds: soon\n", overrides={"timeout_seconds": "5"})) == 1


def test_a_file_is_read_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfscripts:\n  a: {path: \xc3\xb1}\n")

    catalogue = ConfigFile(path, tmp_path).load()

    assert catalogue.programs[0].path == "ñ"
    assert catalogue.project_dir == tmp_path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"scripts:\n  a\xff: 1\n", "mine.yaml:2:4: it is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), f"mine.yaml: it is longer than {MAX_BYTES} bytes"),
        (b"scripts: 1", "mine.yaml:1:10: field 'scripts': must hold entries, each on a line of its own and indented"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        ConfigFile(path, tmp_path).load()

    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: can't be read: No such file or directory"):
        ConfigFile(tmp_path / "none.yaml", tmp_path).load()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_p16_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "config.yaml"
    make(path)

    with pytest.raises(ConfigError, match=r"config\.yaml: (is no regular file|can't be read)"):
        ConfigFile(path, tmp_path).load()


@pytest.mark.parametrize(
    "text",
    [
        "scripts:\n  a:\n    path: x\n" + "".join(f"    k{number}: 1\n" for number in range(5_000)),
        f"settings: {{memory_limit: '{'x' * 900_000}'}}\n",
        f"scripts: {{a: {{path: x, id: {'9' * 900_000}}}}}\n",
        f"scripts:\n  ? {'k' * 900_000}\n  : {{path: 1}}\n",
    ],
    ids=["many", "long", "digits", "key"],
)
def test_p16_what_is_said_of_a_hostile_file_is_short(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)

    assert len(str(caught.value)) < 100_000
    assert str(caught.value).startswith("config.yaml:")


def test_p6_of_very_many_mistakes_the_first_hundred_are_told_and_how_many_more_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("scripts:\n" + "".join(f"  p{number}: {{}}\n" for number in range(130)))

    lines = str(caught.value).splitlines()
    assert lines[99] == "config.yaml:101:3: program 'p99', field 'path': is required"
    assert lines[100:] == ["… and 30 more mistakes"]
    assert len(caught.value.problems) == 130


def test_the_shipped_file_loads() -> None:
    root = Path(__file__).parents[3]

    catalogue = ConfigFile(root / "config.yaml", root).load()

    assert {program.id for program in catalogue} >= {"test_script", "example_script", "example_bot"}


WORDS = st.sampled_from(
    ["scripts", "bots", "settings", "path", "id", "a", "1", ":", "\n", "  ", "- ", "{", "}", "[", "]", "&x", "*x", "!!int", "'",
     '"', "|", ">", "#", "?", ",", "~", "\t", "ñ", "\x00", "---", "<<", "%", "@"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=80))
def test_any_text_is_a_catalogue_or_a_list_of_mistakes(text: str) -> None:
    try:
        assert isinstance(parse(text), Catalogue)
    except ConfigError as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)


def test_m8_the_readmes_retry_is_understood_for_a_program_and_for_all() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (written,) = (block.strip() for block in code_blocks(readme) if block.startswith("retry:"))
    policy = Retry(max=3, backoff=2, max_backoff=300)

    catalogue = parse(f"scripts:\n  a:\n    path: p\n    {written}\n  b: {{path: p, retry: 1}}\nsettings:\n  {written}\n")

    assert (catalogue.retry_of("a"), catalogue.retry_of("b"), catalogue.settings.retry) == (policy, Retry(max=1), policy)
    assert parse("scripts: {a: {path: p}}").retry_of("a").max == 0
    assert parse("scripts: {a: {path: p}}", overrides={"retry": "2"}).retry_of("a").max == 2
    assert mistakes("scripts: {a: {path: p}}", overrides={"retry": "often"}) == ["variable HUB_RETRY: must be a whole number"]
