"""The bare protocol answers what is asked, also in pieces and with a header that differs."""

import json

import pytest

from bench.floor import Table

GET = b"GET /users/u7 HTTP/1.1\r\nHost: x\r\n"
BODY = b'{"userIds":["u1","u2"]}'
POST = b"POST /main/api/v3/users/bulk HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def body_of(answer: bytes | None) -> object:
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: %d" % len(body) in head
    return json.loads(body)


def test_a_user_is_answered() -> None:
    user = body_of(Table().learn(GET + b"\r\n"))
    assert isinstance(user, dict)
    assert user["id"] == "u7"


def test_a_bulk_call_is_answered_in_order() -> None:
    answer = body_of(Table().learn(POST))
    assert isinstance(answer, dict)
    assert [user["id"] for user in answer["users"]] == ["u1", "u2"]
    assert answer["count"] == 2


@pytest.mark.parametrize("end", range(1, len(POST)))
def test_a_part_of_a_request_has_no_answer_yet(end: int) -> None:
    assert Table().learn(POST[:end]) is None


def test_the_exact_bytes_have_a_place_from_the_second_time_on() -> None:
    table = Table()
    request = GET + b"\r\n"
    first = table.learn(request)
    assert table.exact == {}
    assert table.learn(request) is first
    assert table.exact == {request: first}


def test_headers_that_differ_do_not_fill_the_table_without_end() -> None:
    table = Table(most=3)
    answers = {table.learn(GET + b"x-request-id: %d\r\n\r\n" % number) for number in range(10)}
    assert len(answers) == 1
    assert len(table.exact) == 3
