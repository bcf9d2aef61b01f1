"""Who may share an answer: what of a request sets its caller apart, and what of it goes with a fill."""

from collections.abc import Callable
from hashlib import blake2b

from config.model import ResourceConfig
from config.secret_file import SecretFile
from proxy.core.http.fields import TRACE_CONTEXT, RawField, tokens
from proxy.core.http.plain import PlainHead
from proxy.core.http.vary import variant
from proxy.messages import Request


class CredentialKey:
    """The key of the hashes by which credentials are told apart: `made` (up to 64 bytes, random), and what `file` holds
    if there is one. With each change of the file it is another than ever before, also when an old content comes back:
    what was forgotten stays so. Raises SecretUnreadable if the file can't be read at first."""

    def __init__(self, file: SecretFile | None, *, made: bytes) -> None:
        self._file = file
        self._content: str | None = None
        self._key = made
        self.read()

    def read(self) -> bytes:
        """The key as it is now."""
        if self._file is not None:
            content = self._file.read()
            if content != self._content:
                self._content = content
                self._key = blake2b(content.encode(), key=self._key).digest()
        return self._key


class Sharing:
    """The sharing rules of one resource. `own_credential`: its upstream has a credential for the proxy's own calls."""

    def __init__(
        self,
        config: ResourceConfig,
        *,
        own_credential: bool,
        key: CredentialKey,
        warn: Callable[[str], None],
    ) -> None:
        credentials = frozenset(name.lower().encode() for name in config.credential_headers)
        key_fields = frozenset(name.lower().encode() for name in config.key_headers)
        # A credential that is part of the key is set apart by that alone.
        self._credentials = credentials
        self._apart = credentials - key_fields if config.sharing == "anonymous" else frozenset()
        self._is_anonymous = config.sharing == "anonymous"
        self._authorizing = self._apart | ({b"authorization"} - key_fields)
        self._telling = credentials | key_fields | {b"authorization"}
        self._key = key if config.sharing == "per_credential" else None
        # Where each credential has copies of its own, they are asked for with that very credential.
        sends = self._key is not None or (config.sharing == "service" and not own_credential)
        self._selecting = key_fields | credentials if self._key is not None else key_fields
        self._forwarded = TRACE_CONTEXT | key_fields | (credentials if sends else frozenset())
        self._own_credential = own_credential
        self._warn = warn
        self._warned = False

    def plain_head(self, *, body: bool) -> PlainHead | None:
        """Which requests, with a body or without, share one row and may all be answered from it; None: none does."""
        if self._key is not None and self._own_credential:
            return None  # whoever has no credential has a row of his own
        telling = self._apart | self._selecting
        return PlainHead(telling=telling, credentials=self._credentials, body=body)

    def has_credential(self, request: Request) -> bool:
        """Whether the answer to a request may be its caller's own, and is not to be kept for that."""
        return any(name.lower() in self._apart for name, _ in request.fields)

    def is_hidden(self, request: Request) -> bool:
        """Whether a field by which callers are told apart goes no further than here, for Connection lists it: the
        upstream would not answer by what the request is taken for."""
        listed = tokens(request.fields, b"connection") if request.header("connection") else []
        return not self._telling.isdisjoint(listed)

    def is_authorized(self, request: Request) -> bool:
        """Whether a request bears what RFC 9111 section 3.5 speaks of, and that sets nobody apart here."""
        return self._is_anonymous and any(name.lower() in self._authorizing for name, _ in request.fields)

    def fills_by_itself(self, request: Request) -> bool:
        """Whether a call that a request causes is the proxy's own, and bears the credential of the upstream."""
        return self._own_credential and self._key is None and not self.is_authorized(request)

    def variant(self, request: Request) -> str:
        """A digest of the fields of a request that select what it may see; empty: the row that all others share.

        Whoever has no credential does not share the row where the proxy fills that with a credential of its own.
        """
        if self._key is not None:
            secret = self._key.read()
            return variant(request.fields, self._selecting, secret=secret, even_of_none=self._own_credential)
        return variant(request.fields, self._selecting) if self._selecting else ""

    def fill_fields(self, request: Request) -> tuple[RawField, ...]:
        """The fields of a request that go with a fill which it causes."""
        return tuple(field for field in request.causing_fields if field[0].lower() in self._forwarded)

    def bypassed(self) -> None:
        """A request went past the cache for its credential: the operator is told of the first."""
        if not self._warned:
            self._warned = True
            self._warn("credential_bypass")
