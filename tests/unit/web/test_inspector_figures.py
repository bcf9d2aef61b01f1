"""The arithmetic of the page, in Node: quantiles, what counts as the last minute, how figures are written."""

import json
import subprocess
from typing import Any

import pytest

from tests.needed import tool
from tests.unit.web.test_inspector_pages import PLACE, PROJECT

MODULE = PROJECT / PLACE / "figures.js"


def run(script: str) -> Any:
    """What the script, which knows the module as `f`, gives back."""
    source = f"import * as f from {json.dumps(MODULE.as_uri())};\nconsole.log(JSON.stringify((() => {{{script}}})()));"
    done = subprocess.run(
        [tool("node"), "--input-type=module", "--no-warnings"],
        input=source,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


WRITTEN = [
    ("percent(null)", "\u2013"),
    ("percent(0)", "0 %"),
    ("percent(0.0004)", "under 0.1 %"),
    ("percent(0.9999)", "99.9 %"),
    ("percent(1)", "100 %"),
    ("count(1234567)", "1,234,567"),
    ("rate(3, 60)", "0.05"),
    ("rate(90, 60)", "1.5"),
    ("rate(60000, 60)", "1,000"),
    ("rate(0, 60)", "0"),
    ("latency(null, [1])", "\u2013"),
    ("latency(0.00042, [1])", "0.42 ms"),
    ("latency(0.0042, [1])", "4.2 ms"),
    ("latency(0.42, [1])", "420 ms"),
    ("latency(4.2, [10])", "4.2 s"),
    ("latency(Infinity, [1, 10])", "> 10 s"),
    ("duration(0)", "0 s"),
    ("duration(59.6)", "1 min"),
    ("duration(11520)", "3 h 12 min"),
    ("duration(-86400)", "1 d"),
    ("duration(86401)", "1 d"),
    ("bytes(1023)", "1023 B"),
    ("bytes(1572864)", "1.5 MiB"),
    ("bytes(67108864)", "64 MiB"),
    ("words('never_seen')", "never seen"),
    ("hitRatio({})", None),
    ("hitRatio({hit: 1, stale: 1, negative: 1, miss: 1})", 0.75),
    ("hitRatio({error: 2})", 0),
    # Within their buckets, as Prometheus interpolates.
    ("quantile(0.5, [0, 0, 0], [1, 2])", None),
    ("quantile(0.5, [4, 0, 0], [1, 2])", 0.5),
    ("quantile(0.5, [2, 2, 0], [1, 2])", 1),
    ("quantile(0.75, [2, 2, 0], [1, 2])", 1.5),
    ("quantile(0.99, [0, 4, 0], [1, 2])", 1.99),
    ("quantile(0.99, [1, 0, 9], [1, 2]) === Infinity", True),
    ("minus({a: 3, b: [2, 5], c: {d: 1}}, {a: 1, b: [1, 1]})", {"a": 2, "b": [1, 4], "c": {"d": 1}}),
]


@pytest.fixture(scope="module")
def written() -> list[Any]:
    calls = ", ".join(f"f.{call}" for call, _ in WRITTEN)
    return list(run(f"return [{calls}];"))


@pytest.mark.parametrize("at", range(len(WRITTEN)), ids=lambda at: WRITTEN[at][0])
def test_figures(written: list[Any], at: int) -> None:
    assert written[at] == WRITTEN[at][1]


LOOKED_AT = """
  const history = new f.History();
  const look = (at, hit, startedAt = "monday") => history.add({
    startedAt, latencyBounds: [1],
    resources: [{ name: "user", entities: { hit }, misses: {} }],
    routes: [{ route: "user.bulk", resource: "user", failed: 0, results: [
      { cache: "hit", count: hit, buckets: [hit, 0] }, { cache: "bypass", count: 5, buckets: [5, 0] },
    ] }],
    upstreams: [],
  }, at);
  const seen = () => { const w = history.window(); return w && [w.seconds, w.tally.resources.user.entities.hit]; };
"""


def test_the_last_minute_is_what_lies_between_looks_of_the_last_minute() -> None:
    assert run(
        LOOKED_AT
        + """
        const told = [];
        const looks = [[0, 10], [30, 12], [60, 15], [100, 19], [400, 50], [402, 51], [404, 3, "tuesday"]];
        for (const [at, hit, start] of looks) {
          look(at, hit, start);
          told.push(seen());
        }
        return told;"""
    ) == [None, [30, 2], [60, 5], [40, 4], None, [2, 1], None]


def test_latency_from_the_copy_is_that_of_hits() -> None:
    assert run(LOOKED_AT + "look(0, 10); return history.total;") == {
        "resources": {"user": {"entities": {"hit": 10}, "misses": {}, "copy": [10, 0], "fetched": [0, 0]}},
        "routes": {"user.bulk": {"failed": 0, "count": 15, "buckets": [15, 0]}},
        "upstreams": {},
    }


def test_a_trend_has_a_point_for_each_look_and_a_gap_where_nothing_was_asked() -> None:
    assert run(LOOKED_AT + 'look(0, 1); look(2, 3); look(20, 3); return history.trend("user");') == [
        {"age": 18, "ratio": 1},
        {"age": 0, "ratio": None},
    ]
