"""Problem details (RFC 9457)."""

import json
from http import HTTPStatus

import pytest

from proxy.core import problem
from proxy.core.problem import Problem

OURS = {name: value for name, value in vars(problem).items() if isinstance(value, Problem)}


@pytest.mark.parametrize("status", [400, 405, 413, 431, 500, 501, 502, 503, 504, 508])
def test_a_body_is_a_problem_details_object(status: int) -> None:
    """RFC 9457 section 3.1; section 4.2.1: with about:blank the title is the status phrase."""
    document = json.loads(Problem(status, 'says "what" \\ happened é').body())
    assert document == {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": 'says "what" \\ happened é',
    }


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_ready_made_problem_is_valid_and_says_something(name: str) -> None:
    """RFC 9457 section 3.1."""
    document = json.loads(OURS[name].body().decode("ascii"))
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == OURS[name].status
    assert 400 <= document["status"] < 600
    assert document["detail"].endswith(".")
    assert document["title"] != document["detail"]


def test_the_ready_made_problems_have_the_statuses_of_the_contract() -> None:
    assert {name: value.status for name, value in OURS.items()} == {
        "BAD_REQUEST": 400,
        "METHOD_NOT_ALLOWED": 405,
        "REQUEST_TIMEOUT": 408,
        "HEADERS_TOO_LARGE": 431,
        "INTERNAL": 500,
        "UNKNOWN_CODING": 501,
        "NO_ROOM": 503,
        "LOOP": 508,
    }


def test_the_time_to_wait_is_no_part_of_the_body() -> None:
    """RFC 9110 section 10.2.3: it has a field of its own."""
    assert Problem(503, "Down.").retry_after is None
    waiting = Problem(503, "Down.", retry_after=7)
    assert waiting.retry_after == 7
    assert waiting.body() == Problem(503, "Down.").body()


def test_the_media_type_is_the_registered_one() -> None:
    """RFC 9457 section 6.1."""
    assert problem.CONTENT_TYPE == b"application/problem+json"
