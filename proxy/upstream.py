"""The only user of aiohttp's client: connections, timeouts, TLS, and the one place where its exceptions are mapped.

It works on aiohttp's connector and response parser, below ClientSession: a session would repeat a request by itself,
outside any budget, and would not let a head through as it is.
"""

import asyncio
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EofStream, StreamReader
from yarl import URL

from config.load import SecretFile
from config.model import LimitsConfig, UpstreamConfig
from proxy.core.http.fields import RawField, is_safe_value, render, tokens
from proxy.metrics import Metrics
from proxy.tunnel import Tunnel

# Node's servers close a connection after 5 s of idleness. Reusing one for less than that loses few races, and a
# lost race is a failed request where the method can't be repeated.
_KEEP_ALIVE = 4.0
# A name is asked for again as often as this, so that a moved service is followed quickly.
_DNS_TTL = 10
# Field lines that an upstream may send; more is a broken server.
_MAX_FIELDS = 512

_SWITCHING = 101
_CUT = frozenset({"disconnected", "reset"})

Reason = Literal[
    "dns",
    "connect",
    "connect_timeout",
    "tls",
    "timeout",
    "disconnected",
    "reset",
    "protocol",
    "body",
    "too_large",
    "invalid_answer",
    "implausible_absence",
    "status",
]


class UpstreamError(Exception):
    """The upstream did not answer, or not with something that can be used. Carries no data of the exchange."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class StaleConnectionError(UpstreamError):
    """A kept-alive connection that the server had closed before the request reached it: worth one more try."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The head of an upstream's response, raw."""

    status: int
    reason: bytes
    fields: tuple[RawField, ...]
    chunked: bool
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole response of the upstream."""

    head: ResponseHead
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.head.status < 300  # noqa: PLR2004


class Exchange:
    """One request and its response on one connection."""

    def __init__(self, connection: aiohttp.connector.Connection, *, reused: bool, header_bytes: int) -> None:
        protocol = connection.protocol
        if protocol is None:
            raise UpstreamError("disconnected")
        self.reused = reused
        self.aborted = False
        self._header_bytes = header_bytes
        self._connection = connection
        self._protocol: ResponseHandler = protocol
        self._writer = StreamWriter(protocol, asyncio.get_running_loop())
        self._payload: StreamReader | None = None
        self._is_sent = False
        self._is_received = False

    @contextmanager
    def _before_answer(self) -> Iterator[None]:
        try:
            with _mapped():
                yield
        except UpstreamError as error:
            if self.reused and not self.aborted and error.reason in _CUT:
                raise StaleConnectionError(error.reason) from error
            raise

    async def send_head(self, head: bytes) -> None:
        """Write a rendered request head, with its body if that is known."""
        with self._before_answer():
            await self._writer.write(head)

    async def send_body(self, chunk: bytes, *, chunked: bool) -> None:
        """Write some of the body; waits while the upstream does not read."""
        with _mapped():
            await self._writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)

    async def end_request(self, *, chunked: bool = False) -> None:
        """The request is whole; `chunked` writes the last chunk. Without this the connection is not used again."""
        if chunked:
            with _mapped():
                await self._writer.write(b"0\r\n\r\n")
        self._is_sent = True

    async def receive_head(self, method: str, *, upgrade: bool = False) -> ResponseHead:
        """Wait for the final response head; interim responses are dropped. `upgrade`: a 101 is final, too."""
        with self._before_answer():
            self._protocol.set_response_params(
                skip_payload=method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=self._header_bytes,
                max_field_size=self._header_bytes,
                max_headers=_MAX_FIELDS,
            )
            while True:  # an upstream that sends interim responses for ever is ended by the caller's deadline
                message, payload = await self._protocol.read()
                if message.code >= 200 or (upgrade and message.code == _SWITCHING):  # noqa: PLR2004
                    break
                if message.code == _SWITCHING:  # nobody has asked for it
                    raise UpstreamError("protocol")
        self._payload = payload
        fields = tuple(message.raw_headers)
        # A transfer coding besides chunked would be taken off without being named (RFC 9112 section 6.1).
        coded = message.chunked and tokens(fields, b"transfer-encoding") != [b"chunked"]
        if coded or not all(is_safe_value(value) for _, value in fields):
            raise UpstreamError("protocol")
        reason = message.reason.encode("utf-8", "surrogateescape")
        return ResponseHead(message.code, reason, fields, bool(message.chunked), message.version)

    async def body(self) -> AsyncIterator[bytes]:
        """The response's body as it arrives; raises UpstreamError when it ends too early."""
        if self._payload is None:
            raise RuntimeError("the head comes first")
        while True:
            with _mapped():
                chunk = await self._payload.readany()
            if not chunk:
                self._is_received = True
                return
            yield chunk

    def tunnel(self) -> tuple[Tunnel, StreamWriter]:
        """Leave HTTP after a 101."""
        return Tunnel.on(self._protocol), self._writer

    def abort(self) -> None:
        """Cut the connection; whoever waits on it gets UpstreamError("disconnected")."""
        self.aborted = True
        if self._protocol.transport is not None:
            self._protocol.transport.abort()

    def close(self) -> None:
        """Give the connection back if request and response came to their ends, else cut it."""
        if self._is_sent and self._is_received and not self._protocol.should_close:
            self._connection.release()
        else:
            self._connection.close()


