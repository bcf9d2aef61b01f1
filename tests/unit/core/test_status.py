"""Which status codes are stored."""

import pytest

from proxy.core.http.status import HEURISTIC, UNDERSTOOD, is_storable


@pytest.mark.parametrize(
    "status", [200, 204, 206, 299, 301, 302, 307, 404, 405, 410, 414, 451, 499, 500, 503, 599]
)
def test_any_final_status_may_be_stored(status: int) -> None:
    """RFC 9111 section 3: one that nobody has defined, too."""
    assert is_storable(status, must_understand=False)


@pytest.mark.parametrize("status", [100, 101, 103, 199, 304, 600, 999])
@pytest.mark.parametrize("must_understand", [False, True])
def test_what_is_interim_or_no_answer_of_its_own_or_no_status_is_not(
    status: int, *, must_understand: bool
) -> None:
    """RFC 9111 sections 3 and 4.3.4; RFC 9110 section 15."""
    assert not is_storable(status, must_understand=must_understand)


@pytest.mark.parametrize(
    ("status", "known"),
    [
        (200, True),
        (206, True),
        (404, True),
        (503, True),
        (299, False),
        (306, False),
        (418, False),
        (499, False),
        (599, False),
    ],
)
def test_must_understand_wants_a_status_that_we_know(status: int, *, known: bool) -> None:
    """RFC 9111 section 5.2.2.3."""
    assert is_storable(status, must_understand=True) is known


def test_whatever_is_used_without_a_lifetime_is_understood() -> None:
    """RFC 9110 section 15.1."""
    assert HEURISTIC < UNDERSTOOD
    assert not HEURISTIC & {201, 202, 205, 302, 303, 304, 307, 400, 401, 403, 500, 502, 503}
