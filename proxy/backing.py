"""The database behind memory, as a configuration names it: SQLite of this replica alone, or PostgreSQL of all."""

import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial

from msgspec import Struct

from config.model import Config
from proxy.log import logger
from proxy.metrics import Metrics
from proxy.stores import derive_id, table_specs
from store.base import Store
from store.recovering import Hooks, Loss, RecoveringStore
from store.rows import GetNow
from store.shared import Change, SharedStore
from store.sharing import SharedBy
from store.sqlite_files import OpenFailure
from store.sqlite_opening import Opening
from store.tiered import TieredStore


class Backing(Struct, frozen=True, kw_only=True):
    """A database that may go and come back, and whoever looks after it."""

    store: Store
    look: Callable[[float], Awaitable[None]]
    """Open it if it is not there, and give it up if it is lost (monotonic seconds)."""
    is_there: Callable[[], bool]
    last_failure: Callable[[], str | None]
    """For a log: it quotes nothing of what is stored."""
    close: Callable[[], Awaitable[None]]
    get_now: GetNow = lambda _keys: None
    shared: tuple[SharedStore, SharedBy] | None = None
    listen: Callable[[], Coroutine[None, None, None]] | None = None
    """Runs until it is cancelled."""
    is_hearing: Callable[[], bool] = lambda: False
    """Whether it is told of what others change, and need not ask."""


class Reports:
    """What happens to a database, for the log and the metrics: a failure to open it once, until another is met."""

    def __init__(self, metrics: Metrics, scope: str, note: str) -> None:
        self._metrics = metrics
        self._log = logger()
        self._scope = scope
        self._note = note
        self._opening_failure: str | None = None

    def opened(self, forgotten: Sequence[str]) -> None:
        """It is in use."""
        self._opening_failure = None
        if forgotten:
            self._log.warning("rows_forgotten", resources=list(forgotten))
        self._log.info("store_open", scope=self._scope, note=self._note)

    def set_aside(self, failure: OpenFailure, why: str | None) -> None:
        """A file could not be used, and another was begun in its place."""
        self._metrics.store_set_aside(failure)
        self._log.error("store_set_aside", why=why)

    def not_opened(self, why: str) -> None:
        """It can't be had now."""
        if why != self._opening_failure:
            self._opening_failure = why
            self._log.error("store_degraded", why=why)

    def lost(self, loss: str, why: str | None) -> None:
        """It was given up."""
        self._metrics.store_lost(loss)
        self._log.error("store_lost", loss=loss, why=why)

    def deaf(self, why: str) -> None:
        """No notification arrives."""
        self._log.warning("change_log_not_heard", why=why, note="it is read each store.poll_interval")

    def hearing(self) -> None:
        """They arrive."""
        self._log.info("change_log_heard")


def sqlite_backing(
    config: Config,
    metrics: Metrics,
    *,
    clock: Callable[[], float],
    tiers: Callable[[], TieredStore],
) -> Backing:
    """`tiers` gives those over the database, once they are made; `clock` epoch seconds. For a configuration with a path
    and tables."""
    path = config.store.sqlite_path
    if path is None:
        raise ValueError("store.url names no file")
    reports = Reports(metrics, "replica", "entities here are this replica's own, not shared")
    opening = Opening(
        path=path,
        tables=table_specs(config),
        max_bytes=config.store.max_bytes,
        derive_id=partial(derive_id, config.handshake.namespace),
        on_operation=metrics.store_operation,
        clock=clock,
    )

    def opened(why: str | None, set_aside: OpenFailure | None) -> None:
        if set_aside is not None:
            reports.set_aside(set_aside, why)
        current = database.current
        reports.opened(() if current is None else current.forgotten)

    def lost(loss: Loss, why: str | None) -> None:
        reports.lost(loss, why)
        if loss == "taken":
            tiers().distrust()

    async def remember() -> None:
        await tiers().remember()

    async def bring_back(begun: Store) -> None:
        await tiers().bring_back(begun)

    database = RecoveringStore(opening, Hooks(opened, reports.not_opened, lost, remember, bring_back))
    return Backing(
        store=database,
        look=database.look,
        is_there=lambda: database.is_there,
        last_failure=lambda: database.last_failure,
        close=database.close,
        get_now=database.get_now,
    )


def postgres_backing(
    config: Config,
    metrics: Metrics,
    *,
    monotonic: Callable[[], float],
    tiers: Callable[[], TieredStore],
    on_doubt: Callable[[], None],
) -> Backing:
    """Likewise. `on_doubt()` is told when memory counts as stale for want of news, or was forgotten."""
    # asyncpg is an extra, and large: without a URL for it, it is never imported.
    from store.postgres.database import Hooks as PostgresHooks  # noqa: PLC0415
    from store.postgres.database import PostgresDatabase  # noqa: PLC0415

    settings = config.store
    reports = Reports(metrics, "shared", "entities are shared with every replica of this database")

    def heard() -> None:
        sharing = tiers().sharing
        if sharing is not None:
            sharing.wake()

    def opened() -> None:
        reports.opened(database.store.forgotten)
        heard()

    def changed(change: Change) -> None:
        if change.key.resource in config.resources:
            metrics.invalidated(change.key.resource, "replica")

    database = PostgresDatabase(
        settings.url,
        settings.listen_url or settings.url,
        table_specs(config),
        PostgresHooks(
            on_opened=opened,
            on_failed=reports.not_opened,
            on_lost=lambda why: reports.lost("server", why),
            on_heard=heard,
            on_deaf=reports.deaf,
            on_hearing=reports.hearing,
        ),
        connections=settings.connections,
        prepared=settings.prepared_statements,
        probe_every=settings.poll_interval,
        max_bytes=settings.max_bytes,
        derive_id=partial(derive_id, config.handshake.namespace),
        on_operation=metrics.store_operation,
    )
    shared_by = SharedBy(
        poll_interval=settings.poll_interval,
        monotonic=monotonic,
        next_token=lambda: secrets.randbits(62),
        on_change=changed,
        on_doubt=on_doubt,
    )
    return Backing(
        store=database.store,
        look=database.look,
        is_there=lambda: database.store.is_there,
        last_failure=lambda: database.store.last_failure,
        close=database.close,
        shared=(database.store, shared_by),
        listen=database.listener.listen,
        is_hearing=lambda: database.listener.is_hearing,
    )
