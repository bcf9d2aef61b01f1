"""One upstream fetch out of the wishes of many replicas, where they share a store.

Who wants an entity claims its lease. Who is granted it calls the upstream, and stores what comes under that lease. Who
is not waits for the row, by claiming again after a while: the leader has stored it by then, or found nothing to be
stored, or has died. Nobody waits longer than the lease lasts: a slow leader is joined, not replaced.

Where nobody can say who leads, each replica fetches for itself, and keeps what comes in memory alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from proxy.metrics import Metrics
from proxy.results import Loaded, Result, Wish
from store.applying import NAMED_FOR
from store.entry import AT_LEAST, Entry, Key
from store.shared import Claim
from store.sharing import Sharing

_SHARE: Final = 0.25
"""Of the time of an upstream's call, for which another replica is waited for: the rest is for a call of our own."""

_AT_MOST: Final = 1.0
"""Seconds of the same: much longer than owners take, and short for a person."""

_FIRST_LOOK, _LAST_LOOK = 0.01, 0.08
"""Seconds between two looks at the row that another replica fetches, twice as long each time."""

_NOBODYS: Final = Claim(is_granted=True, row=None)

Call = Callable[[Wish], Awaitable[dict[str, Result]]]
"""Calls the upstream for all of a wish."""


class Fleet:
    """Of one resource. `clock` gives epoch seconds; `sleep` waits so many."""

    def __init__(
        self,
        name: str,
        sharing: Sharing,
        *,
        timeout: float,
        metrics: Metrics,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._sharing = sharing
        self._seconds = min(_AT_MOST, _SHARE * timeout)
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep

    async def fetch(self, wish: Wish, call: Call, *, is_forced: bool) -> dict[str, Result]:
        """Fetch what no other replica is fetching, and wait for what one is. `is_forced`: whatever others do, and
        whatever they have stored, the upstream is asked."""
        token = self._sharing.next_token()
        claims = await self._claimed(wish.ids, token, is_forced=is_forced)
        if claims is None:
            return await call(wish)
        results, mine, others = await self._sorted(wish, claims, token, is_forced=is_forced)
        if not others:
            return results | (await self._led(wish, mine, token, claims, call) if mine else {})
        async with asyncio.TaskGroup() as tasks:
            elsewhere = tasks.create_task(
                self._elsewhere(wish, others, claims, call), name=f"wait for replica {self._name}"
            )
            if mine:
                results |= await self._led(wish, mine, token, claims, call)
        return results | elsewhere.result()

    async def _claimed(
        self, ids: Sequence[str], token: int, *, is_forced: bool = False
    ) -> dict[str, Claim] | None:
        keys = [Key(self._name, entity) for entity in ids]
        claims = await self._sharing.claim(keys, token, seconds=self._seconds, is_forced=is_forced)
        # What has no claim, for it is no text, has no row: nobody can lead, and nothing is stored.
        return None if claims is None else {key.id: claims.get(key, _NOBODYS) for key in keys}

    async def _sorted(
        self, wish: Wish, claims: Mapping[str, Claim], token: int, *, is_forced: bool = False
    ) -> tuple[dict[str, Result], list[str], list[str]]:
        """What others have brought, what is to be fetched here, and what somebody else has the lease of."""
        brought = {} if is_forced else self._brought(wish, claims)
        granted = [entity for entity, claim in claims.items() if claim.is_granted]
        await self._given_up([entity for entity in granted if entity in brought], token)
        mine = [entity for entity in granted if entity not in brought]
        others = [entity for entity, c in claims.items() if not c.is_granted and entity not in brought]
        return brought, mine, others

    async def _led(
        self, wish: Wish, ids: Sequence[str], token: int, claims: Mapping[str, Claim], call: Call
    ) -> dict[str, Result]:
        """What the upstream says; who waits for what is not going to be stored is let go."""
        results = await call(_part_of(wish, ids, token, self._named(claims)))
        await self._given_up([entity for entity, result in results.items() if not _is_put(result)], token)
        return results

    async def _elsewhere(
        self, wish: Wish, ids: Sequence[str], claims: Mapping[str, Claim], call: Call
    ) -> dict[str, Result]:
        """What the replicas bring that have the leases, or, if they bring nothing, the upstream."""
        results: dict[str, Result] = {}
        holders = {entity: claims[entity].holder for entity in ids}
        left = list(ids)
        waited, pause = 0.0, _FIRST_LOOK
        while left and waited < self._seconds:
            await self._sleep(pause)
            waited, pause = waited + pause, min(2 * pause, _LAST_LOOK)
            token = self._sharing.next_token()
            now = await self._claimed(left, token)
            if now is None:
                break
            # Of what is granted the leader has brought nothing; nor would those who follow it, one after the other.
            brought, mine, waiting = await self._sorted(wish, now, token)
            results |= brought
            given_up = [entity for entity in waiting if now[entity].holder != holders[entity]]
            if mine:
                results |= await self._led(wish, mine, token, now, call)
            if given_up:
                results |= await self._by_force(wish, given_up, call)
            left = [entity for entity in left if entity not in results]
        return results | (await self._by_force(wish, left, call) if left else {})

    async def _by_force(self, wish: Wish, ids: Sequence[str], call: Call) -> dict[str, Result]:
        token = self._sharing.next_token()
        claims = await self._claimed(ids, token, is_forced=True)
        if claims is None:
            return await call(_part_of(wish, ids, None, {}))
        return await self._led(wish, ids, token, claims, call)

    def _brought(self, wish: Wish, claims: Mapping[str, Claim]) -> dict[str, Result]:
        """What others have stored, and is fresh: what is held of those is not, or it would not be wished for."""
        now = self._clock()
        rows = [claim.row for claim in claims.values() if claim.row is not None]
        brought: dict[str, Result] = {
            row.key.id: Loaded(row, stored=True, collapsed=True) for row in rows if _is_fresh(row, now)
        }
        for row in rows:
            if row.key.id in brought:
                self._sharing.learn(row, wish.seen)
        if brought:
            self._metrics.coalesced(self._name, len(brought))
        return brought

    def _named(self, claims: Mapping[str, Claim]) -> dict[str, str]:
        """The versions of rows that are of the last minute: an event has named them, to whichever replica."""
        since = self._clock() - NAMED_FOR
        return {
            entity: claim.row.source_version.removeprefix(AT_LEAST)
            for entity, claim in claims.items()
            if claim.row is not None
            and claim.row.source_version is not None
            and claim.row.received_at > since
        }

    async def _given_up(self, ids: Sequence[str], token: int) -> None:
        if ids:
            await self._sharing.release([Key(self._name, entity) for entity in ids], token)


def _is_fresh(row: Entry, now: float) -> bool:
    return row.item is not None and row.ttl(now) > 0


def _is_put(result: Result) -> bool:
    """Whether something that was fetched is on its way to the store."""
    return isinstance(result, Loaded) and result.stored and not result.collapsed


def _part_of(wish: Wish, ids: Sequence[str], lease: int | None, named: Mapping[str, str]) -> Wish:
    # What is held of the others says nothing about the answer to this part, and is not to be changed by it.
    held = {entity: wish.held[entity] for entity in ids if entity in wish.held}
    return replace(wish, ids=tuple(ids), held=held, lease=lease, named=named)
