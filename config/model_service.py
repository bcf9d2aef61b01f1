"""Sections of the model: the other listeners, the tiers, and the bounds of the program."""

from pathlib import Path
from typing import Literal
from uuid import UUID

from config.address import Address
from config.fields import Count, CountOrZero, Ratio, SecretPath, Section, Share, key
from config.units import Duration, PositiveDuration, PositiveSize, parse_duration, parse_size
from config.url import OtlpUrl, PostgresUrl, StoreUrl


class HandshakeConfig(Section):
    """The handshake API, by which the application uses the proxy as its local copy."""

    listen: Address = key(
        Address("127.0.0.1", 8081),
        "Its listener. An address that is not loopback needs `token_file`.",
    )
    token_file: SecretPath | None = key(
        None,
        "A file with the bearer token that callers must send; it may be replaced while the program runs.",
    )
    namespace: UUID = key(
        UUID("6f1d3a0e-0d0b-5c5e-9d6b-7f0a5a4b1c11"),
        "UUID namespace of the internal ids. Replicas agree on ids because they agree on this: never change it.",
    )


class OpsConfig(Section):
    """Health and metrics."""

    listen: Address = key(
        Address("127.0.0.1", 9464),
        "Listener of /livez, /readyz, /startupz and /metrics. No entity data there.",
    )


class WebhooksConfig(Section):
    """Events that the upstream sends when an entity changes."""

    listen: Address | None = key(None, "Listener of the webhooks; null: off. It needs `secret_file`.")
    secret_file: SecretPath | None = key(
        None,
        "A file with the signing secrets, one a line (`whsec_` and base64; a line with `#` before it does not count): "
        "several while one is being replaced. It may be replaced while the program runs.",
    )
    max_rate: Count = key(
        200,
        "Signed events a second that are taken, with bursts of as many; beyond it 429 with Retry-After.",
    )


class SharingConfig(Section):
    """What tells credentials apart (`sharing: per_credential` of a resource)."""

    key_file: SecretPath | None = key(
        None,
        "A file with the key of the hashes by which credentials are told apart (`sharing: per_credential`), at least "
        "16 characters; null: made at start-up. Another content forgets every credential's copies at once.",
    )


