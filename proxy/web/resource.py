"""What the faces of one resource have in common."""

import asyncio
import math
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from config.model import LimitsConfig, ResourceConfig
from proxy.core import cache_status
from proxy.core.budget import Budget
from proxy.core.bulk import AnswerShape, RequestShape
from proxy.core.http import fields as raw
from proxy.core.http.fields import RawField
from proxy.core.policy import BypassReason
from proxy.core.problem import Problem
from proxy.exchange import Fetched
from proxy.messages import Reply
from proxy.metrics import Metrics
from proxy.outcomes import Resolution
from proxy.resolver import Resolver
from proxy.upstream import Upstream
from proxy.web.passthrough import PassThrough, time_left
from proxy.web.sharing import Sharing

JSON = b"application/json; charset=utf-8"
# An upstream that can't be reached now may be back as soon as this.
_RETRY_AFTER = 1
# Failures after which nobody was asked: the request may come again.
_NOT_ASKED = frozenset({"circuit_open", "overloaded"})
_TIMED_OUT = frozenset({"timeout", "connect_timeout"})
# The length is written anew. A cookie would go to everybody who waited for the same fill.
_NOT_RELAYED = frozenset({b"content-length", b"set-cookie"})


class Resource(Struct, frozen=True):
    """One configured resource with all that answers for it."""

    name: str
    config: ResourceConfig
    upstream: Upstream
    resolver: Resolver
    request_shape: RequestShape | None
    answer_shape: AnswerShape
    sharing: Sharing
    passthrough: PassThrough
    limits: LimitsConfig
    buffered: Budget
    metrics: Metrics
    clock: Callable[[], float]

    def relay(self, fetched: Fetched, forward: str) -> Reply:
        """The upstream's own answer to a fill, passed on; `forward` is why there was one (RFC 9211 section 2.2)."""
        via = b"%d.%d %b" % (*fetched.head.version, self.upstream.via)
        fields = [
            field
            for field in raw.response_fields(fetched.head.fields, via=via)
            if field[0].lower() not in _NOT_RELAYED
        ]
        status = cache_status.forwarded(forward, stored=False, fwd_status=fetched.head.status)
        fields.append((cache_status.NAME, status))
        return Reply(fetched.head.status, fields, fetched.body, reason=fetched.head.reason)

    def failure(self, resolution: Resolution, *, single: bool) -> Reply:
        """The answer to a request that has none: the upstream's own error, or a problem of ours."""
        if resolution.unsatisfied:
            return Reply.of_problem(NOT_HELD)
        if resolution.passed is not None:
            return self.relay(resolution.passed, resolution.forward)
        wait = max(_RETRY_AFTER, math.ceil(resolution.retry_after or 0))
        unavailable = Reply.of_problem(replace(UNAVAILABLE, retry_after=wait))
        if not single or resolution.failure in _NOT_ASKED:
            return unavailable
        return Reply.of_problem(GATEWAY_TIMEOUT if resolution.failure in _TIMED_OUT else BAD_GATEWAY)

    def bypassed(self, reason: BypassReason) -> None:
        """Count a request that goes past the cache."""
        self.metrics.missed(self.name, reason)
        if reason == "bypass_credential":
            self.sharing.bypassed()

    def time_left(self, started: float) -> float:
        """Seconds that a request which came at `started` (the loop's time) may still take."""
        return time_left(self.upstream.config.timeout, asyncio.get_running_loop().time() - started)


UNAVAILABLE = Problem(
    503,
    "The upstream gave no usable answer, and there is no local copy of all that was asked for.",
    _RETRY_AFTER,
)
BAD_GATEWAY = Problem(502, "The upstream could not be reached, or its answer could not be understood.")
GATEWAY_TIMEOUT = Problem(504, "The upstream did not answer in time.")
NOT_HELD = Problem(504, "Only a stored answer was asked for, and there is none that may be used.")


def date(now: float) -> RawField:
    """The Date field (RFC 9110 section 6.6.1)."""
    return (b"Date", _date(int(now)))


@lru_cache(maxsize=1024)  # the seconds at which what is asked for was fetched
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def age(seconds: float) -> RawField:
    """The Age field (RFC 9111 section 5.1)."""
    return (b"Age", b"%d" % int(seconds))
