"""Where one request ends and the next begins: the fast lane must never take other bytes for a request."""

import pytest

from proxy.lane import _UNKNOWN
from tests.unit.laned import BULK, UNHELD, A, B, is_hit, is_slow, pieces, track
from tests.unit.served import Gate
from tests.unit.store.samples import NOW, entry, user


async def test_a_body_in_a_read_of_its_own_leaves_the_boundary_known() -> None:
    async with track() as on:
        client, connection = await on.client()
        head = BULK[:-3]
        await pieces(connection, client, head)
        assert connection._owed == 3
        await pieces(connection, client, b"a", b",b")
        assert is_slow(await client.receive()), "a request was made with its first piece"
        assert connection._owed == 0
        assert is_hit(await client.request(A))


async def test_a_head_in_two_reads_makes_the_boundary_unknown() -> None:
    async with track() as on:
        await on.known(A)
        client, connection = await on.client()
        before = on.hits
        await pieces(connection, client, A[:20], A[20:])
        assert is_slow(await client.receive())
        assert connection._owed == _UNKNOWN
        for _ in range(3):
            assert is_slow(await client.request(A)), "it stays on the slow way"
        assert on.hits == before


@pytest.mark.parametrize("position", range(1, len(A)))
async def test_a_request_that_is_split_anywhere_is_answered_once(position: int) -> None:
    async with track() as on:
        await on.known(A)
        client, connection = await on.client()
        await pieces(connection, client, A[:position], A[position:])
        assert is_slow(await client.receive())
        assert is_slow(await client.request(A))


async def test_what_is_a_known_request_inside_a_body_is_a_body() -> None:
    """Bytes are a request at a boundary alone (RFC 9112 section 11.2)."""
    async with track() as on:
        await on.known(A)
        client, connection = await on.client()
        before = on.hits
        head = b"POST /other HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (2 * len(A))
        await pieces(connection, client, head, A, A)
        answer = await client.receive()
        assert (is_slow(answer), answer.body) == (True, b"POST /other " + A + A)
        assert on.hits == before
        assert is_hit(await client.request(A))


@pytest.mark.parametrize("blanks", [b"\r\n", b"\r\n\r\n"])
async def test_a_known_request_in_a_body_behind_blank_lines_is_a_body(blanks: bytes) -> None:
    """A server skips blank lines before a request (RFC 9112 section 2.2); they are no end of its head."""
    async with track() as on:
        await on.known(A)
        client, connection = await on.client()
        before = on.hits
        head = b"POST /other HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (
            2 * len(A) + len(head_of_other())
        )
        body = head_of_other() + A + A
        await pieces(connection, client, blanks + head, body[: -len(A)], A)
        answer = await client.receive()
        assert answer.body == b"POST /other " + body
        assert on.hits == before
        assert (await client.request(A)).status == 200


def head_of_other() -> bytes:
    return b"x" * 60


async def test_two_requests_in_one_read_are_answered_in_order_on_the_slow_way() -> None:
    async with track() as on:
        await on.known(A, B)
        client, connection = await on.client()
        before = on.hits
        await pieces(connection, client, A + B)
        assert [(await client.receive()).body for _ in range(2)] == [b"GET /users/a ", b"GET /users/b "]
        assert (connection._owed, on.hits) == (_UNKNOWN, before)


async def test_a_known_request_behind_one_that_is_not_answered_waits_for_its_turn() -> None:
    gate = Gate()
    async with track(handler=gate) as on:
        await on.known(A)
        before = on.hits
        client = await on.served.connect()
        await client.send(UNHELD)
        await gate.begun.wait()
        await pieces(on.connections[-1], client, A)
        gate.opened.set()
        assert [(await client.receive()).body for _ in range(2)] == [b"/users/unheld", b"/users/a"]
        assert on.hits == before
        assert is_hit(await client.request(A)), "the boundary was known all the time"


async def test_many_that_are_sent_ahead_are_all_answered() -> None:
    """More than the parser takes before it stops: what it holds back is not lost, nor answered twice."""
    gate = Gate()
    async with track(handler=gate) as on:
        await on.known(A)
        before = on.hits
        client = await on.served.connect()
        await client.send(UNHELD)
        await gate.begun.wait()
        await pieces(on.connections[-1], client, *[B] * 31, A)  # so many are taken, one by one
        await client.send(B * 40 + A)
        gate.opened.set()
        bodies = [(await client.receive()).body for _ in range(74)]
        later = [b"/users/b"] * 40 + [b"/users/a"]
        assert bodies == [b"/users/unheld", *[b"/users/b"] * 31, b"/users/a", *later]
        assert on.hits == before
        assert (await client.request(A)).body == b"/users/a", "nobody knows the boundary any more"


async def test_what_is_known_is_refused_by_a_parser_that_has_failed() -> None:
    async with track() as on:
        await on.known(A)
        client, _ = await on.client()
        before = on.hits
        await client.send(b"not a request\r\n\r\n")
        answer = await client.receive()
        assert (answer.status, answer.fields[b"Connection"]) == (400, b"close")
        client.writer.write(A)
        assert await client.end() == b""
        assert on.hits == before


async def test_a_head_beyond_the_bound_goes_the_slow_way() -> None:
    async with track(header_bytes=400) as on:
        client = await on.served.connect()
        within = A[:-2] + b"X-A: " + b"x" * (400 - len(A) - 7) + b"\r\n\r\n"
        assert len(within) == 400
        assert is_hit(await client.request(within))
        beyond = A[:-2] + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 90) for number in range(5)) + b"\r\n"
        assert (await client.request(beyond)).status == 431


async def test_blank_lines_before_a_head_are_not_its_end() -> None:
    async with track() as on:
        await on.known(A)
        client, connection = await on.client()
        head = BULK[:-3].replace(b"Length: 3", b"Length: 200")
        body = b"x" * (200 - len(head)) + A + b"y" * (len(head) - len(A))
        on.bulk.put(entry(user((head + body[: 200 - len(head)]).decode()), b"secret"), NOW)
        before = on.hits
        await pieces(connection, client, b"\r\n\r\n" + head + body[: 200 - len(head)])
        await pieces(connection, client, A, body[200 - len(head) + len(A) :])
        assert (await client.receive()).body == b"POST /bulk " + body
        assert on.hits == before
