"""The simulation of fleets: its clock, and that what it says of small ones is what must be so."""

import asyncio
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.fleet import __main__ as command
from bench.fleet.chart import chart, table
from bench.fleet.clock import simulate
from bench.fleet.databases import SharedRows
from bench.fleet.model import Load, Outcome, Way, run
from tests.unit.store.samples import user, write

FEW = Load(lookups_a_day=8.0)


def test_time_jumps_to_the_next_timer_and_nobody_waits() -> None:
    happened: list[tuple[str, float]] = []

    async def waits(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        happened.append((name, asyncio.get_running_loop().time()))

    async def work() -> float:
        await asyncio.gather(waits("late", 86_400.0), waits("early", 1.5), waits("middle", 3_600.0))
        return asyncio.get_running_loop().time()

    assert simulate(work()) == pytest.approx(86_400.0)
    assert [name for name, _ in happened] == ["early", "middle", "late"]
    assert [at for _, at in happened] == pytest.approx([1.5, 3_600.0, 86_400.0])


def test_what_would_wait_for_ever_is_an_error() -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        simulate(work())


def test_without_a_proxy_each_lookup_is_a_call() -> None:
    outcome = run("none", 5, users=10)
    assert outcome.upstream_ids == outcome.lookups == 20.0


def test_of_one_replica_both_stores_ask_alike_until_the_pod_goes() -> None:
    """Once for each time of freshness, and each time that it was told; a pod's own store is asked for anew."""
    own, shared = (run(way, 1, users=60, load=FEW) for way in ("per pod", "shared"))
    assert shared.lookups == pytest.approx(8.0, rel=0.15)
    assert 0.8 < shared.upstream_ids < 1.4
    assert shared.upstream_ids < own.upstream_ids < shared.upstream_ids + 1.0
    assert own.rollout_ids > shared.rollout_ids


def test_replicas_that_share_ask_as_one_does() -> None:
    one, many = (run("shared", count, users=60, load=FEW) for count in (1, 10))
    apart = run("per pod", 10, users=60, load=FEW)
    assert many.upstream_ids == pytest.approx(one.upstream_ids, rel=0.15)
    assert apart.upstream_ids > 3 * many.upstream_ids
    assert apart.upstream_ids <= apart.lookups


def test_what_one_was_told_all_that_share_know() -> None:
    told = Load(lookups_a_day=20.0, changes_a_day=4.0, told=1.0)
    apart, shared = (run(way, 5, users=20, load=told) for way in ("per pod", "shared"))
    assert shared.told_stale == 0
    assert apart.told_stale > 0.1
    assert apart.told_longest > 3_600


def test_a_change_that_nobody_is_told_of_is_seen_when_freshness_ends() -> None:
    untold = Load(lookups_a_day=20.0, changes_a_day=2.0, told=0.0)
    outcome = run("shared", 3, users=40, load=untold)
    assert outcome.told_stale == 0
    assert outcome.untold_stale > 0.1
    assert outcome.untold_longest < 2 * 86_400


def test_half_a_sample_says_the_same() -> None:
    half, whole = (run("per pod", 6, users=users, load=FEW) for users in (50, 100))
    assert half.upstream_ids == pytest.approx(whole.upstream_ids, rel=0.15)


def test_the_same_seed_gives_the_same() -> None:
    assert run("shared", 3, users=15, seed=3) == run("shared", 3, users=15, seed=3)
    assert run("shared", 3, users=15, seed=3) != run("shared", 3, users=15, seed=4)


async def test_nothing_is_stored_without_its_lease() -> None:

    rows = SharedRows(0.0, lambda: 1.0)
    claims = await rows.claim_many([user("a")], 1, seconds=1.0)
    assert claims[user("a")].is_granted
    assert not (await rows.claim_many([user("a")], 2, seconds=1.0))[user("a")].is_granted
    await rows.invalidate_many([user("a")])
    assert await rows.put_many([write("a")._replace(lease=1)]) == {}


def outcome(ids: float) -> Outcome:
    return Outcome(20.0, ids, ids, ids / 20, 0.01, 7_200.0, 0.0, 0.0, {"get": 1.0})


def test_the_chart_and_the_table_have_each_way() -> None:
    ways: tuple[Way, ...] = ("none", "per pod", "shared")
    results = {(way, count): outcome(5.0) for way in ways for count in (1, 10)}
    lines = [
        element.get("class")
        for element in ET.fromstring(chart(results)).iter()  # noqa: S314 - our own
        if element.tag.endswith("polyline")
    ]
    assert lines == ["line none", "line per-pod", "line shared"]
    rows = table(results, [10_000, 1_000_000]).splitlines()
    assert len(rows) == 2 + 6
    assert {row.count("|") for row in rows} == {rows[0].count("|")}
    assert (
        "| 10 | shared PostgreSQL | 5.00 | 0.58/s | 57.87/s | 25.0% | 5.0 | 1.00%, up to 2 h | 1.0 |" in rows
    )


def test_the_page_gets_its_table_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: begin -->\nof before\n<!-- table: end -->\nafter\n")
    files = ["--json", str(tmp_path / "f.json"), "--svg", str(tmp_path / "f.svg"), "--page", str(page)]
    monkeypatch.setattr("sys.argv", ["fleet", "--quick", *files])
    monkeypatch.setattr(command, "run", lambda *_args, **_how: outcome(2.0))
    assert command.main() == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- table: begin -->\n| replicas |")
    assert text.endswith("|\n<!-- table: end -->\nafter\n")
    assert "of before" not in text
    assert (tmp_path / "f.svg").exists()
    assert (tmp_path / "f.json").exists()
