"""One route: what it is called by, what it does, and who may use it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

from gateway.parameters import Parameter
from gateway.policies import Policy

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route. A GET route answers HEAD as well."""

    method: str
    path: str
    handler: Handler
    policy: Policy
    #: For people, in a few words.
    summary: str
    #: Status → what the answer's JSON looks like, ``None`` for an answer without a body; empty for what is no JSON.
    answers: Mapping[int, type[BaseModel] | None] = field(default_factory=dict)
    #: What the request's JSON looks like; ``None`` where there is none.
    body: type[BaseModel] | None = None
    #: Parameters of the query.
    query: Mapping[str, Parameter] = field(default_factory=dict)
    #: Headers that mean something to this route alone.
    headers: Mapping[str, Parameter] = field(default_factory=dict)
    #: Whether the request must have a body, where there may be one.
    needs_body: bool = True
    #: Status → media type of the answers that are no JSON.
    other_answers: Mapping[int, str] = field(default_factory=dict)
