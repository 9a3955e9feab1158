"""Who may use a route. A handler runs only if the very route object that matched carries a policy; the rest is denied."""

from dataclasses import dataclass
from enum import Enum

from aiohttp import web

from gateway import problems
from gateway.errors import InvalidToken, Refused
from gateway.ports import ApiTokens
from gateway.tokens import Tokens, bearer_token
from schemas.tokens import PREFIX, Scope


class Policy(Enum):
    """Who may use a route."""

    #: Anybody.
    OPEN = "open"
    #: Whoever holds a valid token of any kind.
    RUN = "run"
    #: Whoever has logged in, or holds a long-lived token for everything.
    AUTHENTICATED = "authenticated"
    #: Only whoever has logged in.
    LOGIN = "login"


#: What each kind of token may use; ``None`` is the kind that a login gives. What is not listed is denied.
_ALLOWED: dict[Scope | None, frozenset[Policy]] = {
    None: frozenset({Policy.OPEN, Policy.RUN, Policy.AUTHENTICATED, Policy.LOGIN}),
    Scope.ALL: frozenset({Policy.OPEN, Policy.RUN, Policy.AUTHENTICATED}),
    Scope.RUN: frozenset({Policy.OPEN, Policy.RUN}),
}

#: Longest name of a caller that an execution keeps, in characters.
_MOST_NAME = 256

#: The policy of each registered route. Paths play no part in it, so no spelling of a path can get around it.
Policies = dict[web.AbstractRoute, Policy]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token came with a request."""

    #: The user; of a long-lived token also its name.
    name: str
    #: ``None`` where the token comes from a login.
    scope: Scope | None = None

    def may_use(self, policy: Policy) -> bool:
        """Whether a route with this policy is open to them."""
        return policy in _ALLOWED[self.scope]


async def caller_of(request: web.Request, tokens: Tokens, api_tokens: ApiTokens) -> Caller:
    """Who makes this request.

    Raises:
        Refused: no token came, or not a valid one.
        TokensUnavailable: a long-lived token came, and can't be judged yet.
    """
    token = bearer_token(request.headers.getall("Authorization", []))
    if token is None:
        raise Refused(problems.not_authenticated())
    try:
        if token.startswith(PREFIX):
            found = await api_tokens.verify(token)
            return Caller(f"{found.created_by}/{found.name}"[:_MOST_NAME], found.scope)
        return Caller(tokens.verify(token))
    except InvalidToken as error:
        raise Refused(problems.invalid_token()) from error
