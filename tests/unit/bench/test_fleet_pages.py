"""What is said of simulated fleets: the arithmetic, the tables, the chart, and the page that they stand in."""

import random
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from bench.fleet import __main__ as command
from bench.fleet.chart import chart
from bench.fleet.document import Document, Result
from bench.fleet.load import Crowd, Load, log_reads, shares, without_sharing
from bench.fleet.outcome import Outcome, Staleness, Way
from bench.fleet.tables import LOADS, TABLES, filled, fleets, loads, rate, stale, statements

DOCS = Path(__file__).parents[3] / "docs"
WAYS: tuple[Way, ...] = ("none", "per pod", "shared")


def outcome(ids: float, told: Staleness | None = None) -> Outcome:
    calls = {"get": 2.0, "claim": 1.5, "release": 0.5, "put": 0.8, "invalidate": 0.2}
    return Outcome(20.0, ids, 2 * ids, 0.25, 0.5, told or Staleness(), Staleness(), calls)


def document() -> Document:
    """Of one and of ten replicas, and of a hundred under other loads."""
    usual = [Result(way, count, Load(), outcome(5.0)) for count in (1, 10) for way in WAYS]
    others = [load for load in LOADS.values() if load != Load()]
    return Document(40, 1, usual + [Result("per pod", 10, load, outcome(4.0)) for load in others])


def test_all_alike_have_the_same_share_and_by_zipfs_law_the_first_have_more() -> None:
    assert shares(4, 0.0) == pytest.approx([0.25] * 4)
    by_rank = shares(10_000, 0.5)
    assert sum(by_rank) == pytest.approx(1.0)
    assert sum(by_rank[:100]) == pytest.approx(0.1), "a hundredth of the users, at ten times the average"
    assert list(by_rank) == sorted(by_rank, reverse=True)


def test_requests_are_for_one_user_or_for_a_list_of_different_ones() -> None:
    load = Load(lookups=20.0, in_lists=0.5, bulk=20)
    assert load.requests(1_000) == pytest.approx((10.0 + 0.5) * 1_000 / 86_400)
    crowd = Crowd(load, 200, random.Random(1))
    sizes = Counter(len(set(crowd.asked())) for _ in range(4_000))
    assert set(sizes) == {1, 20}
    assert sizes[20] / 4_000 == pytest.approx(0.5 / 10.5, rel=0.2)


def test_a_sample_smaller_than_a_list_is_looked_up_as_often() -> None:
    load = Load(lookups=20.0, in_lists=0.5, bulk=20)
    crowd = Crowd(load, 5, random.Random(1))
    asked = [len(crowd.asked()) for _ in range(4_000)]
    assert max(asked) == 5
    assert sum(asked) / 4_000 * load.requests(5) == pytest.approx(20.0 * 5 / 86_400, rel=0.05)


def test_the_log_is_read_at_each_change_or_in_time() -> None:
    assert log_reads(10, 0.0, 4.0) == pytest.approx(10 / 3.0)
    assert log_reads(10, 1e-9, 4.0) == pytest.approx(log_reads(10, 0.0, 4.0), rel=1e-3)
    assert log_reads(10, 50.0, 4.0) == pytest.approx(500.0)


def test_with_few_replicas_each_asks_once_and_with_many_each_lookup_is_asked() -> None:
    assert without_sharing(2, 80.0) == pytest.approx(2.0)
    assert without_sharing(10_000, 20.0) == pytest.approx(20.0, rel=0.01)


def test_staleness_is_that_of_the_answers_that_were_out_of_date() -> None:
    assert Staleness.of([], 10) == Staleness()
    assert Staleness.of([float(number) for number in range(100, -1, -1)], 202) == Staleness(
        0.5, 50.0, 99.0, 100.0
    )


