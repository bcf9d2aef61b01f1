"""The only user of aiohttp's client: connections, timeouts, TLS, retries, and the circuit breaker of an upstream."""

import asyncio
import ssl
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_proto import ResponseHandler
from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from config.load import SecretFile
from config.model import LimitsConfig, UpstreamConfig
from proxy.core.budget import FREE_FILL, Budget
from proxy.core.circuit import Circuit, Permit, State
from proxy.core.http.fields import RawField, render
from proxy.core.http.retry_after import retry_after
from proxy.core.http.target import path_and_query
from proxy.core.retry import RetryBudget, delay
from proxy.dns import Resolver
from proxy.exchange import (
    AGAIN_IN,
    CUT,
    Exchange,
    Fetched,
    Opened,
    Reason,
    StaleConnectionError,
    UpstreamError,
    mapped,
)
from proxy.log import Seldom, logger
from proxy.metrics import Metrics
from proxy.turns import Turns

if TYPE_CHECKING:
    from proxy.tracing import CallSpans

# Node's servers close a connection after 5 s of idleness. Reusing one for less than that loses few races, and a
# lost race is a failed request where the method can't be repeated.
_KEEP_ALIVE = 4.0
# A name is asked for again as often as this, so that a moved service is followed quickly.
_DNS_TTL = 10

# What another try may heal. A name in a certificate, an answer that is none and a deadline are not among it.
_PASSING = frozenset({"dns", "connect", "connect_timeout", "disconnected", "reset", "body"})
_PASSING_STATUSES = frozenset({502, 503, 504})
_TOO_MANY = 429
# Seconds by which a deadline is noticed late where the event loop was blocked: an answer may have come, and nobody has
# looked.
_LATE = 0.5
# The upstream has answered, and is well: what it said is too much for us.
_NO_FAILURE = frozenset({"too_large"})


