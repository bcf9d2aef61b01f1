"""How the results of the suite are judged."""

from tests.conformance.suite import Kind, Result, Results


def results(*made: tuple[str, Kind, str, str]) -> Results:
    """Tests by id, kind, what they need (ids with blanks between them) and what was wrong."""
    found = [Result(one, "suite", one, kind, tuple(needs.split()), wrong) for one, kind, needs, wrong in made]
    return Results({one.id: one for one in found})


def test_failures_are_counted_by_kind() -> None:
    judged = results(("a", "required", "", ""), ("b", "required", "", "no"), ("c", "optimal", "", "no"))
    assert judged.failures("required") == {"b": "no"}
    assert (judged.passed("required"), judged.total("required")) == (1, 2)
    assert (judged.passed("optimal"), judged.total("optimal")) == (0, 1)
    assert (judged.passed("check"), judged.total("check")) == (0, 0)


def test_what_passes_shows_nothing_if_what_it_needs_does_not() -> None:
    """A cache that stores nothing never uses anything that it must not."""
    judged = results(
        ("a", "check", "", "no"),
        ("b", "required", "a", ""),
        ("c", "required", "b d", ""),
        ("d", "optimal", "", ""),
        ("e", "required", "d", ""),
    )
    assert judged.failures("required") == {"b": "shows nothing without a", "c": "shows nothing without b"}


def test_its_own_failure_is_told_first() -> None:
    judged = results(("a", "required", "", "no"), ("b", "required", "a", "wrong"))
    assert judged.failures("required") == {"a": "no", "b": "wrong"}
