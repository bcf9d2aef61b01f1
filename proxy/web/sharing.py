"""Who may share an answer: what of a request sets its caller apart, and what of it goes with a fill."""

from collections.abc import Callable

from config.model import ResourceConfig
from proxy.core.http.fields import TRACE_CONTEXT, RawField
from proxy.core.http.vary import variant
from proxy.messages import Request


class Sharing:
    """The sharing rules of one resource."""

    def __init__(self, config: ResourceConfig, *, own_credential: bool, warn: Callable[[str], None]) -> None:
        credentials = frozenset(name.lower().encode() for name in config.credential_headers)
        shared = config.sharing == "service"
        self._key_fields = frozenset(name.lower().encode() for name in config.key_headers)
        # Until there is a cache for each credential, one that is part of the key is set apart by that alone.
        self._apart = frozenset() if shared else credentials - self._key_fields
        sent = credentials if shared and not own_credential else frozenset()
        self._forwarded = TRACE_CONTEXT | self._key_fields | sent
        self._warn = warn
        self._warned = False

    def has_credential(self, request: Request) -> bool:
        """Whether the answer to a request may be its caller's own."""
        return any(name.lower() in self._apart for name, _ in request.fields)

    def variant(self, request: Request) -> str:
        """A digest of the key fields of a request."""
        return variant(request.fields, self._key_fields) if self._key_fields else ""

    def fill_fields(self, request: Request) -> tuple[RawField, ...]:
        """The fields of a request that go with a fill which it causes."""
        return tuple(field for field in request.causing_fields if field[0].lower() in self._forwarded)

    def bypassed(self) -> None:
        """A request went past the cache for its credential: the operator is told of the first."""
        if not self._warned:
            self._warned = True
            self._warn("credential_bypass")