class Upstream:
    """One owning service. `clock` gives epoch seconds, `monotonic` seconds that never step, `rng` a number in [0, 1).

    What answers to the proxy's own calls hold while they arrive is taken from `buffered`.

    The circuit and the retries are for the proxy's own requests. What is passed through is the application's call: it
    is always tried, once, and says nothing of the circuit, so that one bad path does not take the others away.
    """

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        limits: LimitsConfig,
        metrics: Metrics,
        *,
        via: bytes,
        buffered: Budget,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: Callable[[], float],
        spans: "CallSpans | None" = None,
    ) -> None:
        self.name = name
        self.config = config
        self.limits = limits
        self.via = via
        self.spans = spans
        """Of its calls, with tracing on."""
        self._metrics = metrics
        self._buffered = buffered
        self._turns = Turns(config.max_connections)
        self._may_log = Seldom(monotonic)
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        circuit = config.circuit
        self._circuit = Circuit(failures=circuit.failures, window=circuit.window, open_for=circuit.open_for)
        self._budget = RetryBudget(config.retries)
        self._url = URL(str(config.url))
        port = "" if self._url.is_default_port() else f":{self._url.port}"
        host = self._url.raw_host or ""
        self.host = (f"[{host}]" if ":" in host else host).encode() + port.encode()
        self.origin = self._url.scheme.encode() + b"://" + self.host.lower()
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
            limit=0,  # that is what the turns are for: who waits for one is not the upstream's doing
            keepalive_timeout=_KEEP_ALIVE,
            ttl_dns_cache=_DNS_TTL,
            resolver=Resolver(lambda: self.config.connect_timeout),
        )
        self._target = aiohttp.ClientRequest(
            "GET",
            self._url,
            loop=asyncio.get_running_loop(),
            ssl=self._tls(),
            proxy=self._egress,
            proxy_headers=self._proxy_headers(),
        )

    def _proxy_headers(self) -> dict[str, str] | None:
        if self._egress is None:
            return None
        # aiohttp adds Host by itself, but would then take the connection for another one.
        headers = {"Host": self.host.decode()}
        return headers | {"Proxy-Authorization": self._egress_auth} if self._egress_auth else headers

    def _tls(self) -> ssl.SSLContext | bool:
        config = self.config
        schemes = {self._url.scheme, self._egress.scheme if self._egress else ""}
        if not (config.ca_file or config.client_cert_file or "https" in schemes):
            return True
        # aiohttp's own may trust nobody (proxy/start.py).
        context = ssl.create_default_context(cafile=config.ca_file)
        context.set_alpn_protocols(("http/1.1",))
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

    @property
    def _by_absolute_form(self) -> bool:
        """Whether an egress proxy is told by the target where a request goes (RFC 9112 section 3.2.2)."""
        return self._egress is not None and self._url.scheme == "http"

    def takes(self, method: str, target: bytes) -> bool:
        """Whether a request with that target can be sent to this upstream, and nowhere else."""
        return not self._by_absolute_form or path_and_query(method, target) is not None

    def render(self, method: str, target: bytes, fields: list[RawField]) -> bytes:
        """A request head. An egress proxy is never told another place than the upstream. `takes` comes before it."""
        if self._by_absolute_form:
            target = b"http://" + self.host + (path_and_query(method, target) or b"")
            if self._egress_auth is not None:
                fields = [*fields, (b"Proxy-Authorization", self._egress_auth.encode())]
        return render(b"%b %b HTTP/1.1" % (method.encode(), target), fields)

    def open(self, *, fresh: bool = False, within: float | None = None) -> Opened:
        """A connection for one exchange, a new one if it must be `fresh`; counts what fails. Raises UpstreamError.

        It takes at most `within` seconds, or the upstream's `timeout`, and half of that at most to wait while all
        connections are in use; when `max_pending` requests do so already, it fails at once.
        """
        within = self.config.timeout if within is None else within
        return Opened(self._begin(fresh=fresh, within=within), self._end)

    async def _begin(self, *, fresh: bool, within: float) -> Exchange:
        if self._turns.waiting >= self.config.max_pending:
            self.failed("overloaded")
            raise UpstreamError("overloaded", retry_after=AGAIN_IN)
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        try:
            await self._turns.take(within)
            try:
                left = max(until - loop.time(), within / 2)
                with mapped():
                    connection, reused = await self._connect(fresh=fresh, within=left)
                return Exchange(connection, reused=reused, header_bytes=self.limits.header_bytes)
            except BaseException:
                self._turns.release()
                raise
        except UpstreamError as error:
            self.failed(error.reason)
            raise

    def _end(self, exchange: Exchange, error: BaseException | None) -> None:
        exchange.close()
        self._turns.release()
        if not isinstance(error, UpstreamError) or isinstance(error, StaleConnectionError):
            return
        if not (exchange.aborted and error.reason in CUT | {"body"}):
            self.failed(error.reason)

    async def _connect(self, *, fresh: bool, within: float) -> tuple[aiohttp.connector.Connection, bool]:
        """A connection, and whether it was used before."""
        if self._connector is None or self._target is None:
            raise RuntimeError("start() comes first")
        timeout = aiohttp.ClientTimeout(
            connect=within,
            sock_connect=self.config.connect_timeout,
        )
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

    def failed(self, reason: Reason) -> None:
        """Count a failed call, and log it now and then."""
        self._metrics.upstream_failed(self.name, reason)
        if self._may_log(reason):
            logger().warning("upstream_failed", upstream=self.name, reason=reason)

    def circuit_state(self) -> State:
        """The state of the circuit now."""
        return self._circuit.state(self._monotonic())

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
        own_credential: bool = True,
    ) -> Fetched:
        """The proxy's own request, whole, `within` so many seconds, retries included. Raises UpstreamError.

        With the upstream's own credential if there is one, unless the request is made in somebody else's name.

        It is idempotent. While the circuit is open it fails at once. What is the proxy's own trouble ("overloaded"),
        and 429 to what was asked in somebody else's name, do not count for it.
        """
        now = self._monotonic()
        permit = self._circuit.admit(now)
        if permit is None:
            self.failed("circuit_open")
            raise UpstreamError("circuit_open", retry_after=self._circuit.retry_in(now))
        self._budget.called(now)
        call = _Call(route, method, target, fields, body, max_body, own_credential)
        try:
            fetched = await self._tried(call, within, permit)
        except UpstreamError as error:
            if error.reason == "overloaded":
                self._circuit.abandon(permit)
            else:
                self._circuit.record(permit, self._monotonic(), ok=error.reason in _NO_FAILURE)
            raise
        except BaseException:
            self._circuit.abandon(permit)
            raise
        status = fetched.head.status
        # That it has had too much of one caller is no word about the others; as the answer to a probe it is one.
        about_one = status == _TOO_MANY and not own_credential
        if permit.is_probe or not about_one:
            self._circuit.record(permit, self._monotonic(), ok=about_one or not _is_failure(status))
        return fetched

    async def _tried(self, call: "_Call", within: float, permit: Permit) -> Fetched:
        """Try a call, and again while that may help and there is time. The last outcome is the outcome."""
        deadline = asyncio.get_running_loop().time() + within
        # A probe asks whether the upstream is well, and a second question would not be the answer.
        retries = 0 if permit.is_probe else self.config.retries
        for attempt in range(retries + 1):
            try:
                outcome: Fetched | UpstreamError = await self._attempt(call, deadline, attempt)
            except UpstreamError as error:
                outcome = error
            wait = self._wait(outcome, attempt) if attempt < retries else None
            if (
                wait is None
                or asyncio.get_running_loop().time() + wait >= deadline
                or not self._budget.take(self._monotonic())
            ):
                break
            await asyncio.sleep(wait)
            if not self._circuit.is_current(permit):
                break  # other calls have opened it, and an open circuit lets nothing through
            self._metrics.upstream_retried(self.name)
            if isinstance(outcome, Fetched):  # the last one is for the caller to judge
                self.failed("status")
        if isinstance(outcome, UpstreamError):
            raise outcome
        return outcome

    def _wait(self, outcome: Fetched | UpstreamError, attempt: int) -> float | None:
        """Seconds to wait before another try, or None if it would not help."""
        if isinstance(outcome, UpstreamError):
            return delay(attempt, self._rng) if outcome.reason in _PASSING else None
        status = outcome.head.status
        wished = retry_after(outcome.head.fields, now=self._clock())
        if status in _PASSING_STATUSES or (status == _TOO_MANY and wished is not None):
            return max(wished or 0.0, delay(attempt, self._rng))
        return None

    async def _attempt(self, call: "_Call", deadline: float, attempt: int) -> Fetched:
        """One try, with a span of its own if calls are traced."""
        if self.spans is None:
            return await self._answer(call, deadline)
        with self.spans.call(call.route, call.method, call.fields, resent=attempt) as span:
            fetched = await self._answer(replace(call, fields=list(span.fields)), deadline)
            span.answered(fetched.head.status, fetched.head.version)
            return fetched

    async def _answer(self, call: "_Call", deadline: float) -> Fetched:
        """The answer to one try; a kept-alive connection that the server had closed costs nothing."""
        try:
            async with asyncio.timeout_at(deadline):
                try:
                    return await self._exchanged(call, deadline, fresh=False)
                except StaleConnectionError:
                    return await self._exchanged(call, deadline, fresh=True)
        except TimeoutError:
            if asyncio.get_running_loop().time() - deadline > _LATE:
                error = UpstreamError("overloaded", retry_after=AGAIN_IN)
            else:
                error = UpstreamError("timeout")
            self.failed(error.reason)
            raise error from None

    async def _exchanged(self, call: "_Call", deadline: float, *, fresh: bool) -> Fetched:
        start = self._monotonic()
        credential = self.credential() if call.own_credential else []
        head = [(b"Host", self.host), *call.fields, *credential, (b"Via", b"1.1 " + self.via)]
        if call.body:
            head.append((b"Content-Length", b"%d" % len(call.body)))
        left = deadline - asyncio.get_running_loop().time()
        async with self.open(fresh=fresh, within=left) as exchange:
            await exchange.send_head(self.render(call.method, call.target, head), call.body)
            await exchange.end_request()
            response = await exchange.receive_head(call.method)
            body = await self._whole(exchange, call.max_body)
        self.answered(call.route, response.status, self._monotonic() - start)
        return Fetched(response, body)

    async def _whole(self, exchange: Exchange, max_body: int) -> bytes:
        """The body of a response, if it is not too large and there is room for it. Raises UpstreamError."""
        read = bytearray()  # a list of parts would be many times their size, which is what is counted
        with self._buffered.share(FREE_FILL) as share:
            if (arrived := exchange.arrived()) is not None:
                if len(arrived) > max_body:
                    raise UpstreamError("too_large")
                if share.take(len(arrived)):
                    return arrived
                raise UpstreamError("overloaded", retry_after=AGAIN_IN)
            async for chunk in exchange.body():
                read += chunk
                if len(read) > max_body:
                    raise UpstreamError("too_large")
                if not share.take(len(chunk)):
                    raise UpstreamError("overloaded", retry_after=AGAIN_IN)
            return bytes(read)


class _Call(Struct, frozen=True):
    """One request of the proxy's own."""

    route: str
    method: str
    target: bytes
    fields: list[RawField]
    body: bytes
    max_body: int
    own_credential: bool


def _is_failure(status: int) -> bool:
    return status >= 500 or status == _TOO_MANY  # noqa: PLR2004 - RFC 9110 section 15.6, RFC 6585 section 4
