"""The webhook listener: events of the owner, taken from whoever signs them with a secret of ours.

In this order, so that a stranger can do little: where it is sent, its size, its signature; only then how many there
are, what they say, and what becomes of them.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from proxy.core.budget import Budget
from proxy.core.events import Event, Invalid, parse
from proxy.core.http.fields import RawField
from proxy.core.problem import Problem
from proxy.core.rate import Rate
from proxy.events import Outcome
from proxy.messages import Answer, Reply, Request
from proxy.metrics import Metrics
from proxy.signatures import Reason, Refusal, Verifier
from proxy.web.framing import framing_refusal
from proxy.web.json_body import json_body
from proxy.web.observer import Observer
from proxy.web.resource import date
from proxy.web.router import claimed_path
from proxy.web.served import Served
from store.base import StoreError

ROUTE: Final = "events"
"""The route of all that is asked of the listener."""

PATH: Final = "/v1/events"

_NO_SUCH_PATH: Final = Problem(404, f"There is nothing but {PATH} here.")
_WRONG_METHOD: Final = Problem(405, "Events are sent with POST.")
_UNSIGNED: Final[dict[Reason, Problem]] = {
    "missing": Problem(401, "webhook-id, webhook-timestamp and webhook-signature are needed."),
    "malformed": Problem(
        401, "webhook-id, webhook-timestamp or webhook-signature is not what the standard says."
    ),
    "time": Problem(
        401, "webhook-timestamp is more than five minutes away from the time here: sign it anew."
    ),
    "signature": Problem(401, "The signature is of none of the secrets that count here."),
}
_TOO_MANY: Final = "More events a second than are taken."
# A database that is locked, or that is opened again, mostly works within this.
_NOT_DURABLE: Final = Problem(503, "The event could not be made durable: send it again.", retry_after=5)
_SERVER_ERROR: Final = 500
# Of this the listener has its own: whoever sends slowly what nobody has signed takes no room from the others.
_BUFFERED: Final = 16 * 1024 * 1024


class Events(Protocol):
    """What takes events."""

    @property
    def resources(self) -> frozenset[str]:
        """Names of those that an event can be about."""
        ...

    async def take(self, event: Event, message_id: str) -> Outcome:
        """Do what an event says; return once it is durable.

        Raises StoreError when it can't be made so, and Invalid for data that does not fit.
        """
        ...


class WebhookRouter:
    """Answers the webhook listener. `clock` gives epoch seconds, `monotonic` those that never step."""

    def __init__(
        self,
        events: Events,
        verifier: Verifier,
        rate: Rate,
        observer: Observer,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._events = events
        self._verifier = verifier
        self._rate = rate
        self._observer = observer
        self._metrics = metrics
        self._buffered = Budget(_BUFFERED)
        self._clock = clock
        self._monotonic = monotonic

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        return await self._observer.answer(request, ROUTE, self._served(request))

    async def _served(self, request: Request) -> Served:
        misframed = framing_refusal(request)
        if misframed is not None:
            return self._failed(request, misframed)
        if claimed_path(request.target) != PATH.encode():
            return self._failed(request, _NO_SUCH_PATH)
        if request.method != "POST":
            return self._failed(request, _WRONG_METHOD, [(b"Allow", b"POST")])
        with self._buffered.share() as share:
            body = await json_body(request, share)
            if isinstance(body, Problem):
                outcome = "failed" if body.status >= _SERVER_ERROR else "invalid"
                self._metrics.webhook_event("other", outcome)
                return self._failed(request, body)
            return await self._taken(request, body)

    async def _taken(self, request: Request, body: bytes) -> Served:
        """What becomes of a message that has arrived."""
        kind = "other"
        outcome = "failed"
        try:
            message_id = self._verifier.verify(request.fields, body)
            wait = self._rate.take(self._monotonic())
            if wait:
                outcome = "limited"
                return self._failed(request, Problem(429, _TOO_MANY, retry_after=math.ceil(wait)))
            event = parse(body, self._events.resources)
            kind = f"{event.resource}.{event.kind}"
            outcome = await self._events.take(event, message_id)
        except Refusal as refusal:
            outcome = "refused"
            return self._failed(request, _UNSIGNED[refusal.reason])
        except Invalid as invalid:
            outcome = "invalid"
            detail = "; ".join(f"{fault.name} {fault.detail}" for fault in invalid.faults)
            return self._failed(request, Problem(422, f"{detail}.", faults=invalid.faults))
        except StoreError:  # logged and counted where it happened
            return self._failed(request, _NOT_DURABLE)
        finally:
            self._metrics.webhook_event(kind, outcome)
        # Either tells a sender that it is done; the one that it was done before.
        status = 200 if outcome == "repeated" else 204
        return Served(Reply(status, [date(self._clock())]), ROUTE, "none")

    def _failed(self, request: Request, failure: Problem, extra: Iterable[RawField] = ()) -> Served:
        # What is left of a body would stand before the next request.
        reply = Reply.of_problem(failure, close=not request.payload.is_eof())
        reply.fields += [date(self._clock()), *extra]
        return Served(reply, ROUTE, "error")
