"""R20: secrets in configured parameters don't reach the log."""

import pytest

from schemas.masking import mask_parameters, parameters_line


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ("--process proceso_2 --verbose", "--process proceso_2 --verbose"),
        ("--password hunter2 --verbose", "--password *** --verbose"),
        ("--password=hunter2", "--password=***"),
        ("--PASSWORD 'two words'", "--PASSWORD ***"),
        ("--db-password hunter2", "--db-password ***"),
        ("--api_key hunter2", "--api_key ***"),
        ("--apikey hunter2", "--apikey ***"),
        ("-token hunter2", "-token ***"),
        ("--secret --looks-like-a-flag", "--secret ***"),
        ("API_TOKEN=hunter2 run", "API_TOKEN=*** run"),
        ("--url postgres://anna:hunter2@db/x", "--url postgres://anna:***@db/x"),
        ("--tokenizer fast --keyboard us", "--tokenizer fast --keyboard us"),
        ("'it''s' \"a b\"", "its 'a b'"),
        ("--password 'unbalanced", "***"),
        ("", ""),
    ],
)
def test_r20_values_of_secret_options_are_masked(parameters: str, shown: str) -> None:
    assert mask_parameters(parameters) == shown


def test_r20_of_what_a_request_brought_only_names_are_shown() -> None:
    line = parameters_line("--token t --verbose", {"password": "hunter2", "name": "hunter3"})
    assert line == 'Program parameters: --token *** --verbose; from the request: ["name", "password"]'
