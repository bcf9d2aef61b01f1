"""What an owner tells of its entities (contract: webhooks), done to the local copy: the decision is made in
proxy/core/events.py, in the transaction in which it is done.

Nobody whose request begins after `take` has returned is answered with what was held before.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from hashlib import sha256
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from config.model import ResourceConfig
from proxy.core import bulk, events
from proxy.core.bulk import AnswerShape
from proxy.core.events import Event, Held, Merged, Unchanged
from proxy.keeper import columns_of
from proxy.refetching import Refetching
from store.base import StoreError
from store.effects import Applied, Delivery, Effect, Forget, Keep, Replace
from store.entry import AT_LEAST, Entry, Key, Write
from store.tiered import TieredStore

Outcome = Literal["merged", "invalidated", "deleted", "unchanged", "repeated"]

REMEMBERED_FOR: Final = 900.0
"""Seconds for which a message is remembered: one that was sent five minutes in the future is accepted for ten, and
clocks are put right now and then."""


class Subject(Struct, frozen=True):
    """A resource that messages are about."""

    config: ResourceConfig
    answer: AnswerShape
    refetching: Refetching
    max_bytes: int
    """Of an item that is held."""


class Events:
    """Of all resources. `on_invalidated(key, source)` is told of each entity that has changed. `clock` gives epoch
    seconds."""

    def __init__(
        self,
        subjects: Mapping[str, Subject],
        store: TieredStore,
        *,
        on_invalidated: Callable[[Key, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._subjects = subjects
        self._store = store
        self._on_invalidated = on_invalidated
        self._clock = clock
        self.resources = frozenset(subjects)
        """Names of those that an event can be about."""

    async def take(self, event: Event, message_id: str) -> Outcome:
        """Do what the event says, unless a message of that id did so before; return once it is durable.

        Raises StoreError when that can't be had: the message may come again, and what was held is forgotten meanwhile.
        Raises `events.Invalid` for data that does not fit, having done nothing.
        """
        subject = self._subjects[event.resource]
        key = Key(event.resource, event.id)
        now = self._clock()
        decide = partial(_effect, subject, event, now)
        with closing(self._store.watch_erasures([key])) as unerased:
            try:
                applied = await self._store.apply(key, decide, _delivery(message_id, now))
            except StoreError:
                self._on_invalidated(key, "webhook")
                raise
            if not unerased.is_current(key):  # nothing brings it back
                applied = replace(applied, before=None)
            return self._done(subject, event, key, applied)

    def close(self) -> None:
        """Fetch nothing any more. Idempotent."""
        for subject in self._subjects.values():
            subject.refetching.close()

    def _done(self, subject: Subject, event: Event, key: Key, applied: Applied) -> Outcome:
        if applied.effect is None:
            return "repeated"
        if isinstance(applied.effect, Keep):
            return "unchanged"
        self._on_invalidated(key, "webhook")
        if isinstance(applied.effect, Replace):
            subject.refetching.not_any_more(event.id)
            return "merged"
        if event.kind == "deleted":
            subject.refetching.not_any_more(event.id)
            self._store.put(Write(self._absence(subject, key), {}))
            return "deleted"
        # What nobody has asked for here is nobody's to fetch. Where there is no row, the first event has left nothing.
        if applied.before is not None or subject.refetching.is_known(event.id):
            subject.refetching.soon(event.id)
        return "invalidated"

    def _absence(self, subject: Subject, key: Key) -> Entry:
        now = self._clock()
        lifetime = subject.config.freshness.negative_ttl
        return Entry(
            key=key,
            item=None,
            received_at=now,
            lifetime=lifetime,
            absent=True,
            status=404,
            last_synced_at=now,
        )


def _delivery(message_id: str, now: float) -> Delivery:
    # By hash: a sender may make its ids of what an erasure has to take away.
    return Delivery(sha256(message_id.encode()).hexdigest(), now, REMEMBERED_FOR)


def _effect(subject: Subject, event: Event, now: float, held: Entry | None) -> Effect:
    config = subject.config
    if config.id is None:
        raise RuntimeError("an opaque resource has no entities")
    decision = events.decide(event, _held(held), version_at=config.source_version, id_at=config.id)
    if isinstance(decision, Unchanged):
        return Keep()
    if not isinstance(decision, Merged) or held is None or len(decision.item) > subject.max_bytes:
        return Forget(decision.version)
    item: bulk.Item = subject.answer.item(decision.item)
    entry = replace(
        held,
        item=item.raw,
        received_at=now,
        initial_age=0.0,
        # Validators are those of what was there before.
        headers=(),
        source_version=decision.version,
        last_synced_at=now,
        durable=False,
    )
    return Replace(Write(entry, columns_of(config, item.document)))


def _held(entry: Entry | None) -> Held | None:
    if entry is None:
        return None
    version = entry.source_version
    if version is None or not version.startswith(AT_LEAST):
        return Held(entry.item, version)
    # Of which version it is nobody knows: what was left out in between can't be told.
    return Held(None, version.removeprefix(AT_LEAST))
