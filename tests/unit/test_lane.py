"""The fast lane over loopback: what it answers by itself, and what it leaves to the slow way."""

import pytest
from msgspec.structs import replace

from proxy.server import Server
from tests.unit.laned import BULK, HIT, UNHELD, A, Now, is_hit, is_slow, slowly, track
from tests.unit.served import serving
from tests.unit.store.samples import NOW


@pytest.mark.parametrize("request_", [A, BULK])
async def test_a_hit_is_answered_and_known_by_its_bytes_from_the_third_time_on(request_: bytes) -> None:
    async with track() as on:
        client = await on.served.connect()
        answers = [await client.request(request_) for _ in range(3)]
        assert (on.judged, list(on.lane.table.exact)) == (3, [request_])
        answers += [await client.request(request_) for _ in range(3)]
        assert on.judged == 3, "what is known by its bytes is not looked into"
        assert all(is_hit(one) and one == answers[0] for one in answers)
        assert answers[0].fields[b"Cache-Status"] == HIT
        assert answers[0].body == (b"a" * 10 if request_ is A else b"a" * 10 + b"b" * 10)
        assert on.hits == ((6, 0) if request_ is A else (0, 6))
        assert on.served.server.requests_count == 0, "a request was made"


async def test_both_parts_count_the_same() -> None:
    async with track() as on:
        client = await on.served.connect()
        for _ in range(6):
            await client.request(BULK)
        tally = on.bulk.tally
        assert (tally.requests, tally.ids, tally.ages) == (6, 12, [6, 0, 0, 0, 0])
        assert tally.age == pytest.approx(6 * 0.25)
        assert tally.seconds > 0
        assert sum(tally.took) == 6


async def test_the_table_knows_a_request_on_whichever_connection() -> None:
    async with track() as on:
        await on.known(A)
        judged = on.judged
        for _ in range(3):
            assert is_hit(await on.served.request(A))
        assert on.judged == judged


async def test_what_is_not_held_goes_the_slow_way_and_a_hit_comes_after_it() -> None:
    async with track() as on:
        client = await on.served.connect()
        for _ in range(40):  # more than the parser takes that nobody has consumed
            assert is_slow(await client.request(UNHELD))
            assert is_hit(await client.request(A))
        assert on.hits == (40, 0)


def for_the_parser(name: bytes) -> bytes:
    """A plain request that the parser alone can read, for a byte of it is no ASCII."""
    return A[:-2] + b"X-Name: \xe9 %b\r\n\r\n" % name


async def test_a_connection_does_not_stall_after_many_hits_of_the_parser() -> None:
    async with track() as on:
        client = await on.served.connect()
        for number in range(100):
            assert is_hit(await client.request(for_the_parser(b"%d" % number)))
        assert on.judged == 100
        assert [one._request_count for one in on.connections] == [100], "the parser has read them"
        await client.send(UNHELD * 2)  # of which the parser would give the first alone
        assert [is_slow(await client.receive()) for _ in range(2)] == [True, True]


async def test_what_can_be_read_in_one_way_only_the_parser_never_sees() -> None:
    async with track() as on:
        client = await on.served.connect()
        for number in range(40):  # more than it takes that nobody has consumed
            assert is_hit(await client.request(A[:-2] + b"X-%d: 1\r\n\r\n" % number))
            assert is_hit(await client.request(BULK))
        assert [one._request_count for one in on.connections] == [0]
        await client.send(UNHELD * 2 + A)
        assert [is_slow(await client.receive()) for _ in range(3)] == [True] * 3


async def test_what_the_parser_alone_can_read_is_known_by_its_bytes_too() -> None:
    async with track() as on:
        client = await on.served.connect()
        request = for_the_parser(b"a")
        answers = [await client.request(request) for _ in range(3)]
        assert (on.judged, list(on.lane.table.exact)) == (3, [request])
        answers += [await client.request(request) for _ in range(3)]
        assert on.judged == 3
        assert all(is_hit(one) and one == answers[0] for one in answers)
        assert [one._request_count for one in on.connections] == [3]


