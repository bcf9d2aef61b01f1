"""Who may share an answer: whether a request may use the cache, and what of it goes with a fill."""

from collections.abc import Callable

from config.model import ResourceConfig
from proxy.core.http.fields import RawField
from proxy.messages import Request

# The trace context of the request that caused a fill (W3C Trace Context section 2).
_TRACE = frozenset({b"traceparent", b"tracestate"})


class Sharing:
    """The sharing rules of one resource."""

    def __init__(self, config: ResourceConfig, *, own_credential: bool, warn: Callable[[str], None]) -> None:
        credentials = frozenset(name.lower().encode() for name in config.credential_headers)
        # Until a key field is part of the key, a request that has one must not share anything.
        self._apart = frozenset(name.lower().encode() for name in config.key_headers)
        shared = config.sharing == "service"
        if not shared:
            self._apart |= credentials
        self._forwarded = _TRACE | (credentials if shared and not own_credential else frozenset())
        self._warn = warn
        self._warned = False

    def bypasses(self, request: Request) -> bool:
        """Whether a request must go to the upstream itself, since its answer may be its caller's own."""
        if not any(name.lower() in self._apart for name, _ in request.fields):
            return False
        if not self._warned:
            self._warned = True
            self._warn("credential_bypass")
        return True

    def fill_fields(self, request: Request) -> list[RawField]:
        """The fields of a request that go with a fill which it causes."""
        return [field for field in request.fields if field[0].lower() in self._forwarded]
