"""What handlers find on the application and on the request."""

import asyncio
from typing import Any

from aiohttp import web

from bus.ports import DeadLetters
from gateway.cancels import Cancels
from gateway.followers import Followers
from gateway.intake import Intake
from gateway.lookup import Lookup
from gateway.policies import Caller, Policies
from gateway.ports import Accounts, ApiTokens, Catalogues, Cleanups, Fleet, Health, View
from gateway.throttle import Throttle
from gateway.tokens import Tokens
from gateway.waits import Waits

ACCOUNTS = web.AppKey[Accounts]("accounts")
API_TOKENS = web.AppKey[ApiTokens]("api_tokens")
CANCELS = web.AppKey("cancels", Cancels)
CATALOGUES = web.AppKey[Catalogues]("catalogues")
CLEANUPS = web.AppKey[Cleanups]("cleanups")
DEAD_LETTERS = web.AppKey[DeadLetters]("dead_letters")
#: The OpenAPI document of all routes.
DOCUMENT = web.AppKey[dict[str, Any]]("document")
FOLLOWERS = web.AppKey("followers", Followers)
FLEET = web.AppKey[Fleet]("fleet")
HEALTH = web.AppKey[Health]("health")
INTAKE = web.AppKey("intake", Intake)
#: Set when the gateway is about to stop: it says that it is not ready, and still answers.
LEAVING = web.AppKey("leaving", asyncio.Event)
LOOKUP = web.AppKey("lookup", Lookup)
#: The same as a page for people.
PAGE = web.AppKey("page", str)
POLICIES = web.AppKey[Policies]("policies")
THROTTLE = web.AppKey("throttle", Throttle)
TOKENS = web.AppKey("tokens", Tokens)
VERSION = web.AppKey("version", str)
VIEW = web.AppKey[View]("view")
WAITS = web.AppKey("waits", Waits)

#: Names the request in logs and problems.
REQUEST_ID = web.RequestKey("request_id", str)
#: Who makes the request; absent on open routes.
CALLER = web.RequestKey("caller", Caller)
#: Whose token came with the request, ``user`` or ``user/name of a long-lived token``; absent on open routes.
USERNAME = web.RequestKey("username", str)