@pytest.mark.parametrize("request_", [A, BULK])
async def test_what_differs_each_time_is_known_by_the_rest(request_: bytes) -> None:
    async with track() as on:
        client = await on.served.connect()
        plain = await client.request(request_)
        for number in range(13):
            assert await client.request(traced(request_, number)) == plain
        judged = on.judged
        assert judged == 1 + 9 + 2, "nine values show it, and of what is left the second sighting is kept"
        for number in range(13, 60):
            assert await client.request(traced(request_, number)) == plain
        assert await client.request(request_) == plain, "as is one that has no such field"
        assert (on.judged, list(on.lane.table.exact)) == (judged, [request_])
        assert sum(on.hits) == 62


def traced(request: bytes, number: int) -> bytes:
    """The request with a field whose value is used once, before its others."""
    return request.replace(b"\r\n", b"\r\nX-Trace: trace-%d\r\n" % number, 1)


async def test_what_is_known_by_the_rest_is_not_answered_with_what_does_not_stand() -> None:
    clock = Now()
    async with track(clock=clock) as on:
        client = await on.served.connect()
        for number in range(14):
            assert is_hit(await client.request(traced(A, number)))
        judged = on.judged
        assert is_hit(await client.request(traced(A, 14)))
        assert on.judged == judged
        slot = on.single.slots["a"]
        assert slot.entry is not None
        on.single.put(replace(slot.entry, item=b"new", received_at=NOW), NOW)
        assert (await client.request(traced(A, 15))).body == b"new"
        clock.now = NOW + 20.25
        assert (await client.request(traced(A, 16))).fields[b"Age"] == b"20"
        slot.fill(None, NOW)
        assert is_slow(await client.request(traced(A, 17)))


@pytest.mark.parametrize(
    "line",
    [
        b"Cache-Control: no-cache",
        b"Authorization: Bearer %d",
        b"X-Tenant: %d",
        b"Host: %d",
        b"Connection: close",
        b"x-trace: a\r\n b",
        b"X-Trace : %d",
    ],
)
async def test_what_counts_counts_beside_a_field_that_differs_each_time(line: bytes) -> None:
    async with track() as on:
        client = await on.served.connect()
        for number in range(20):
            assert is_hit(await client.request(traced(A, number)))
        known = set(on.lane.table.exact)
        for number in range(20, 34):
            client = await on.served.connect()
            filled_in = line % number if b"%" in line else line
            request = traced(A, number)[:-2] + filled_in + b"\r\n\r\n"
            before = on.judged
            answer = await client.request(request)
            assert is_hit(answer) is line.startswith(b"Authorization"), (
                "a credential that makes no difference here"
            )
            assert on.judged > before or not is_hit(answer), "it was taken for the request without it"
        assert set(on.lane.table.exact) == known


async def test_what_was_read_and_has_no_answer_is_looked_into_once() -> None:
    async with track() as on:
        client = await on.served.connect()
        for request in (OTHERS["no-cache"], OTHERS["tenant"], OTHERS["coding"]):
            before = on.judged
            assert is_slow(await client.request(request))
            assert on.judged == before + 1
        assert is_hit(await client.request(for_the_parser(b"a"))), "of the next nothing is known"


@pytest.mark.parametrize("change", ["replaced", "dropped", "stale"])
async def test_what_is_known_by_its_bytes_is_not_answered_with_what_does_not_stand(change: str) -> None:
    clock = Now()
    async with track(clock=clock) as on:
        await on.known(A)
        client = await on.served.connect()
        slot = on.single.slots["a"]
        assert slot.entry is not None
        if change == "replaced":
            on.single.put(replace(slot.entry, item=b"new", received_at=NOW), NOW)
            answer = await client.request(A)
            assert (is_hit(answer), answer.body) == (True, b"new")
        else:
            if change == "dropped":
                slot.fill(None, NOW)
            else:
                clock.now = NOW + 60
            assert is_slow(await client.request(A))
            assert A not in on.lane.table.exact


async def test_age_and_date_move_on_in_an_answer_that_is_known() -> None:
    clock = Now()
    async with track(clock=clock) as on:
        await on.known(A)
        client = await on.served.connect()
        for seconds in (5, 20, 59):
            clock.now = NOW + seconds + 0.25
            answer = await client.request(A)
            assert answer.fields[b"Age"] == b"%d" % seconds
            assert answer.fields[b"Cache-Status"].endswith(b"; ttl=%d" % (59 - seconds))
        assert on.single.used, "it counts as used"


