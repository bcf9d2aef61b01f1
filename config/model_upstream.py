"""Sections of the model: an upstream, and how calls to it are bounded."""

from config.address import Address
from config.fields import Count, CountOrZero, SecretPath, Section, TlsPath, key
from config.units import PositiveDuration, parse_duration
from config.url import BaseUrl, ProxyUrl


class CircuitConfig(Section):
    """When calls to a failing upstream are no longer tried."""

    failures: Count = key(5, "So many failed calls in a row within `window` open the circuit.")
    window: PositiveDuration = key(parse_duration("10s"), "How long a failed call counts.")
    open_for: PositiveDuration = key(
        parse_duration("5s"), "How long an open circuit fails calls at once before it lets one try."
    )


class UpstreamConfig(Section):
    """A service that is asked for what is missing, and the listener that stands in for it."""

    url: BaseUrl = key(..., "Base URL of the service: http or https, without a path.")
    listen: Address = key(
        Address("127.0.0.1", 8080),
        "The transparent listener of this upstream: the base URL that the application is given. Each upstream needs "
        "its own; port 0 lets the system choose.",
    )
    connect_timeout: PositiveDuration = key(
        parse_duration("1s"), "How long making a connection may take, and how long looking the name up."
    )
    timeout: PositiveDuration = key(
        parse_duration("4s"),
        "How long a whole exchange may take, retries included. Keep it below the application's own timeout.",
    )
    max_connections: Count = key(100, "Connections to this upstream at a time.")
    max_pending: Count = key(
        1024,
        "Requests that may wait for a connection, and calls of each resource that may wait for their turn; one more is "
        "answered with 503 at once, unless there is a copy.",
    )
    retries: CountOrZero = key(
        2,
        "Further tries of a call of the proxy's own that failed, with full jitter, at most 10 % extra load.",
    )
    circuit: CircuitConfig = key(
        CircuitConfig(),
        "The circuit breaker of this upstream, for the proxy's own calls: what is passed through is always tried.",
    )
    credential_file: SecretPath | None = key(
        None,
        "A file with a bearer token for the proxy's own requests (fills, handshake fetches); never for pass-through.",
    )
    ca_file: TlsPath | None = key(
        None, "PEM file with the certificates that sign the upstream's, instead of the system's."
    )
    client_cert_file: TlsPath | None = key(None, "PEM file with the client certificate for mutual TLS.")
    client_key_file: TlsPath | None = key(None, "PEM file with the key of `client_cert_file`.")
    proxy: ProxyUrl | None = key(
        None, "URL of the HTTP proxy by which this upstream is reached.", secret=True
    )
