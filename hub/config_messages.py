"""What is wrong with a value of config.yaml, said to the person who wrote it."""

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic_core import ErrorDetails

from schemas.retries import Retry, RetryOn

_RETRY_FIELDS = ", ".join(Retry.model_fields)
_ID_RULE = "may hold letters, digits, _ and - only, at most {} of them"


def message_of(error: ErrorDetails) -> str:
    """The message for one mistake that the model found."""
    name = error["loc"][0] if error["loc"] else ""
    context = error.get("ctx", {})
    match error["type"]:
        case "model_type" if name == "retry":
            return f"must be a number of attempts, or a table with {_RETRY_FIELDS}"
        case "extra_forbidden" if name == "retry":
            return unknown(str(error["loc"][-1]), Retry.model_fields)
        case "enum" | "frozen_set_type" | "too_short" if error["loc"][1:2] == ("on",):
            return f"must be a list of what another attempt may follow: {', '.join(RetryOn)}"
        case "missing":
            return "is required"
        case "value_error":
            return str(context["error"])
        case "string_type":
            return "must be text: put it in quotes"
        case "string_too_short":
            return "must not be empty"
        case "string_pattern_mismatch" if name in ("key", "id"):
            return _ID_RULE.format(128)
        case "string_pattern_mismatch" if name == "pool":
            return _ID_RULE.format(64)
        case "bool_type" | "bool_parsing":
            return "must be true or false"
        case "int_type" | "int_parsing" | "int_from_float":
            return "must be a whole number"
    return error["msg"].removeprefix("Input ").replace("should be", "must be")


def unknown(name: str, known: Iterable[str]) -> str:
    """The message for a name that means nothing here, with the one that was probably meant."""
    close = get_close_matches(name, sorted(known), n=1)
    return f"is not known: did you mean {close[0]!r}?" if close else f"is not known: use one of {', '.join(known)}"