class StoreConfig(Section):
    """The database behind the memory tier."""

    url: StoreUrl = key(
        "sqlite:///handshake.db",
        "`sqlite:///file.db` (three slashes: relative to the working directory; four: absolute), one replica's own; "
        "or `postgresql://user:password@host/database`, shared by replicas (needs the extra `postgres`).",
        secret=True,
    )
    listen_url: PostgresUrl | None = key(
        None,
        "PostgreSQL: where notifications are listened for, if `url` leads through a pooler that gives each transaction "
        "another connection; null: `url`.",
        secret=True,
    )
    connections: Count = key(
        4, "PostgreSQL: connections of one replica at the most, and one more that listens for notifications."
    )
    poll_interval: PositiveDuration = key(
        parse_duration("5s"),
        "PostgreSQL: how often what other replicas have changed is read without a notification. If it can't be read "
        "for longer, what is in memory counts as stale.",
    )
    prepared_statements: bool = key(
        default=True,
        doc="PostgreSQL: whether statements are kept prepared. They are not where a pooler is found; false is for one "
        "that can't be told from the server itself.",
    )
    max_bytes: PositiveSize = key(
        parse_size("256MiB"), "Bound of the database; what was synced longest ago makes room for the newest."
    )
    retention: PositiveDuration = key(
        parse_duration("180d"), "What was not synced for so long loses its representation."
    )

    @property
    def sqlite_path(self) -> Path | None:
        """The database file, or None when the store is PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None

    @property
    def is_shared(self) -> bool:
        """Whether it is one of many replicas."""
        return self.sqlite_path is None


class MemoryConfig(Section):
    """The first tier."""

    max_bytes: PositiveSize = key(parse_size("64MiB"), "Bound of what is held in memory, overhead included.")
    opaque: Share = key(
        0.5,
        "The part of `max_bytes`, less the fast lane's, that responses of opaque resources may take, where there are "
        "such; the rest is for entities.",
    )
    warm: CountOrZero = key(
        0,
        "Entities of the database that a start loads into memory behind readiness, those that were used last; 0: none. "
        "Each five minutes, and at the end, up to so many rows are told when they were used.",
    )


class RefreshConfig(Section):
    """Fetching again ahead of time what is held, many entities in one call: what is served is out of date less often,
    for no more calls than requests would cause without it (docs/operations.md)."""

    enabled: bool = key(default=False, doc="Whether what is in memory is refreshed in the background.")
    interval: PositiveDuration = key(
        parse_duration("60s"),
        "Time between two rounds. No more than a twentieth of the shortest lifetime, or what is about to expire is "
        "not seen in time. A round looks at all that is in memory: some 100 ms of a core for 64MiB.",
    )
    batch: Count = key(
        100,
        "Entities in one upstream call at the most; no more than `bulk.max_ids`, and one without a bulk call.",
    )
    concurrency: Count = key(
        2, "Upstream calls at a time. After each a pause is made that is as long as the call took."
    )


class AuditConfig(Section):
    """Comparing some of what was served with what the upstream has (docs/operations.md)."""

    sample_ratio: Ratio = key(
        0.0,
        "Part of the copies served that are compared; 0: none. A copy counts once for each second in which it is "
        "served. What is compared is fetched for it, and renewed by that.",
    )
    max_rate: Count = key(
        1,
        "Upstream calls a second for this at the most, each of up to `bulk.max_ids` copies of one resource. What does "
        "not fit into the next is not compared.",
    )


class LimitsConfig(Section):
    """Bounds on what clients and upstreams may send."""

    bulk_body: PositiveSize = key(
        parse_size("8MiB"),
        "Request body of a bulk call that is looked into; a larger one is streamed on, uncached.",
    )
    cached_response: PositiveSize = key(
        parse_size("8MiB"), "Upstream answer that is kept; a larger one is streamed on, uncached."
    )
    buffered: PositiveSize = key(
        parse_size("64MiB"),
        "Bodies that are held at a time, all together: bulk requests, answers being fetched, answers that a client is "
        "slow to read. When it is spent, bulks are streamed on, uncached, and what can't be streamed is answered 503.",
    )
    connections: Count = key(
        10_000, "Client connections of one listener at a time; one more is answered with 503."
    )
    header_bytes: PositiveSize = key(
        parse_size("64KiB"),
        "Head of a request; a larger one is answered 431. An answer's that is larger is answered 502.",
    )
    idle_timeout: PositiveDuration = key(
        parse_duration("75s"),
        "How long a connection may wait between requests, and a body may stand still. The body of a bulk or of a "
        "handshake call has as long to arrive altogether: 408.",
    )
    header_timeout: PositiveDuration = key(
        parse_duration("10s"), "How long a client may take to send a head."
    )
    drain_timeout: Duration = key(
        parse_duration("20s"), "How long requests under way may still take once the program was told to stop."
    )
    drain_linger: Duration = key(
        parse_duration("500ms"),
        "How long after the last request a listener or an idle connection is still served once the program was told to"
        " stop, with `Connection: close`, and at most a quarter of `drain_timeout` on a listener. 0s: closed at once.",
    )


class LogConfig(Section):
    """What is logged. Never an id, a name, a token or a query string."""

    level: Literal["debug", "info", "warning", "error"] = key("info", "The least severity that is logged.")
    format: Literal["json", "console"] = key("json", "`json`: one object a line. `console`: for people.")


class TracingConfig(Section):
    """Spans of requests and of upstream calls (docs/tracing.md). No path, no id and no name is in them."""

    endpoint: OtlpUrl | None = key(
        None,
        "Base URL of an OTLP/HTTP receiver, such as `http://127.0.0.1:4318`; `/v1/traces` is added. Null: off. It "
        "needs the extra `handshake-proxy[tracing]`.",
    )
    sample_ratio: Ratio = key(
        1.0,
        "Part of the requests that are traced of those without a `traceparent`; one that has it says by itself.",
    )
