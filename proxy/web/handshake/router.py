"""The handshake listener: which call a request is, and how its answer or failure is written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from proxy.core.budget import Budget, Share
from proxy.core.http.fields import RawField
from proxy.core.problem import Problem
from proxy.messages import Answer, Reply, Request
from proxy.metrics import Cache
from proxy.web.framing import framing_refusal
from proxy.web.handshake.call import Call, Operation
from proxy.web.handshake.failure import ERASURE_UNFINISHED, STORE_FAILED, Failed
from proxy.web.handshake.guard import NO_TOKEN, Guard
from proxy.web.handshake.said import Asked, Invalid, Said
from proxy.web.inspector.pages import ROUTE as PAGE_ROUTE
from proxy.web.inspector.pages import Page
from proxy.web.json_body import json_body
from proxy.web.observer import Observer
from proxy.web.resource import date
from proxy.web.router import claimed_path
from proxy.web.served import About, Served
from store.base import StoreError, Unfinished

OTHER = "handshake"
"""The route of what is no call."""

_NO_SUCH_CALL = Problem(404, "There is no such call; /openapi.json has them all.")
_WRONG_METHOD = Problem(405, "The call has another method; Allow has those that there are.")
_JSON: RawField = (b"Content-Type", b"application/json")
# It is about persons: no cache on the way may keep it.
_NO_STORE: RawField = (b"Cache-Control", b"no-store")


class HandshakeRouter:
    """Answers the handshake listener. `document` is the OpenAPI document, `clock` gives epoch seconds.

    `pages` are the files of the Inspector by path. They are given without the token, for a browser has none when it
    opens a page.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        document: bytes,
        pages: Mapping[bytes, Page],
        guard: Guard,
        observer: Observer,
        *,
        buffered: Budget,
        clock: Callable[[], float],
    ) -> None:
        async def describe(_: Asked) -> Said:
            return Said(document)

        described = Call("openapi", "GET", "/openapi.json", describe, Operation("This document"))
        self._calls: dict[bytes, dict[str, Call]] = {}
        for call in (*calls, described):
            self._calls.setdefault(call.path.encode(), {})[call.method] = call
        self._pages = pages
        self._guard = guard
        self._observer = observer
        self._buffered = buffered
        self._clock = clock

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        found = self._find(claimed_path(request.target) or b"")
        # The route of what ends without an answer, such as by an error that no call has foreseen.
        call = found.methods.get(_method(request))
        route = PAGE_ROUTE if found.page is not None else OTHER if call is None else call.route
        return await self._observer.answer(request, route, self._served(request, found))

    async def _served(self, request: Request, found: "_Found") -> Served:
        page = found.page
        refusal = framing_refusal(request) or self._guard.refusal(request, needs_token=page is None)
        if refusal is not None:
            extra = [(b"WWW-Authenticate", b"Bearer")] if refusal is NO_TOKEN else []
            return self._failed(request, OTHER, refusal, extra)
        return self._page(request, page) if page is not None else await self._called(request, found)

    async def _called(self, request: Request, found: "_Found") -> Served:
        methods, place = found.methods, found.place
        if not methods:
            return self._failed(request, OTHER, _NO_SUCH_CALL)
        call = methods.get(_method(request))
        if call is None:
            allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]
            return self._failed(request, OTHER, _WRONG_METHOD, [(b"Allow", ", ".join(allowed).encode())])
        try:
            with self._buffered.share() as share:
                said = await call.answer(await self._asked(request, call, place, share))
        except Failed as failed:
            return self._failed(request, call.route, failed.problem, cache=failed.cache, about=failed.about)
        except Invalid as invalid:
            detail = "; ".join(f"{fault.name} {fault.detail}" for fault in invalid.faults)
            return self._failed(request, call.route, Problem(422, f"{detail}.", faults=invalid.faults))
        except Unfinished:
            return self._failed(request, call.route, ERASURE_UNFINISHED)
        except StoreError:  # logged and counted where it happened
            return self._failed(request, call.route, STORE_FAILED)
        fields = [date(self._clock()), _NO_STORE]
        if said.status == 200:  # noqa: PLR2004 - the other one is 204
            fields.append(_JSON)
        return Served(Reply(said.status, fields, said.body), call.route, said.cache, said.about)

    def _page(self, request: Request, page: Page) -> Served:
        if request.method not in {"GET", "HEAD"}:
            return self._failed(request, PAGE_ROUTE, _WRONG_METHOD, [(b"Allow", b"GET, HEAD")])
        reply = page.reply()
        reply.fields.append(date(self._clock()))
        return Served(reply, PAGE_ROUTE, "none")

    def _find(self, path: bytes) -> "_Found":
        exact = self._calls.get(path)
        if exact is not None:
            return _Found(exact)
        page = self._pages.get(path)
        if page is not None:
            return _Found({}, page=page)
        parent, _, place = path.rpartition(b"/")
        return _Found(self._calls.get(parent + b"/{id}", {}), place.decode("latin-1"))

    async def _asked(self, request: Request, call: Call, place: str, share: Share) -> Asked:
        body = b"" if call.operation.takes is None else await json_body(request, share)
        if isinstance(body, Problem):
            raise Failed(body)
        return Asked(body, request.target.partition(b"?")[2], place, request.causing_fields)

    def _failed(
        self,
        request: Request,
        route: str,
        failure: Problem,
        extra: Iterable[RawField] = (),
        *,
        cache: Cache = "error",
        about: About = (),
    ) -> Served:
        # What is left of a body would stand before the next request.
        reply = Reply.of_problem(failure, close=not request.payload.is_eof())
        reply.fields += [date(self._clock()), _NO_STORE, *extra]
        return Served(reply, route, cache, about)


class _Found(NamedTuple):
    """What there is at a path."""

    methods: Mapping[str, Call]
    """The calls, by method."""
    place: str = ""
    """What stands for `{id}` in the path."""
    page: Page | None = None


def _method(request: Request) -> str:
    return "GET" if request.method == "HEAD" else request.method