class Upstream:
    """One owning service."""

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        limits: LimitsConfig,
        metrics: Metrics,
        *,
        via: bytes,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.config = config
        self.limits = limits
        self.via = via
        self._metrics = metrics
        self._clock = clock
        self._url = URL(str(config.url))
        port = "" if self._url.is_default_port() else f":{self._url.port}"
        host = self._url.raw_host or ""
        self.host = (f"[{host}]" if ":" in host else host).encode() + port.encode()
        egress = URL(str(config.proxy)) if config.proxy else None
        self._egress = egress.with_user(None) if egress else None
        self._egress_auth = (
            aiohttp.encode_basic_auth(egress.user, egress.password or "") if egress and egress.user else None
        )
        self._credential = (
            SecretFile(config.credential_file, one_line=True) if config.credential_file else None
        )
        self._used: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()
        self._connector: aiohttp.TCPConnector | None = None
        self._target: aiohttp.ClientRequest | None = None

    async def start(self) -> None:
        """Make the pool; nothing is connected yet. Raises OSError or ssl.SSLError for unusable TLS files."""
        self._connector = aiohttp.TCPConnector(
            limit=self.config.max_connections, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=_DNS_TTL
        )
        self._target = aiohttp.ClientRequest(
            "GET",
            self._url,
            loop=asyncio.get_running_loop(),
            ssl=self._tls() or True,
            proxy=self._egress,
            proxy_headers=self._proxy_headers(),
        )

    def _proxy_headers(self) -> dict[str, str] | None:
        if self._egress is None:
            return None
        # aiohttp adds Host by itself, but would then take the connection for another one.
        headers = {"Host": self.host.decode()}
        return headers | {"Proxy-Authorization": self._egress_auth} if self._egress_auth else headers

    def _tls(self) -> ssl.SSLContext | None:
        config = self.config
        if not (config.ca_file or config.client_cert_file):
            return None
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.client_cert_file:
            context.load_cert_chain(config.client_cert_file, config.client_key_file)
        return context

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        if self._connector is not None:
            await self._connector.close()

    def credential(self) -> list[RawField]:
        """The upstream's own credential for fills, if there is one."""
        if self._credential is None:
            return []
        return [(b"Authorization", b"Bearer " + self._credential.read().encode())]

    def render(self, method: str, target: bytes, fields: list[RawField]) -> bytes:
        """A request head. An egress proxy before a plain upstream wants the absolute form (RFC 9112 section 3.2.2)."""
        if self._egress is not None and self._url.scheme == "http":
            if target.startswith(b"/"):
                target = b"http://" + self.host + target
            if self._egress_auth is not None:
                fields = [*fields, (b"Proxy-Authorization", self._egress_auth.encode())]
        return render(b"%b %b HTTP/1.1" % (method.encode(), target), fields)

    @asynccontextmanager
    async def open(self, *, fresh: bool = False) -> AsyncIterator[Exchange]:
        """A connection for one exchange, a new one if it must be `fresh`; counts what fails. Raises UpstreamError."""
        exchange: Exchange | None = None
        try:
            with _mapped():
                connection, reused = await self._connect(fresh=fresh)
            exchange = Exchange(connection, reused=reused, header_bytes=self.limits.header_bytes)
            yield exchange
        except UpstreamError as error:
            cut_by_us = exchange is not None and exchange.aborted and error.reason in _CUT
            if not cut_by_us and not isinstance(error, StaleConnectionError):
                self._metrics.upstream_failed(self.name, error.reason)
            raise
        finally:
            if exchange is not None:
                exchange.close()

    async def _connect(self, *, fresh: bool) -> tuple[aiohttp.connector.Connection, bool]:
        """A connection, and whether it was used before."""
        if self._connector is None or self._target is None:
            raise RuntimeError("start() comes first")
        timeout = aiohttp.ClientTimeout(connect=self.config.timeout, sock_connect=self.config.connect_timeout)
        while True:
            connection = await self._connector.connect(self._target, [], timeout)
            protocol = connection.protocol
            if protocol is None:
                raise aiohttp.ServerDisconnectedError
            if protocol not in self._used:
                self._used.add(protocol)
                return connection, False
            # Bytes that came while nobody had asked would be taken for the answer to the next request.
            if not fresh and not protocol.should_close:
                return connection, True
            connection.close()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a response."""
        self._metrics.upstream_answered(self.name, route, status, seconds)

    async def fetch(
        self,
        route: str,
        method: str,
        target: bytes,
        fields: list[RawField],
        body: bytes = b"",
        *,
        max_body: int,
        within: float,
    ) -> Fetched:
        """The proxy's own request, whole, `within` so many seconds. Raises UpstreamError.

        It is idempotent, so it is repeated once when a reused connection turns out to be closed.
        """
        try:
            async with asyncio.timeout(within):
                try:
                    return await self._fetch(route, method, target, fields, body, max_body, fresh=False)
                except StaleConnectionError:
                    return await self._fetch(route, method, target, fields, body, max_body, fresh=True)
        except TimeoutError:
            self._metrics.upstream_failed(self.name, "timeout")
            raise UpstreamError("timeout") from None

    async def _fetch(
        self,
        route: str,
        method: str,
        target: bytes,
        fields: list[RawField],
        body: bytes,
        max_body: int,
        *,
        fresh: bool,
    ) -> Fetched:
        start = self._clock()
        head = [(b"Host", self.host), *fields, *self.credential(), (b"Via", b"1.1 " + self.via)]
        if body:
            head.append((b"Content-Length", b"%d" % len(body)))
        async with self.open(fresh=fresh) as exchange:
            await exchange.send_head(self.render(method, target, head) + body)
            await exchange.end_request()
            response = await exchange.receive_head(method)
            parts: list[bytes] = []
            size = 0
            async for chunk in exchange.body():
                parts.append(chunk)
                size += len(chunk)
                if size > max_body:
                    raise UpstreamError("too_large")
        self.answered(route, response.status, self._clock() - start)
        return Fetched(response, b"".join(parts))


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn what aiohttp raises into an UpstreamError; nothing of the message is kept, it may quote data."""
    try:
        yield
    except TimeoutError as error:
        # aiohttp's own ones concern the connect; the deadline of an exchange is a cancellation at this depth.
        raise UpstreamError("connect_timeout") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise UpstreamError("dns") from error
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise UpstreamError("tls") from error
    except (
        aiohttp.ClientConnectorError,
        aiohttp.ClientProxyConnectionError,
        aiohttp.ClientHttpProxyError,
    ) as error:
        raise UpstreamError("connect") from error
    except aiohttp.ServerDisconnectedError as error:
        raise UpstreamError("disconnected") from error
    except aiohttp.ClientPayloadError as error:
        raise UpstreamError("body") from error
    except HttpProcessingError as error:
        raise UpstreamError("protocol") from error
    except EofStream as error:
        raise UpstreamError("disconnected") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamError("reset") from error