def test_the_owner_is_asked_so_often_of_so_many_users() -> None:
    rows = fleets(document()).splitlines()
    assert len(rows) == 2 + 5, "no proxy is the same for any number of replicas"
    assert {row.count("|") for row in rows} == {rows[0].count("|")}
    assert "| 10 | SQLite in each pod | 5.00 | 0.58 | 5.8 | 58 | 579 | 2.0 times | 25.0% | 50% |" in rows


@pytest.mark.parametrize(
    ("a_second", "words"), [(0.0, "0"), (0.123, "0.12"), (11.6, "12"), (99.7, "100"), (2_314.8, "2,315")]
)
def test_a_rate_has_as_many_figures_as_it_is_good_for(a_second: float, words: str) -> None:
    assert rate(a_second) == words


def test_a_table_says_how_far_answers_are_behind() -> None:
    told = Staleness(0.02, 5_400.0, 7_200.0, 0.5)
    one = Document(40, 1, [Result("per pod", 3, Load(), outcome(5.0, told))])
    assert stale(one).splitlines()[2:] == [
        "| 3 | SQLite in each pod | 2.0% | 1.5 h | 2.0 h | 0.5 s | none |  |  |  |"
    ]


def test_a_table_says_what_the_database_is_asked() -> None:
    found = statements(document()).splitlines()
    log = log_reads(10, Load().told_changes(1_000_000), 5.0)
    assert found[3].startswith("| 10 | 2.0 | 2.0 | 1.0 | 2.7/s |")
    assert f"| {rate(5.0 * 1_000_000 / 86_400 + log)}/s, {rate(log)}/s |" in found[3]


def test_a_table_compares_loads_with_the_formula() -> None:
    found = loads(document()).splitlines()
    assert len(found) == 2 + len(LOADS)
    assert found[2] == "| 5 look-ups | 20% | 79% |  |"
    assert found[-1] == "| 20 look-ups, no rollouts | 20% |  |  |"


def test_the_chart_has_a_line_for_each_way_and_an_axis_for_each_size() -> None:
    elements = list(ET.fromstring(chart(document())).iter())  # noqa: S314 - our own
    lines = [element for element in elements if element.tag.endswith("polyline")]
    assert [line.get("class") for line in lines] == [
        "line none",
        "line per-pod rollout",
        "line per-pod",
        "line shared",
    ]
    assert {len(str(line.get("points")).split()) for line in lines} == {2}
    words = {element.text for element in elements}
    assert {"100 k users", "1 M users", "10 M users", "58", "579"} <= words


def test_a_page_without_places_gets_no_tables() -> None:
    with pytest.raises(ValueError, match="<!-- fleets -->"):
        filled("# A page\n", document())


def test_what_was_simulated_is_written_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    places = "".join(f"before {name}\n<!-- {name} -->\nof before\n<!-- /{name} -->\n" for name in TABLES)
    page.write_text(f"{places}after\n")
    files = ["--json", str(tmp_path / "f.json"), "--svg", str(tmp_path / "f.svg"), "--page", str(page)]
    monkeypatch.setattr("sys.argv", ["fleet", "--quick", *files])
    monkeypatch.setattr(command, "run", lambda *_args, **_how: outcome(2.0))
    assert command.main() == 0
    kept = Document.read(tmp_path / "f.json")
    assert kept.replicas() == [1, 3, 10, 30]
    assert kept.of("shared", 30, LOADS["80 look-ups"]) == outcome(2.0)
    text = page.read_text()
    assert text == filled(text, kept)
    assert "of before" not in text
    assert text.startswith("before fleets\n<!-- fleets -->\n| replicas |")
    assert text.endswith("<!-- /loads -->\nafter\n")
    assert (tmp_path / "f.svg").read_text() == chart(kept)
    assert fleets(kept) in capsys.readouterr().out


def test_the_documentation_shows_what_was_simulated_last() -> None:
    kept = Document.read(DOCS / "fleet.json")
    page = (DOCS / "fleet.md").read_text()
    assert filled(page, kept) == page
    assert (DOCS / "fleet.svg").read_text() == chart(kept)
