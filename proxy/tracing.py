"""Spans after the OpenTelemetry HTTP conventions: SERVER for each request, CLIENT for each call of an upstream.

Nothing else of the program knows OpenTelemetry, and nobody imports this unless `tracing.endpoint` is set. The trace
context travels as the fields of W3C Trace Context do: a request's span stands in `Request.trace_context`, from there it
goes with the wishes that the request causes, and the span of an upstream call takes its parent out of the fields that
the call would send. So no task holds on to the span of the request that started it.

No attribute is taken from a client or an upstream but status and protocol version: paths, queries, Host, User-Agent and
addresses may tell who somebody is. See docs/tracing.md.
"""

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    service_attributes,
    url_attributes,
)
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from config.address import Address
from config.model import Config
from proxy import __version__
from proxy.core.http.fields import RawField, values, with_trace_context
from proxy.exchange import UpstreamError
from proxy.messages import BadBodyError, Request

_CACHE, _ROUTE, _UPSTREAM = "handshake_proxy.cache", "handshake_proxy.route", "handshake_proxy.upstream"
# Not among the stable attributes yet; it says of a call what http.route says of a request.
_TEMPLATE = "url.template"
# The methods that the conventions know; others are the client's words.
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"}
)
_OTHER = "_OTHER"
_CLIENT_GONE = "client_disconnected"

_Attribute = str | int
_propagator = TraceContextTextMapPropagator()


class RequestSpan:
    """The span of one request."""

    __slots__ = ("_method", "_span", "_spans", "_version", "context", "exemplar", "trace_id")

    def __init__(self, spans: "RequestSpans", span: Span, request: Request) -> None:
        self._spans = spans
        self._span = span
        self._method = request.method
        self._version = request.version
        self.context = _context_of(span)
        """The fields by which what the request causes becomes part of its trace; none if there is no trace."""
        of_span = span.get_span_context()
        self.trace_id = format_trace_id(of_span.trace_id) if of_span.is_valid else None
        """None if there is no trace: OTEL_SDK_DISABLED makes none, and leaves those of others."""
        self.exemplar = {"trace_id": self.trace_id} if self.trace_id and span.is_recording() else None
        """The labels of an exemplar; None if the trace is not sampled, so that nobody could look at it."""

    def end(self, route: str, cache: str, code: int, failure: str | None) -> None:
        """The request is over: answered with `code`, or not answered, or not to the end, because of `failure`."""
        span = self._span
        if not span.is_recording():
            return
        self._spans.shared.forget(self.context)
        method, template = _known(self._method), self._spans.templates.get(route)
        span.update_name(_name(method, template))
        attributes: dict[str, _Attribute] = {
            **self._spans.attributes,
            http_attributes.HTTP_REQUEST_METHOD: method,
            network_attributes.NETWORK_PROTOCOL_VERSION: _version(self._version),
            _ROUTE: route,
            _CACHE: cache,
        }
        if template is not None:
            attributes[http_attributes.HTTP_ROUTE] = template
        if failure is None:
            attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] = code
            if code >= 500:  # noqa: PLR2004 - the client's own errors are none of a server
                failure = str(code)
        if failure is not None:
            attributes[error_attributes.ERROR_TYPE] = failure
            if failure != _CLIENT_GONE:  # which is nothing that a server has done wrong
                span.set_status(StatusCode.ERROR)
        span.set_attributes(attributes)
        span.end()


class RequestSpans:
    """Makes the spans of one listener. `templates` are the paths of its routes, `{id}` for whatever names an entity."""

    def __init__(
        self, tracer: Tracer, shared: "SharedCalls", address: Address, templates: Mapping[str, str]
    ) -> None:
        self._tracer = tracer
        self.shared = shared
        self.templates = templates
        self.attributes = _place("http", address.host, address.port)

    def begin(self, request: Request) -> RequestSpan:
        """The span of a request that has just come; what the request causes becomes part of it."""
        span = self._tracer.start_span(
            _known(request.method), _parent(request.fields), kind=SpanKind.SERVER, record_exception=False
        )
        begun = RequestSpan(self, span, request)
        request.trace_context = begun.context or None
        if span.is_recording():
            self.shared.remember(begun.context, span)
        return begun


class CallSpan:
    """The span of one call of an upstream, to be entered."""

    __slots__ = ("_attributes", "_span", "fields")

    def __init__(self, span: Span, attributes: dict[str, _Attribute], fields: Iterable[RawField]) -> None:
        self._span = span
        self._attributes = attributes
        own = _context_of(span)
        self.fields = with_trace_context(fields, own) if own else tuple(fields)
        """The fields of the call, by which what it causes becomes part of its trace."""

    def answered(self, status: int, version: tuple[int, int] | None = None) -> None:
        """The upstream has answered; `version` is that of HTTP, if it is known."""
        self._attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] = status
        if version is not None:
            self._attributes[network_attributes.NETWORK_PROTOCOL_VERSION] = _version(version)
        if status >= 400:  # noqa: PLR2004 - to a client each of these is an error
            self._fail(str(status))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is not None:
            self._fail(_word(error))
        self._span.set_attributes(self._attributes)
        self._span.end()

    def _fail(self, word: str) -> None:
        self._attributes[error_attributes.ERROR_TYPE] = word
        self._span.set_status(StatusCode.ERROR)


