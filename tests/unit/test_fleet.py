"""Who of many replicas calls the upstream, and what the others do meanwhile: the test plays the database."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from msgspec.structs import replace

from proxy.fleet import Fleet
from proxy.metrics import Metrics
from proxy.results import Failure, Loaded, Missing, Result, Wish
from store.applying import NAMED_FOR
from store.entry import AT_LEAST, Entry, Key
from store.generation import Generations
from store.shared import Claim
from store.sharing import Sharing
from tests.unit.store.samples import NOW, derive, entry

TIMEOUT = 4.0
UNTOLD = "no text"
"""An id of which the database says nothing: it could not be one of a row."""


def key(entity: str) -> Key:
    return Key("user", entity)


def row(entity: str, item: bytes | None = b"{}", *, lifetime: float = 60.0) -> Entry:
    held = entry(key(entity), item, lifetime=lifetime)
    return held.confirmed(internal_id=derive(key(entity), 0), version=1)


@dataclass
class Leases:
    """What `Sharing` is to a fleet. `holders` are the leases of others; `happens` is called at each claim."""

    holders: dict[str, float] = field(default_factory=dict)
    rows: dict[str, Entry] = field(default_factory=dict)
    happens: Callable[[int], None] = lambda _claim: None
    is_gone: bool = False
    claimed: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)
    released: list[tuple[str, ...]] = field(default_factory=list)
    learned: list[Entry] = field(default_factory=list)
    token: int = 0

    def next_token(self) -> int:
        self.token += 1
        return self.token

    async def claim(
        self, keys: Sequence[Key], token: int, *, seconds: float, is_forced: bool
    ) -> dict[Key, Claim] | None:
        self.happens(len(self.claimed))
        self.claimed.append((tuple(one.id for one in keys), is_forced))
        if self.is_gone:
            return None
        return {
            one: Claim(
                is_forced or one.id not in self.holders, self.rows.get(one.id), self.holders.get(one.id, 0.0)
            )
            for one in keys
            if one.id != UNTOLD
        }

    async def release(self, keys: Sequence[Key], token: int) -> None:
        self.released.append(tuple(one.id for one in keys))

    def learn(self, entry_: Entry, seen: object) -> None:
        self.learned.append(entry_)


class World:
    """A fleet of one resource, and the upstream that it calls."""

    def __init__(self) -> None:
        self.leases = Leases()
        self.metrics = Metrics()
        self.calls: list[tuple[tuple[str, ...], int | None]] = []
        self.held: list[set[str]] = []
        self.named: list[dict[str, str]] = []
        self.slept = 0.0
        self.says: Callable[[str], Result] = lambda entity: Loaded(row(entity), stored=True)
        self.fleet = Fleet(
            "user",
            cast("Sharing", self.leases),
            timeout=TIMEOUT,
            metrics=self.metrics,
            clock=lambda: NOW,
            sleep=self._sleep,
        )

    async def fetch(
        self, *ids: str, forced: bool = False, held: Mapping[str, Entry] | None = None
    ) -> dict[str, Result]:
        seen = Generations().watch([key(entity) for entity in ids])
        wish = Wish(ids, "", held or {}, seen, ())
        return await self.fleet.fetch(wish, self._call, is_forced=forced)

    async def _call(self, wish: Wish) -> dict[str, Result]:
        self.calls.append((tuple(wish.ids), wish.lease))
        self.held.append(set(wish.held))
        self.named.append(dict(wish.named))
        return {entity: self.says(entity) for entity in wish.ids}

    async def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        await asyncio.sleep(0)


@pytest.fixture
def world() -> World:
    return World()


async def test_who_is_granted_the_leases_calls_once(world: World) -> None:
    results = await world.fetch("a", "b")
    assert world.calls == [(("a", "b"), 1)]
    assert set(results) == {"a", "b"}
    assert world.leases.released == []


async def test_what_another_has_just_stored_is_not_fetched_again(world: World) -> None:
    world.leases.rows = {"a": row("a")}
    results = await world.fetch("a", "b")
    assert results["a"] == Loaded(world.leases.rows["a"], stored=True, collapsed=True)
    assert world.calls == [(("b",), 1)]
    assert world.leases.released == [("a",)]
    assert world.leases.learned == [world.leases.rows["a"]]
    assert (
        world.metrics.registry.get_sample_value("handshake_proxy_coalesced_ids_total", {"resource": "user"})
        == 1
    )


async def test_a_part_is_fetched_with_what_is_held_of_it_alone(world: World) -> None:
    """What others bring is not missing in the answer to it."""
    world.leases.rows = {"a": row("a")}
    world.leases.holders = {"c": 1.0}
    old = {entity: row(entity, lifetime=0.0) for entity in "abc"}
    await world.fetch("a", "b", "c", "d", held=old)
    assert world.calls == [(("b", "d"), 1), (("c",), world.leases.token)]
    assert world.held == [{"b"}, {"c"}]


@pytest.mark.parametrize("old", [row("a", None), row("a", lifetime=0.0)])
async def test_a_husk_and_a_stale_row_are_fetched(world: World, old: Entry) -> None:
    world.leases.rows = {"a": old}
    await world.fetch("a")
    assert world.calls == [(("a",), 1)]


async def test_who_is_not_granted_waits_for_the_row(world: World) -> None:
    world.leases.holders = {"a": 1.0, "b": 1.0}

    def happens(claim: int) -> None:
        if claim == 2:
            world.leases.rows["a"] = row("a")
            del world.leases.holders["a"]
        if claim == 4:
            world.leases.rows["b"] = row("b")

    world.leases.happens = happens
    results = await world.fetch("a", "b", "c")
    assert world.calls == [(("c",), 1)], "meanwhile the rest is fetched"
    assert all(isinstance(result, Loaded) and result.stored for result in results.values())
    assert [ids for ids, _ in world.leases.claimed] == [
        ("a", "b", "c"),
        ("a", "b"),
        ("a", "b"),
        ("b",),
        ("b",),
    ]
    assert world.leases.released == [("a",)], "what was granted, for the row had come, is given back"


async def test_nobody_waits_for_the_dead(world: World) -> None:
    world.leases.holders = {"a": 1.0}
    results = await world.fetch("a")
    assert world.calls == [(("a",), world.leases.token)]
    assert world.leases.claimed[-1] == (("a",), True), "by force, so that it can be stored"
    assert isinstance(results["a"], Loaded)
    assert 1.0 <= world.slept <= 1.1


async def test_a_lease_that_has_ended_is_taken_over(world: World) -> None:
    world.leases.holders = {"a": 1.0}
    world.leases.happens = lambda claim: world.leases.holders.clear() if claim == 1 else None
    await world.fetch("a")
    assert world.calls == [(("a",), 2)]
    assert not any(forced for _, forced in world.leases.claimed)
    assert world.slept < 0.05


async def test_who_follows_a_leader_that_brought_nothing_is_not_waited_for(world: World) -> None:
    """The upstream does not know the entity: else each of many replicas would wait for the one before it."""
    world.leases.holders = {"a": 1.0}
    world.leases.happens = lambda claim: world.leases.holders.update(a=2.0) if claim == 1 else None
    await world.fetch("a")
    assert world.calls == [(("a",), 3)]
    assert world.slept < 0.05


@pytest.mark.parametrize(
    "said",
    [
        Failure("timeout"),
        Missing(entry(key("a"), None, absent=True), stored=True),
        Loaded(row("a"), stored=False),
    ],
)
async def test_what_is_not_stored_is_let_go(world: World, said: Result) -> None:
    world.says = lambda entity: said if entity == "a" else Loaded(row(entity), stored=True)
    await world.fetch("a", "b")
    assert world.leases.released == [("a",)]


async def test_force_asks_the_upstream_whatever_others_have_done(world: World) -> None:
    world.leases.holders, world.leases.rows = {"a": 1.0}, {"a": row("a")}
    results = await world.fetch("a", forced=True)
    assert world.calls == [(("a",), 1)]
    assert results["a"] == Loaded(row("a"), stored=True)
    assert world.leases.learned == []


async def test_without_the_database_each_fetches_for_itself(world: World) -> None:
    world.leases.is_gone = True
    await world.fetch("a", "b")
    assert world.calls == [(("a", "b"), None)]


async def test_a_database_that_goes_away_while_another_is_waited_for(world: World) -> None:
    world.leases.holders = {"a": 1.0}

    def happens(claim: int) -> None:
        world.leases.is_gone = claim > 0

    world.leases.happens = happens
    await world.fetch("a")
    assert world.calls == [(("a",), None)]


async def test_what_can_have_no_row_is_fetched_by_everybody(world: World) -> None:
    world.leases.holders = {UNTOLD: 1.0}
    await world.fetch(UNTOLD, "a")
    assert world.calls == [((UNTOLD, "a"), 1)]


@pytest.mark.parametrize(("of_a_call", "seconds"), [(4.0, 1.0), (60.0, 1.0), (0.4, 0.1)])
async def test_the_wait_leaves_most_of_a_calls_time(of_a_call: float, seconds: float) -> None:
    sharing: Any = Leases()
    fleet = Fleet("user", sharing, timeout=of_a_call, metrics=Metrics(), clock=lambda: NOW)
    assert fleet._seconds == pytest.approx(seconds)


async def test_what_an_event_has_named_to_another_replica_is_known_for_a_while(world: World) -> None:
    def named(entity: str, version: str | None, *, seconds_ago: float) -> Entry:
        return replace(row(entity, None), source_version=version, received_at=NOW - seconds_ago)

    world.leases.rows = {
        "a": named("a", "8", seconds_ago=1),
        "b": named("b", "8", seconds_ago=NAMED_FOR),
        "c": named("c", AT_LEAST + "8", seconds_ago=1),
        "d": named("d", None, seconds_ago=1),
    }
    await world.fetch(*"abcde")
    assert world.named == [{"a": "8", "c": "8"}]


async def test_what_is_passed_over_for_being_older_needs_no_lease(world: World) -> None:
    world.says = lambda entity: Loaded(row(entity), stored=True, collapsed=entity == "a")
    await world.fetch("a", "b")
    assert world.leases.released == [("a",)]
