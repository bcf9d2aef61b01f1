"""What answers requests, put together out of the configuration: one resource each, and the faces before them."""

import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from config.address import Address
from config.model import Config, FreshnessConfig, ResourceConfig
from config.secret_file import KEY_AT_LEAST, SecretFile
from proxy import __version__
from proxy.attributes import LOCAL_ATTRIBUTES
from proxy.auditor import Auditor
from proxy.core.budget import Budget
from proxy.core.policy import Limits
from proxy.core.rate import Rate
from proxy.entities import Entities
from proxy.events import Events, Subject
from proxy.fetcher import Fetcher
from proxy.fleet import Fleet
from proxy.invalidations import Invalidations
from proxy.keeper import Keeper, has_own_copies
from proxy.loader import Loader
from proxy.log import Refs, logger
from proxy.metrics import Cache, Metrics
from proxy.refetching import Refetching
from proxy.refresher import Refresher
from proxy.refresher import Subject as Refreshed
from proxy.resolver import Resolver
from proxy.signatures import Verifier
from proxy.steady import SteadyClock
from proxy.stores import filled_by
from proxy.supervisor import Supervisor
from proxy.upstream import Upstream
from proxy.web.handshake import openapi
from proxy.web.handshake.api import calls_of
from proxy.web.handshake.face import Face
from proxy.web.handshake.guard import Guard
from proxy.web.handshake.router import HandshakeRouter
from proxy.web.handshake.shape import EntityShape
from proxy.web.inspector.feed import Measured, feed
from proxy.web.inspector.pages import ROUTE as PAGE_ROUTE
from proxy.web.inspector.pages import pages
from proxy.web.inspector.snapshot import ROUTE as FEED_ROUTE
from proxy.web.inspector.snapshot import Instance
from proxy.web.observer import Observer
from proxy.web.passthrough import PassThrough
from proxy.web.resource import Resource
from proxy.web.sharing import CredentialKey, Sharing
from proxy.web.webhooks import PATH as EVENTS_PATH
from proxy.web.webhooks import ROUTE as EVENTS_ROUTE
from proxy.web.webhooks import WebhookRouter
from store.memory import MemoryTier
from store.tiered import TieredStore

if TYPE_CHECKING:
    from proxy.tracing import Tracing

# Cache results of handshake calls that are worth a line in the log: a hit is a look into memory, as often as the
# application likes.
_NOTED: frozenset[Cache] = frozenset({"stale", "miss", "negative", "partial", "none", "error"})

# The page of the Inspector asks every other second.
_UNNOTED = frozenset({FEED_ROUTE, PAGE_ROUTE})


class Parts(Struct, frozen=True):
    """What all that answers requests has in common. `clock` gives epoch seconds that never step
    back, `wall` those of the plain clock, `monotonic` seconds that never step,
    `rng` a number in [0, 1). `measured` gives every metric as of now; `started_at` is in epoch seconds."""

    config: Config
    store: TieredStore
    upstreams: Mapping[str, Upstream]
    supervisor: Supervisor
    metrics: Metrics
    measured: Measured
    invalidations: Invalidations
    buffered: Budget
    started_at: float
    refs: Refs
    via: bytes
    clock: SteadyClock
    wall: Callable[[], float]
    monotonic: Callable[[], float]
    rng: Callable[[], float]
    credentials: CredentialKey
    tracing: "Tracing | None" = None
    responses: MemoryTier | None = None
    """Those of opaque resources are kept there, where there are such."""
    auditor: Auditor | None = None
    refresher: Refresher | None = None


def limits_of(freshness: FreshnessConfig) -> Limits:
    """The operator's limits on stale use."""
    return Limits(freshness.stale_while_revalidate, freshness.stale_if_error)


def resources(parts: Parts) -> dict[str, Resource]:
    """Every resource that has entities, by name."""
    return {
        name: _resource(parts, name, config)
        for name, config in parts.config.resources.items()
        if config.id is not None
    }


def handshake(parts: Parts, known: Mapping[str, Resource]) -> HandshakeRouter:
    """The handshake API of all resources."""
    config = parts.config.handshake
    faces = [_face(parts, resource) for resource in known.values()]
    shapes = [face.shape for face in faces]
    # What is changed in SQLite or in memory is changed in this replica alone.
    scope = "replica" if parts.store.sharing is None else "shared"
    instance = Instance(parts.config, shapes, __version__, scope, parts.started_at)
    calls = [*calls_of(faces, scope), feed(instance, parts.measured, parts.invalidations, parts.clock)]
    document = openapi.document(calls, shapes, version=__version__, secured=config.token_file is not None)
    token_file = SecretFile(config.token_file, one_line=True) if config.token_file else None
    if token_file is not None:
        token_file.read()  # while it can't be read later, the token of now goes on to count
    spans = None
    if parts.tracing is not None:
        spans = parts.tracing.listener(config.listen, {call.route: call.path for call in calls})
    observer = Observer(
        parts.metrics,
        parts.refs,
        buffered=parts.buffered,
        level=parts.config.log.level,
        noted=_NOTED,
        unnoted=_UNNOTED,
        spans=spans,
    )
    guard = Guard(config.listen, token_file)
    return HandshakeRouter(
        calls, document, pages(), guard, observer, buffered=parts.buffered, clock=parts.clock
    )


def events(parts: Parts, known: Mapping[str, Resource]) -> Events:
    """What messages of the owners are done to."""
    subjects = {}
    for name, resource in known.items():
        refetch = resource.resolver.refetch if _may_ask_for_itself(parts, name) else _skip
        refetching = Refetching(refetch, clock=parts.monotonic)
        resource.resolver.on_let_go = refetching.not_any_more
        subjects[name] = Subject(
            resource.config, resource.answer_shape, refetching, parts.config.limits.cached_response
        )
    return Events(subjects, parts.store, on_invalidated=parts.invalidations.note, clock=parts.clock)


