"""Stands before every route: who sends the request, whether they may, and whether there is room for it.

All of this is settled before a byte of the body is read. From here on the request acts in the name of whoever sent it
(`tools.tenancy`); a route that anybody may use acts for nobody and reaches no tenant's rows.
"""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.access.identity import Identity, key_identity, open_identity
from runtime.access.limits import returned_on_error
from runtime.access.roles import ROUTES, Need
from runtime.agent.running import RunningTurn
from runtime.api.errors import response_to
from runtime.errors import BadSettings, Forbidden, RuntimeFault, Unauthenticated
from runtime.services import Services
from runtime.settings import is_loopback
from tools.tenancy import NOBODY, acting

TENANT_HEADER = "x-hone-tenant"
METRICS = "/metrics"


@dataclass(frozen=True, slots=True)
class Classified:
    """One route of the app, and what it asks for."""

    methods: frozenset[str] | None
    """None: a mount, which takes whatever is asked of it."""
    pattern: re.Pattern[str]
    path: str
    """Template, as the app declares it."""
    need: Need | None


class Access:
    """ASGI middleware, the innermost of ours."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[Classified], stall_s: float = 60.0) -> None:
        """
        Args:
            routes: of the app; filled before the first request.
            stall_s: seconds in which a client must take some of its answer.
        """
        self._app = app
        self._routes = routes
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        with acting(NOBODY):
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        hone: Services = scope["app"].state.services
        route = self._route(scope)
        state = scope.setdefault("state", {})
        state["judged"] = route.path if route is not None else None
        if route is not None and (route.need is None or (route.path == METRICS and hone.settings.open_metrics)):
            is_free = _is_local(scope) and not await _may_be_closed(hone)
            with acting(open_identity(hone.settings).caller if is_free else NOBODY):
                return await self._app(scope, receive, send)
        need = route.need if route is not None else None
        try:
            state["identity"] = identity = await self._identify(hone, scope)
            if need is not None and (lacking := identity.standing.lacks(need)) is not None:
                raise Forbidden(lacking)
        except RuntimeFault as e:
            scope["route"] = route  # for the log, which knows no other
            return await response_to(e)(scope, receive, send)
        if need is None or not need.runs_turn:
            with acting(identity.caller):
                return await self._app(scope, receive, self._patient(send))
        try:
            hone.waiting_room.check_room()
            told = hone.limits.enter(identity.payers)
        except RuntimeFault as e:
            scope["route"] = route
            return await response_to(e)(scope, receive, send)

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told.headers())
            await self._patient(send)(message)

        try:
            with acting(identity.caller):
                await self._app(scope, receive, telling)
        finally:
            hone.limits.leave(identity.payers)

    def _route(self, scope: Scope) -> Classified | None:
        """The one that the app will take; None: none."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        for route in self._routes:
            if (route.methods is None or scope["method"] in route.methods) and route.pattern.match(path):
                return route
        return None

    async def _identify(self, hone: Services, scope: Scope) -> Identity:
        """Raises: Unauthenticated, Forbidden: with the remedy."""
        headers = Headers(scope=scope)
        if not await is_closed(hone):
            if not _is_local(scope):
                raise Unauthenticated(
                    "this server has no keys, so it serves its own machine alone: make one there "
                    "(hone keys create NAME --role operator)"
                )
            return open_identity(hone.settings).in_tenant(headers.get(TENANT_HEADER))
        kind, _, sent = headers.get("authorization", "").partition(" ")
        sent = sent.strip()
        if kind.lower() != "bearer" or not sent:
            raise Unauthenticated("no key was sent: send the header authorization: Bearer hone_...")
        if sent.startswith("hone_") or hone.oidc is None:
            is_known = hone.keys.is_known(sent)  # then it is a matter of microseconds
            key = hone.keys.verify(sent) if is_known else await asyncio.to_thread(hone.keys.verify, sent)
            if key is None:
                raise Unauthenticated("the key is not known here, has run out or was revoked: ask an operator for one")
            return key_identity(hone.settings, key).in_tenant(headers.get(TENANT_HEADER))
        return (await hone.oidc.identify(sent)).in_tenant(headers.get(TENANT_HEADER))

    def _patient(self, send: Send) -> Callable[[Message], Awaitable[None]]:
        """Waits for a reader, but not for ever: what it does not take is let go."""

        async def sending(message: Message) -> None:
            try:
                async with asyncio.timeout(self._stall_s):
                    await send(message)
            except TimeoutError as e:
                raise OSError(f"the client took nothing of its answer for {self._stall_s:g} s") from e

        return sending


async def _may_be_closed(hone: Services) -> bool:
    """What anybody may use works without a database too, which is what `/readyz` is for."""
    try:
        return await is_closed(hone)
    except RuntimeFault:
        return True


async def is_closed(hone: Services) -> bool:
    """Whether requests need a credential."""
    if hone.oidc is not None:
        return True
    known = hone.keys.known_to_exist()
    return known if known is not None else await asyncio.to_thread(hone.keys.exist)


def classified(app: FastAPI) -> list[Classified]:
    """All routes of the app, in the order in which it tries them.

    Raises: BadSettings: one has no role; whoever adds a route says who may use it (`runtime.access.roles`).
    """
    found: list[Classified] = []
    for context in iter_route_contexts(app.routes):
        route: Any = context.original_route
        methods = frozenset(route.methods) if getattr(route, "methods", None) else None
        keys = [(method, route.path) for method in sorted(methods - {"HEAD"} if methods else {"GET"})]
        for key in keys:
            if key not in ROUTES:
                raise BadSettings(f"{' '.join(key)}: say in runtime.access.roles.ROUTES who may use it")
        found += [
            Classified(frozenset({key[0], "HEAD"}) if methods else None, route.path_regex, route.path, ROUTES[key])
            for key in keys
        ]
    return found


async def judged(request: Request) -> None:
    """FastAPI dependency of every route: what runs is what was judged. Raises: Forbidden."""
    if request.state.judged != request.scope["route"].path:
        raise Forbidden("this address is read in two ways; send the plain path")


async def identity(request: Request) -> Identity:
    """FastAPI dependency: who sent the request."""
    return request.state.identity


Sender = Annotated[Identity, Depends(identity)]


async def admitted(
    hone: Services, sender: Identity, begin: Callable[[], Awaitable[RunningTurn]], *, user: object = None
) -> RunningTurn:
    """Begins a turn when there is a place for it. It keeps the place until it ends, however slowly its answer is read, and is
    paid for then.

    Args: user: whom the request names; counts where the sender may act for others.

    Raises: Overloaded; whatever `begin` raises.
    """
    place = await hone.waiting_room.enter()
    with returned_on_error(place), acting(sender.for_user(user)):
        turn = await begin()
    is_first, turn.is_paid = not turn.is_paid, True

    async def follow() -> None:
        try:
            tokens = sum_tokens(await turn.result())
            if is_first:
                hone.limits.pay(sender.payers, tokens)
        except Exception:  # the turn's own affair; whoever asked is told
            return
        finally:
            place.give_back()

    hone.waiting_room.keep(asyncio.create_task(follow(), name=f"{turn.trace_id} pays"))
    return turn


def sum_tokens(result: Any) -> int:
    return result.usage.prompt_tokens + result.usage.completion_tokens


def _is_local(scope: Scope) -> bool:
    """Whether the request came in at an address that only this machine reaches, as far as the server can know."""
    host = (scope.get("server") or ("", None))[0]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True  # a Unix socket, or a server that does not say
    return is_loopback(host)
