"""What the faces of one resource have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

from config.model import LimitsConfig, ResourceConfig
from proxy.core import cache_status
from proxy.core.bulk import AnswerShape, RequestShape
from proxy.core.http import fields as raw
from proxy.core.http.fields import RawField
from proxy.core.problem import Problem
from proxy.log import Refs
from proxy.messages import Reply
from proxy.metrics import Metrics
from proxy.resolver import Resolver
from proxy.upstream import Fetched, Upstream
from proxy.web.passthrough import PassThrough
from proxy.web.sharing import Sharing

JSON = b"application/json; charset=utf-8"
# An upstream that can't be reached now may be back as soon as this.
_RETRY_AFTER = 1


# The length is written anew. A cookie would go to everybody who waited for the same fill.
_NOT_RELAYED = frozenset({b"content-length", b"set-cookie"})


@dataclass(frozen=True, slots=True)
class Resource:
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
    metrics: Metrics
    refs: Refs
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


UNAVAILABLE = Problem(
    503,
    "The upstream gave no usable answer, and there is no local copy of all that was asked for.",
    _RETRY_AFTER,
)
BAD_GATEWAY = Problem(502, "The upstream could not be reached, or its answer could not be understood.")
GATEWAY_TIMEOUT = Problem(504, "The upstream did not answer in time.")


def date(now: float) -> RawField:
    """The Date field (RFC 9110 section 6.6.1)."""
    return (b"Date", formatdate(now, usegmt=True).encode())


def age(seconds: float) -> RawField:
    """The Age field (RFC 9111 section 5.1)."""
    return (b"Age", b"%d" % int(seconds))