def _may_ask_for_itself(parts: Parts, name: str) -> bool:
    """Whether the proxy may fetch what no request has asked for: where callers lend their credentials to fills, its own
    call would be answered as nobody's."""
    return filled_by(parts.config, name) != "callers"


def _skip(_entity: str) -> None:
    """Fetch nothing behind: the next request does."""


def webhooks(parts: Parts, taking: Events, listen: Address, secret_file: Path) -> WebhookRouter:
    """The listener of those messages."""
    spans = parts.tracing.listener(listen, {EVENTS_ROUTE: EVENTS_PATH}) if parts.tracing else None
    observer = Observer(
        parts.metrics, parts.refs, buffered=parts.buffered, level=parts.config.log.level, spans=spans
    )
    return WebhookRouter(
        taking,
        # Of the plain clock: a sender's is held against the time that it is, even if that was set back.
        Verifier(secret_file, parts.wall),
        Rate(parts.config.webhooks.max_rate),
        observer,
        parts.metrics,
        clock=parts.clock,
        monotonic=parts.monotonic,
    )


def _face(parts: Parts, resource: Resource) -> Face:
    config, answer = resource.config, resource.answer_shape
    local = LOCAL_ATTRIBUTES.get(resource.name, ()) if config.storage == "database" else ()
    entities = Entities(
        config,
        answer,
        resource.resolver,
        parts.store,
        on_invalidated=parts.invalidations.note,
        clock=parts.clock,
    )
    return Face.of(EntityShape.of(resource.name, config, answer, local), entities, parts.clock)


def _fleet(parts: Parts, name: str, config: ResourceConfig, fetcher: Fetcher) -> Fleet | None:
    if parts.store.sharing is None or config.storage != "database":
        return None
    return Fleet(name, parts.store.sharing, timeout=fetcher.timeout, metrics=parts.metrics, clock=parts.clock)


def passthrough_of(parts: Parts, upstream: Upstream) -> PassThrough:
    """What passes requests on to an upstream."""
    return PassThrough(upstream, parts.config.limits, clock=time.perf_counter)


def _have_looked_after(
    parts: Parts, config: ResourceConfig, loader: Loader, resolver: Resolver, upstream: Upstream
) -> None:
    """Have a resource audited and refreshed, if that is asked for."""
    at_once = config.bulk.max_ids if config.bulk else 1

    def may_call() -> bool:
        return not loader.backing_off and upstream.circuit_state() == "closed"

    if parts.auditor is not None:
        resolver.on_served = parts.auditor.of(loader, parts.store, at_once=at_once, may_call=may_call)
    if parts.refresher is not None:
        sharing = parts.store.sharing if config.storage == "database" else None
        parts.refresher.add(
            Refreshed(
                loader,
                partial(parts.store.memory.plain_slots, loader.name),
                at_once,
                config.freshness.stale_while_revalidate,
                may_call,
                lead=None if sharing is None else partial(sharing.lead, f"refresher {loader.name}"),
            )
        )


def credential_key(config: Config) -> CredentialKey:
    """The key that all resources tell credentials apart by. Raises SecretUnreadable."""
    path = config.sharing.key_file if config.tells_credentials_apart else None
    file = SecretFile(path, at_least=KEY_AT_LEAST) if path else None
    return CredentialKey(file, made=secrets.token_bytes(64))


def _resource(parts: Parts, name: str, config: ResourceConfig) -> Resource:
    def warn(event: str) -> None:
        logger().warning(event, resource=name)

    upstream = parts.upstreams[config.upstream]
    fetcher = Fetcher(
        name,
        config,
        upstream,
        Keeper(name, config, parts.store, clock=parts.clock, wall=parts.wall, rng=parts.rng),
        metrics=parts.metrics,
        clock=parts.clock,
        wall=parts.wall,
        monotonic=parts.monotonic,
        rng=parts.rng,
        max_body=parts.config.limits.cached_response,
        warn=warn,
    )
    loader = Loader(
        fetcher,
        watch=parts.store.watch,
        supervisor=parts.supervisor,
        metrics=parts.metrics,
        monotonic=parts.monotonic,
        # Half of the pool, so that a huge bulk leaves room for what is passed through.
        parallel=max(1, upstream.config.max_connections // 2),
        max_waiters=parts.config.limits.connections,
        max_pending=upstream.config.max_pending,
        on_wait=parts.tracing.shared.link if parts.tracing else None,
        fleet=_fleet(parts, name, config, fetcher),
    )
    resolver = Resolver(
        loader,
        parts.store,
        limits_of(config.freshness),
        patience=config.freshness.revalidate_timeout,
        metrics=parts.metrics,
        on_invalidated=parts.invalidations.note,
        clock=parts.clock,
        own_for=config.freshness.ttl if has_own_copies(config) else None,
    )
    own_credential = upstream.config.credential_file is not None
    if _may_ask_for_itself(parts, name):
        _have_looked_after(parts, config, loader, resolver, upstream)
    return Resource(
        name=name,
        config=config,
        upstream=upstream,
        resolver=resolver,
        request_shape=fetcher.shape,
        answer_shape=fetcher.answer,
        sharing=Sharing(config, own_credential=own_credential, key=parts.credentials, warn=warn),
        passthrough=passthrough_of(parts, upstream),
        limits=parts.config.limits,
        buffered=parts.buffered,
        metrics=parts.metrics,
        clock=parts.clock,
    )