class CallSpans:
    """Makes the spans of calls of one upstream."""

    def __init__(self, tracer: Tracer, name: str, url: str, templates: Mapping[str, str]) -> None:
        self._tracer = tracer
        self._templates = templates
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._attributes = {**_place(parts.scheme, parts.hostname or "", port), _UPSTREAM: name}

    def call(self, route: str, method: str, fields: Iterable[RawField], *, resent: int = 0) -> CallSpan:
        """The span of a call with these fields, a child of what they say; it was sent `resent` times before."""
        fields = tuple(fields)
        known, template = _known(method), self._templates.get(route)
        attributes: dict[str, _Attribute] = {
            **self._attributes,
            http_attributes.HTTP_REQUEST_METHOD: known,
            _ROUTE: route,
        }
        if template is not None:
            attributes[_TEMPLATE] = template
        if resent:
            attributes[http_attributes.HTTP_REQUEST_RESEND_COUNT] = resent
        span = self._tracer.start_span(
            _name(known, template), _parent(fields), kind=SpanKind.CLIENT, record_exception=False
        )
        return CallSpan(span, attributes, fields)


class SharedCalls:
    """Links the span of a request that waits for another one's call to that other one."""

    def __init__(self) -> None:
        self._open: dict[bytes, Span] = {}

    def remember(self, context: tuple[RawField, ...], span: Span) -> None:
        """A request has begun."""
        self._open[_traceparent(context)] = span

    def forget(self, context: tuple[RawField, ...]) -> None:
        """It is over."""
        self._open.pop(_traceparent(context), None)

    def link(self, fields: Iterable[RawField], cause: Iterable[RawField]) -> None:
        """What was caused by `cause` is waited for by the request with these fields, too."""
        own, others = _traceparent(fields), tuple(cause)
        span = self._open.get(own)
        if span is None or own == _traceparent(others):
            return
        context = get_current_span(_parent(others)).get_span_context()
        if context.is_valid:
            span.add_link(context)


class Tracing:
    """Makes the spans of one instance, and hands those that are sampled to `processor`, which it does not own.

    `sample_ratio` is the part of those requests that come without a trace context; others say it themselves.
    """

    def __init__(self, config: Config, processor: SpanProcessor) -> None:
        provider = TracerProvider(
            ParentBased(TraceIdRatioBased(config.tracing.sample_ratio)),
            _resource(),
            shutdown_on_exit=False,
            meter_provider=NoOpMeterProvider(),
        )
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("handshake-proxy", __version__)
        self._templates = _templates(config)
        self.shared = SharedCalls()

    def listener(self, address: Address, templates: Mapping[str, str] | None = None) -> RequestSpans:
        """The spans of a listener; `templates` are the paths of its routes, those of the resources unless given."""
        known = self._templates if templates is None else templates
        return RequestSpans(self._tracer, self.shared, address, known)

    def upstream(self, name: str, url: str) -> CallSpans:
        """The spans of calls of an upstream."""
        return CallSpans(self._tracer, name, url, self._templates)


def _templates(config: Config) -> dict[str, str]:
    """The paths of the resources by route, as they are configured."""
    found: dict[str, str] = {}
    for name, resource in config.resources.items():
        if resource.bulk is not None:
            found[f"{name}.bulk"] = str(resource.bulk.path)
        if resource.single is not None:
            found[f"{name}.single"] = str(resource.single.path)
    return found


def _resource() -> Resource:
    # What the environment says comes last here: `create` alone would have it the other way round.
    own = {
        service_attributes.SERVICE_NAME: "handshake-proxy",
        service_attributes.SERVICE_VERSION: __version__,
    }
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})


def _place(scheme: str, host: str, port: int) -> dict[str, _Attribute]:
    return {
        url_attributes.URL_SCHEME: scheme,
        server_attributes.SERVER_ADDRESS: host,
        server_attributes.SERVER_PORT: port,
    }


def _known(method: str) -> str:
    return method if method in _METHODS else _OTHER


def _name(method: str, template: str | None) -> str:
    word = "HTTP" if method == _OTHER else method
    return word if template is None else f"{word} {template}"


def _version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _word(error: BaseException) -> str:
    """What a call failed with; never the message of an exception, which may quote what was being sent."""
    if isinstance(error, UpstreamError):
        return error.reason
    if isinstance(error, ConnectionError):
        return _CLIENT_GONE
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "bad_body" if isinstance(error, BadBodyError) else type(error).__name__


def _parent(fields: Iterable[RawField]) -> Context:
    """The trace context that fields carry. More than one traceparent is none that could be trusted."""
    fields = tuple(fields)
    found = values(fields, b"traceparent")
    if len(found) != 1:
        return Context()
    states = [value.decode("latin-1") for value in values(fields, b"tracestate")]
    return _propagator.extract({"traceparent": [found[0].decode("latin-1")], "tracestate": states}, Context())


def _traceparent(fields: Iterable[RawField]) -> bytes:
    return next(iter(values(fields, b"traceparent")), b"")


def _context_of(span: Span) -> tuple[RawField, ...]:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, set_span_in_context(span, Context()))
    return tuple((name.encode(), value.encode("latin-1")) for name, value in carrier.items())
