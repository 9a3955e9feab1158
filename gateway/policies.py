"""Who may use a route. A handler runs only if the very route object that matched carries a policy; the rest is denied."""

from enum import Enum

from aiohttp import web

from gateway import problems
from gateway.errors import InvalidToken, Refused
from gateway.tokens import Tokens, bearer_token


class Policy(Enum):
    """Who may use a route."""

    #: Anybody.
    OPEN = "open"
    #: Whoever holds a valid token.
    AUTHENTICATED = "authenticated"


#: The policy of each registered route. Paths play no part in it, so no spelling of a path can get around it.
Policies = dict[web.AbstractRoute, Policy]


def user_of(request: web.Request, tokens: Tokens) -> str:
    """The user whose token came with the request.

    Raises:
        Refused: no token came, or not a valid one.
    """
    token = bearer_token(request.headers.getall("Authorization", []))
    if token is None:
        raise Refused(problems.not_authenticated())
    try:
        return tokens.verify(token)
    except InvalidToken as error:
        raise Refused(problems.invalid_token()) from error
