"""Problems of long-lived tokens."""

from gateway.problems import RETRY_AFTER_SECONDS, Problem


def scope_too_small() -> Problem:
    """The token is valid, and not good for this."""
    return Problem(
        status=403,
        slug="scope-too-small",
        title="The token is not good for this",
        detail="This token may not do that: log in, or use a token with a wider scope",
    )


def not_yours() -> Problem:
    """A token for running programs may only stop what was started with it."""
    return Problem(
        status=403,
        slug="not-yours",
        title="Not started with this token",
        detail="This token may only cancel what was started with it: log in, or use a token with a wider scope",
    )


def too_many_tokens(most: int) -> Problem:
    """As many long-lived tokens hold as may."""
    return Problem(
        status=409,
        slug="too-many-tokens",
        title="Too many tokens",
        detail=f"{most} tokens hold already: revoke some that are not needed any more",
    )


def token_not_found() -> Problem:
    """No long-lived token that holds has this id."""
    return Problem(status=404, slug="token-not-found", title="No such token", detail="Token not found")


def token_unconfirmed() -> Problem:
    """The bus did not say whether it took a new token; nobody has seen it, so it is of no use to anybody."""
    return Problem(
        status=503,
        slug="outcome-unknown",
        title="The message bus did not confirm",
        detail="The message bus did not confirm in time. A token that nobody knows may be listed: revoke it, and make another.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        members={"outcome": "unknown"},
    )


def tokens_unavailable() -> Problem:
    """The long-lived tokens have not been read since this gateway started."""
    return Problem(
        status=503,
        slug="tokens-unavailable",
        title="Tokens can't be judged yet",
        detail="Long-lived tokens can't be judged yet; try again soon.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )
