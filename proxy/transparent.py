"""The transparent listener of one upstream, put together: the faces of its resources, and the fast lane before them."""

from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Struct, field

from config.model import ResourceConfig
from config.path_template import PathTemplate
from proxy.core.http.freshness import Freshness, Rules, bounded
from proxy.core.http.varying import Varying
from proxy.core.policy import usable_until
from proxy.keeper import has_own_copies
from proxy.keeping import Clocks
from proxy.lane import Lane
from proxy.lane_table import Table, part_of
from proxy.log import logger
from proxy.opaque import Opaque
from proxy.representations import Representations
from proxy.upstream import Upstream
from proxy.web.bulk import BulkHandler
from proxy.web.invalidating import Forget, Invalidating
from proxy.web.observer import Observer
from proxy.web.opaque import OpaqueHandler
from proxy.web.opaque_showing import OpaqueResource
from proxy.web.plain import PlainBulk, PlainFaces, PlainOpaque, PlainSingle
from proxy.web.resource import Resource
from proxy.web.router import Router
from proxy.web.sharing import Sharing
from proxy.web.single import SingleHandler
from proxy.wiring import Parts, limits_of, passthrough_of
from store.entry import Key
from store.memory import MemoryTier

# A response that may be confirmed is worth its place for so long, even where nothing stale may be shown.
_VALIDATABLE = 86_400.0


class _Faces(Struct):
    """What the resources of one upstream answer with."""

    bulks: list[tuple[BulkHandler, Resource]] = field(default_factory=list)
    singles: list[tuple[PathTemplate, SingleHandler, Resource]] = field(default_factory=list)
    opaques: list[tuple[PathTemplate, OpaqueHandler, OpaqueResource]] = field(default_factory=list)


def listener(parts: Parts, known: Mapping[str, Resource], upstream: Upstream) -> tuple[Router, Lane | None]:
    """What answers the requests that an upstream is meant for; the lane is None where each request is to be seen for
    itself: by the log, or in a trace. `known`: the resources that have entities."""
    config = parts.config
    owned = [resource for resource in known.values() if resource.config.upstream == upstream.name]
    shelves = _shelves(parts, upstream)
    invalidating = _invalidating(parts, owned, shelves, upstream)
    faces = _Faces()
    for resource in owned:
        if resource.config.bulk is not None:
            faces.bulks.append((BulkHandler(resource), resource))
        if resource.config.single is not None:
            faces.singles.append(
                (resource.config.single.path, SingleHandler(resource, invalidating), resource)
            )
    for name, (template, shelf) in shelves.items():
        opaque = _opaque(parts, name, shelf, upstream, invalidating)
        faces.opaques.append((template, OpaqueHandler(opaque), opaque))
    spans = parts.tracing.listener(upstream.config.listen) if parts.tracing else None
    observer = Observer(
        parts.metrics, parts.refs, buffered=parts.buffered, level=config.log.level, spans=spans
    )
    router = Router(
        {handler.claim: handler for handler, _ in faces.bulks},
        [(template, handler) for template, handler, _ in faces.singles],
        [(template, handler) for template, handler, _ in faces.opaques],
        invalidating,
        passthrough_of(parts, upstream),
        observer,
        via=parts.via,
    )
    is_seen = config.log.level == "debug" or parts.tracing is not None
    return router, _lane(parts, faces) if config.lane and not is_seen else None


def _lane(parts: Parts, faces: _Faces) -> Lane:
    config = parts.config
    bulks: dict[tuple[bytes, bytes], PlainBulk] = {}
    for bulk, resource in faces.bulks:
        if (head := resource.sharing.plain_head(body=True)) is not None:
            method, path = bulk.claim
            bulks[method.encode(), path] = PlainBulk(bulk, resource, head)
    plain = PlainFaces(
        bulks,
        [
            (template, PlainSingle(single, resource, head))
            for template, single, resource in faces.singles
            if (head := resource.sharing.plain_head(body=False)) is not None
        ],
        [
            (template, PlainOpaque(handler, opaque, head))
            for template, handler, opaque in faces.opaques
            if (head := opaque.sharing.plain_head(body=False)) is not None
        ],
    )
    table = Table(part_of(config.memory.max_bytes) // len(config.upstreams))
    varying = Varying(plain.telling)
    return Lane(plain, table, varying, parts.buffered, clock=parts.clock, starts=plain.starts)


def _shelves(parts: Parts, upstream: Upstream) -> dict[str, tuple[PathTemplate, Representations]]:
    """The stored responses of the upstream's opaque resources."""
    return {
        name: (config.single.path, _shelf(name, config, parts.responses))
        for name, config in parts.config.resources.items()
        if config.id is None
        and config.upstream == upstream.name
        and config.single is not None
        and parts.responses is not None
    }


def _shelf(name: str, config: ResourceConfig, memory: MemoryTier) -> Representations:
    limits = limits_of(config.freshness)
    until = partial(usable_until, limits=limits, negative_ttl=0.0, validatable=_VALIDATABLE)
    return Representations(name, memory, usable_until=until)


def _invalidating(
    parts: Parts,
    owned: list[Resource],
    shelves: Mapping[str, tuple[PathTemplate, Representations]],
    upstream: Upstream,
) -> Invalidating:
    def forget(shelf: Representations) -> Forget:
        async def forgotten(target: str) -> None:
            parts.invalidations.note(Key(shelf.name, target), "method")
            shelf.invalidate(target)

        return forgotten

    singles: list[tuple[PathTemplate, Forget]] = [
        (resource.config.single.path, partial(resource.resolver.invalidate, source="method"))
        for resource in owned
        if resource.config.single is not None
    ]
    opaques = [(template, forget(shelf)) for template, shelf in shelves.values()]
    return Invalidating(singles, opaques, origin=upstream.origin)


def _opaque(
    parts: Parts, name: str, shelf: Representations, upstream: Upstream, invalidating: Invalidating
) -> OpaqueResource:
    config = parts.config.resources[name]
    freshness = config.freshness

    def warn(event: str) -> None:
        logger().warning(event, resource=name)

    rules = Rules(
        ttl=freshness.ttl,
        jitter=freshness.jitter,
        origin=freshness.origin,
        varies=True,
        keeps_cookies_out=True,
    )
    origin = Opaque(
        shelf,
        rules,
        upstream,
        limits=parts.config.limits,
        buffered=parts.buffered,
        supervisor=parts.supervisor,
        metrics=parts.metrics,
        clocks=Clocks(parts.clock, parts.wall, parts.rng),
        monotonic=parts.monotonic,
        bound=_bound(config),
    )
    has_credential = upstream.config.credential_file is not None
    return OpaqueResource(
        name=name,
        origin=origin,
        upstream=upstream,
        policy=limits_of(freshness),
        patience=freshness.revalidate_timeout,
        sharing=Sharing(config, own_credential=has_credential, key=parts.credentials, warn=warn),
        passthrough=passthrough_of(parts, upstream),
        invalidating=invalidating,
        limits=parts.config.limits,
        metrics=parts.metrics,
        clock=parts.clock,
    )


def _bound(config: ResourceConfig) -> Callable[[Freshness], Freshness]:
    """Where each credential has responses of its own: that the origin has answered this very one is remembered for
    `ttl`, as with entities; with a `ttl` of 0 the origin's word goes for that, too."""
    freshness = config.freshness
    if not has_own_copies(config) or not freshness.ttl:
        return lambda fresh: fresh
    return partial(
        bounded,
        seconds=freshness.ttl,
        while_revalidate=freshness.stale_while_revalidate,
        if_error=freshness.stale_if_error,
    )