@pytest.mark.parametrize("second", [A, A[:-2] + b"X-A: 1\r\n\r\n"])
async def test_a_wall_clock_that_is_set_forward_is_followed_within_a_second(second: bytes) -> None:
    clock = Now()
    async with track(clock=clock) as on:
        await on.known(A)
        client = await on.served.connect()
        clock.set_forward = 20.0
        clock.now += 0.75
        assert (await client.request(second)).fields[b"Age"] == b"21"
        clock.set_forward = 60.0
        clock.now += 1.0
        assert is_slow(await client.request(second)), "it is stale"


OTHERS = {
    "HEAD": A.replace(b"GET", b"HEAD"),
    "HTTP/1.0": A.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0, kept alive": A.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n"),
    "close": A[:-2] + b"Connection: close\r\n\r\n",
    "close, of a proxy": A[:-2] + b"Proxy-Connection: close\r\n\r\n",
    "listed": A[:-2] + b"Connection: keep-alive, X-A\r\n\r\n",
    "condition": A[:-2] + b'If-None-Match: "a"\r\n\r\n',
    "date": A[:-2] + b"If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n",
    "range": A[:-2] + b"Range: bytes=0-1\r\n\r\n",
    "no-cache": A[:-2] + b"cache-control: no-cache\r\n\r\n",
    "pragma": A[:-2] + b"Pragma: no-cache\r\n\r\n",
    "via": A[:-2] + b"Via: 1.1 a\r\n\r\n",
    "expect": BULK.replace(b"Host", b"Expect: 100-continue\r\nHost"),
    "body": A[:-2] + b"Content-Length: 1\r\n\r\nx",
    "length": A[:-2] + b"Content-Length: 0\r\n\r\n",
    "chunks": A[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked bulk": BULK.replace(b"Content-Length: 3", b"Transfer-Encoding: chunked")[:-3]
    + b"3\r\na,b\r\n0\r\n\r\n",
    "tenant": A[:-2] + b"X-Tenant: 1\r\n\r\n",
    "h2c": A[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n",
    "upgrade": A[:-2] + b"Upgrade: websocket\r\n\r\n",
    "form": BULK.replace(b"application/json", b"application/x-www-form-urlencoded"),
    "coding": BULK.replace(b"Host", b"Content-Encoding: gzip\r\nHost"),
    "other method": A.replace(b"GET", b"PUT"),
    "other path": A.replace(b"/users", b"/other"),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_what_is_not_plain_goes_the_slow_way(name: str) -> None:
    async with track() as on:
        await on.known(A, BULK)
        before = on.hits
        for _ in range(4):
            client = await on.served.connect()
            await client.send(OTHERS[name])
            head = await client.head()
            if head.head.startswith(b"HTTP/1.1 100"):
                head = await client.head()
            assert is_slow(head)
        assert on.hits == before
        assert on.lane.table.exact.keys() == {A, BULK}


async def test_a_secret_is_answered_and_its_bytes_are_not_kept() -> None:
    async with track() as on:
        client = await on.served.connect()
        request = A[:-2] + b"Authorization: Bearer planted\r\n\r\n"
        own = A[:-2] + b"X-Secret: planted\r\n\r\n"
        for _ in range(4):
            assert is_hit(await client.request(request))
            assert is_hit(await client.request(own))
        assert on.lane.table.exact == {}


async def test_a_body_that_is_large_goes_the_slow_way() -> None:
    padded = b"a" + b" " * (16 * 1024)
    request = (
        BULK.replace(b"Content-Length: 3\r\n\r\na,b", b"Content-Length: %d\r\n\r\n" % len(padded)) + padded
    )
    async with track() as on:
        client = await on.served.connect()
        assert is_slow(await client.request(request))
        assert on.judged == 0


async def test_a_listener_without_a_lane_answers_the_same_requests_on_the_slow_way() -> None:
    async with serving(slowly) as served:
        assert type(served.server) is Server
        client = await served.connect()
        for _ in range(4):
            assert is_slow(await client.request(A))


async def test_what_begins_as_no_claimed_request_does_is_not_looked_into(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with track() as on:
        client = await on.served.connect()
        looked = 0

        def find(*_: object) -> None:
            nonlocal looked
            looked += 1

        monkeypatch.setattr(on.lane, "find", find)
        for start in (b"GET /elsewhere/a", b"PUT /users/a", b"POST /bulk2"):
            assert is_slow(await client.request(A.replace(b"GET /users/a", start)))
        assert looked == 0
        assert is_slow(await client.request(A))
        assert looked == 1
