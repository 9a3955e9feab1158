"""What Compose says."""

from runner.compose_words import last_words, warnings_in

V2 = """\
time="2026-11-25T13:16:49Z" level=warning msg="/x/docker-compose.yml: the attribute `version` is obsolete, it will be ignored"
time="2026-11-25T13:16:49Z" level=warning msg="The \\"TAG\\" variable is not set. Defaulting to a blank string."
 Network hub-1_default  Creating
 Network hub-1_default  Created
 Container hub-1-app-1  Creating
Error response from daemon: no such thing
"""
V1 = """\
WARNING: The TAG variable is not set. Defaulting to a blank string.
Creating network "hub-1_default" with the default driver
Creating hub-1_app_1 ...
Creating hub-1_app_1 ... error
ERROR: for app  no such thing
"""


def test_warnings_are_told_but_not_that_a_version_is_obsolete() -> None:
    assert warnings_in(V2) == ['The "TAG" variable is not set. Defaulting to a blank string.']
    assert warnings_in(V1) == ["The TAG variable is not set. Defaulting to a blank string."]


def test_a_failure_is_told_without_progress() -> None:
    assert last_words(V2) == "Error response from daemon: no such thing"
    assert last_words(V1) == "Creating hub-1_app_1 ... error\nERROR: for app  no such thing"
    assert last_words(" \n") == "it said nothing"
