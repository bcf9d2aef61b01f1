"""The tables of docs/fleet.md, in Markdown."""

from collections.abc import Callable, Sequence

from bench.fleet.document import Document
from bench.fleet.load import DAY, HOUR, Load, log_reads, without_sharing
from bench.fleet.outcome import NAMES, Outcome, Staleness, Way
from bench.fleet.replica import POLL_INTERVAL

USERS = (10_000, 100_000, 1_000_000, 10_000_000)
LOADS = {
    "5 look-ups": Load(lookups=5.0),
    "20 look-ups": Load(),
    "20 look-ups, by Zipf's law": Load(zipf=0.5),
    "80 look-ups": Load(lookups=80.0),
    "20 look-ups, no rollouts": Load(rollouts=False),
}
"""The usual one, and others to compare with."""

_STORES: tuple[Way, ...] = ("per pod", "shared")


def fleets(document: Document) -> str:
    """What the owner is asked, and who waits for him."""
    heads = ["replicas", "store", "a user a day"]
    heads += [f"{short(count)} users: ids/s" for count in USERS]
    heads += ["after a rollout", "requests that wait", "bulks that wait"]
    rows: list[list[str]] = []
    for count, way, one in _each(document, ("none", *_STORES)):
        rates = [rate(one.upstream_ids * users / DAY) for users in USERS]
        more = f"{one.rollout_ids / one.upstream_ids:.1f} times" if way == "per pod" else _more(one)
        waits = [f"{one.waits:.1%}", f"{one.bulk_waits:.0%}"]
        label = f"{count:,}" if way != "none" else "any"
        rows.append([label, NAMES[way], f"{one.upstream_ids:.2f}", *rates, more, *waits])
    return _table(heads, _once(rows))


def stale(document: Document) -> str:
    """How far answers are behind the owner."""
    heads = ["replicas", "store", "told: out of date", "p50", "p99", "longest"]
    heads += ["nobody told: out of date", "p50", "p99", "longest"]
    rows = [
        [f"{count:,}", NAMES[way], *_staleness(one.told), *_staleness(one.untold)]
        for count, way, one in _each(document, _STORES)
    ]
    return _table(heads, rows)


def statements(document: Document) -> str:
    """What a shared database is asked."""
    heads = ["replicas", "reads", "claims and releases", "writes", "log, idle"]
    heads += [f"{short(users)} users: all, of it the log" for users in USERS[1:]]
    rows = []
    for count, _, one in _each(document, ("shared",)):
        kinds = one.statements
        claims = kinds.get("claim", 0.0) + kinds.get("release", 0.0)
        writes = kinds.get("put", 0.0) + kinds.get("invalidate", 0.0)
        cells = [f"{count:,}", *(f"{number:.1f}" for number in (kinds.get("get", 0.0), claims, writes))]
        cells.append(f"{rate(log_reads(count, 0.0, POLL_INTERVAL))}/s")
        for users in USERS[1:]:
            log = log_reads(count, Load().told_changes(users), POLL_INTERVAL)
            cells.append(f"{rate(sum(kinds.values()) * users / DAY + log)}/s, {rate(log)}/s")
        rows.append(cells)
    return _table(heads, rows, words=-1)


def loads(document: Document) -> str:
    """How much of it is asked of the owner, by what users do."""
    counts = document.replicas(Load(lookups=5.0))
    heads = ["a user a day", *(f"{count} replicas" for count in counts), "the same by the formula"]
    heads += [f"shared, {counts[-1]} replicas"]
    rows = []
    for name, load in LOADS.items():
        shared = document.of("shared", counts[-1], load)
        # It is about pods that are replaced once a day.
        formula = (
            ""
            if not load.rollouts
            else ", ".join(f"{without_sharing(count, load.lookups) / load.lookups:.0%}" for count in counts)
        )
        cells = [_part(document.of("per pod", count, load)) for count in counts]
        rows.append([name, *cells, formula, _part(shared)])
    return _table(heads, rows, words=0)


TABLES: dict[str, Callable[[Document], str]] = {
    "fleets": fleets,
    "stale": stale,
    "statements": statements,
    "loads": loads,
}
"""By the name of their place in the page."""


def filled(page: str, document: Document) -> str:
    """The page with these tables for its own. Raises ValueError if it has no place for one."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no {begin.strip()} … {end}")
        page = before + begin + table(document) + end + after
    return page


def rate(a_second: float) -> str:
    """To two figures below a hundred, and to a whole above."""
    return f"{a_second:,.0f}" if a_second >= 99.5 else f"{a_second:.2g}"


def short(count: int) -> str:
    """A round number of users."""
    return f"{count // 1_000_000} M" if count >= 1_000_000 else f"{count // 1_000} k"


def _each(document: Document, ways: Sequence[Way]) -> list[tuple[int, Way, Outcome]]:
    found = ((count, way, document.of(way, count)) for count in document.replicas() for way in ways)
    return [(count, way, one) for count, way, one in found if one is not None]


def _once(rows: list[list[str]]) -> list[list[str]]:
    """Each row that is not there already: without a proxy it is the same for any number."""
    return list({tuple(row): row for row in rows}.values())


def _more(one: Outcome) -> str:
    """What few ids a sample of a shared store asks for says no more than that it is not many."""
    return (
        "as ever"
        if one.rollout_ids < 2 * one.upstream_ids
        else f"{one.rollout_ids / one.upstream_ids:.1f} times"
    )


def _staleness(found: Staleness) -> list[str]:
    if not found.share:
        return ["none", "", "", ""]
    return [f"{found.share:.1%}", *(_time(one) for one in (found.p50, found.p99, found.longest))]


def _time(seconds: float) -> str:
    return f"{seconds / HOUR:.1f} h" if seconds >= HOUR else f"{seconds:.2g} s"


def _part(one: Outcome | None) -> str:
    return "" if one is None else f"{one.upstream_ids / one.lookups:.0%}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """`words`: the column that has no numbers."""
    marks = ["---" if place == words else "--:" for place in range(len(heads))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, marks, *rows))
