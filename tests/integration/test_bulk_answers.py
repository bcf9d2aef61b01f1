"""What an upstream's bulk answer may be, and what becomes of it."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.people import BULK, ODD, envelope, serve_scripted


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"<html><body>Welcome</body></html>", "invalid_answer"),
        (b'{"users":[{"id":"1"}', "invalid_answer"),
        (b'{"users":[{"name":"x"}],"count":1}', "invalid_answer"),
        (b'{"users":[{"id":null}],"count":1}', "invalid_answer"),
        (b'{"users":[1],"count":1}', "invalid_answer"),
        (b'{"users":{"1":{}},"count":1}', "invalid_answer"),
        (b'{"error":"x"}', "invalid_answer"),
        (b"", "invalid_answer"),
        (b"null", "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n" + b'{"users":[]', "body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456", "protocol"),
    ],
)
async def test_an_answer_that_cannot_be_understood_is_a_failure(
    answer: bytes, reason: str, tmp_path: Path
) -> None:
    async with await serve_scripted([answer], tmp_path) as (_, proxy):
        response = await proxy.users("1")
        assert (response.status, response.field("content-type")) == (503, "application/problem+json")
        assert response.field("retry-after") == "1"
        assert not response.field("cache-status")
        # A body that was cut may come whole another time; what is no answer will be none.
        assert proxy.metric("upstream_errors_total", reason=reason) == (3 if reason == "body" else 1)
        assert proxy.metric("entities_total", result="error") == 1
        assert proxy.metric("stored_entities") == 0


async def test_a_failure_is_not_remembered_as_an_absence(tmp_path: Path) -> None:
    async with await serve_scripted([b"<html>", envelope(ODD["1"])], tmp_path) as (_, proxy):
        assert (await proxy.users("1")).status == 503
        assert (await proxy.users("1")).body == envelope(ODD["1"])


async def test_items_that_nobody_asked_for_are_dropped(tmp_path: Path) -> None:
    extra = [b'{"id":"x%d"}' % number for number in range(200)]
    async with await serve_scripted([envelope(*extra, ODD["1"]), envelope()], tmp_path) as (upstream, proxy):
        assert (await proxy.users("1")).body == envelope(ODD["1"])
        assert proxy.metric("stored_entities") <= 1
        await proxy.users("x1")
        assert len(upstream.seen) == 2


async def test_another_id_than_asked_is_an_absence_of_what_was_asked(tmp_path: Path) -> None:
    async with await serve_scripted([envelope(b'{"id":"other"}')], tmp_path) as (_, proxy):
        assert (await proxy.users("1")).json() == {"users": [], "count": 0}


async def test_an_id_that_comes_twice_is_answered_but_not_stored(tmp_path: Path) -> None:
    twice = envelope(b'{"id":"1","v":1}', b'{"id":"1","v":2}', b'{"id":"4"}')
    async with await serve_scripted([twice, envelope(b'{"id":"1","v":3}')], tmp_path) as (upstream, proxy):
        first = await proxy.users("1", "4")
        assert first.body == envelope(b'{"id":"1","v":1}', b'{"id":"4"}')
        assert first.field("cache-status") == "handshake-proxy; fwd=uri-miss"
        assert (await proxy.users("1", "4")).body == envelope(b'{"id":"1","v":3}', b'{"id":"4"}')
        assert upstream.seen[1].body == b'{"userIds":["1"]}'


@pytest.mark.parametrize(
    "answer", [b'{"users":[{"id":"1"}],"count":1,"next":null}', b'{"users":[{"id":"1"}],"count":7}']
)
async def test_an_envelope_that_cannot_be_assembled_is_passed_on(answer: bytes, tmp_path: Path) -> None:
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        for _ in range(3):
            response = await proxy.users("1")
            assert response.body == answer
            assert response.field("cache-status") == "handshake-proxy; fwd=bypass; detail=uncacheable"
        assert len(upstream.seen) == 4  # the first was fetched once to find out
        proxy.clock.tick(6)
        await proxy.users("1")
        assert len(upstream.seen) == 6


async def test_an_empty_list_for_ids_that_we_hold_is_implausible(tmp_path: Path) -> None:
    ids = [str(number) for number in range(6)]
    full = envelope(*(b'{"id":"%b"}' % entity.encode() for entity in ids))
    user: dict[str, Any] = {
        "id": "/id",
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
        "freshness": {"ttl": "10s", "stale_while_revalidate": 0},
    }
    answers = [full, envelope(), envelope(b'{"id":"0"}', b'{"id":"1"}', b'{"id":"2"}')]
    async with await serve_scripted(answers, tmp_path, resources={"user": user}) as (_, proxy):
        assert (await proxy.users(*ids)).body == full
        proxy.clock.tick(11)
        stale = await proxy.users(*ids)
        assert stale.body == full
        assert stale.field("cache-status").startswith("handshake-proxy; hit; ttl=-")
        assert proxy.metric("upstream_errors_total", reason="implausible_absence") == 1
        proxy.clock.tick(1)  # the upstream has failed, and is left alone for a moment
        # Half of them is believed.
        assert (await proxy.users(*ids)).json()["count"] == 3


@pytest.mark.parametrize(
    ("failure", "status", "body"),
    [
        (b"HTTP/1.1 500 Oops\r\nX-Why: bug\r\nContent-Length: 4\r\n\r\nboom", 500, b"boom"),
        (b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 429, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", 503, None),
    ],
)
async def test_when_the_upstream_fails(
    failure: bytes, status: int, body: bytes | None, tmp_path: Path
) -> None:
    """Ids with a usable copy are served; if some id has none, the whole answer is the upstream's error, or 503."""
    user: dict[str, Any] = {
        "id": "/id",
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
        "freshness": {"ttl": "10s", "stale_if_error": "1h", "stale_while_revalidate": 0},
    }
    answers = [envelope(ODD["1"]), failure]
    async with await serve_scripted(answers, tmp_path, resources={"user": user}) as (_, proxy):
        await proxy.users("1")
        proxy.clock.tick(3600)
        stale = await proxy.users("1")
        assert (stale.status, stale.body) == (200, envelope(ODD["1"]))
        assert stale.field("age") == "3600"
        assert proxy.metric("entities_total", result="stale") == 1
        partial = await proxy.users("1", "unknown")
        assert partial.status == status
        assert body is None or partial.body == body
        proxy.clock.tick(11)
        assert (await proxy.users("1")).status == status


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_passes_through_and_is_not_stored(status: int, tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 %d No\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno" % status
    async with await serve_scripted([refusal, envelope(ODD["1"])], tmp_path) as (_, proxy):
        response = await proxy.users("1")
        assert (response.status, response.body, response.field("www-authenticate")) == (
            status,
            b"no",
            "Basic",
        )
        assert proxy.metric("upstream_errors_total") == 0
        assert (await proxy.users("1")).status == 200


@pytest.mark.parametrize(
    "field",
    [
        "Cache-Control: no-store",
        "Cache-Control: private",
        "Cache-Control: no-cache",
    ],
)
async def test_an_answer_that_the_origin_keeps_for_itself_is_not_stored(field: str, tmp_path: Path) -> None:
    body = envelope(ODD["1"])
    answer = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (field.encode(), len(body), body)
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        for status in ("fwd=uri-miss", "fwd=bypass; detail=uncacheable"):
            response = await proxy.users("1")
            assert (response.body, response.field("cache-status")) == (body, f"handshake-proxy; {status}")
        assert len(upstream.seen) == 2


async def test_the_origins_max_age_wins_over_the_ttl(tmp_path: Path) -> None:
    body = envelope(ODD["1"])
    answer = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=5\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        await proxy.users("1")
        proxy.clock.tick(4.5)
        assert (await proxy.users("1")).field("cache-status") == "handshake-proxy; hit; ttl=0"
        proxy.clock.tick(1)
        await proxy.users("1")
        assert len(upstream.seen) == 2


@pytest.mark.parametrize("field", ["Set-Cookie: a=1", "Vary: X-User", "Vary: *"])
async def test_an_answer_for_one_caller_is_fetched_by_that_caller(field: str, tmp_path: Path) -> None:
    body = envelope(ODD["1"])
    answer = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (field.encode(), len(body), body)
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        async with proxy.client() as client:
            response = await client.post(BULK, b'{"userIds":["1"]}', "X-User: me")
        assert response.body == body
        assert response.field(field.split(":", maxsplit=1)[0]) == field.split(": ")[1]
        assert dict(upstream.seen[-1].fields)[b"X-User"] == b"me"
        assert proxy.metric("stored_entities") == 0


async def test_what_is_held_is_served_while_answers_are_beyond_us(tmp_path: Path) -> None:
    odd = b'{"users":[{"id":"2"}],"count":1,"more":true}'
    async with await serve_scripted([envelope(ODD["1"]), odd], tmp_path) as (_, proxy):
        await proxy.users("1")
        assert (await proxy.users("2")).body == odd
        assert "hit" in (await proxy.users("1")).field("cache-status")


async def test_one_cut_string_spoils_nothing(tmp_path: Path) -> None:
    cut = b'{"id":"2","name":"\\ud83d"}'
    async with await serve_scripted([envelope(ODD["1"], cut)], tmp_path) as (upstream, proxy):
        assert (await proxy.users("1", "2")).body == envelope(ODD["1"], cut)
        await proxy.durable()
        assert (await proxy.users("2")).body == envelope(cut)
        assert proxy.metric("store_errors_total") == 0
        assert len(upstream.seen) == 1


async def test_an_unsolicited_101_to_a_fill_is_a_failure(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    async with await serve_scripted([answer], tmp_path) as (_, proxy):
        assert (await proxy.users("1")).status == 503


async def test_a_newer_answer_that_may_not_be_stored_drops_the_older_one(tmp_path: Path) -> None:
    new = envelope(b'{"id":"1","v":2}')
    kept_out = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%b" % (len(new), new)
    async with await serve_scripted([envelope(b'{"id":"1","v":1}'), kept_out], tmp_path) as (_, proxy):
        await proxy.users("1")
        async with proxy.client() as client:
            assert (await client.post(BULK, b'{"userIds":["1"]}', "Cache-Control: no-cache")).body == new
        assert (await proxy.users("1")).body == new


async def test_a_copy_is_served_although_its_resource_is_marked(tmp_path: Path) -> None:
    """What can't be held now must not take from us what we have for the time when the upstream fails."""
    personal = envelope(b'{"id":"3"}')
    answers = [
        envelope(ODD["1"], ODD["2"]),
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: %d\r\n\r\n%b" % (len(personal), personal),
        b'{"users":[{"id":"4"}],"count":1,"more":1}',
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    ]
    user: dict[str, Any] = {
        "id": "/id",
        "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
        "freshness": {"ttl": "10s", "stale_while_revalidate": 0},
    }
    async with await serve_scripted(answers, tmp_path, resources={"user": user}) as (upstream, proxy):
        await proxy.users("1", "2")
        proxy.clock.tick(11)
        upstream.seen.append(
            upstream.seen[0]
        )  # its second answer is for the fill, the same again for the pass-on
        await proxy.users("4")
        stale = await proxy.users("1", "2")
        assert (stale.status, stale.body) == (200, envelope(ODD["1"], ODD["2"]))
        assert stale.field("cache-status").startswith("handshake-proxy; hit; ttl=-")


@pytest.mark.parametrize(("field", "seconds"), [("no-store", 0), ("max-age=3", 3), ("max-age=60", 10)])
async def test_an_absence_is_remembered_no_longer_than_the_origin_allows(
    field: str, seconds: int, tmp_path: Path
) -> None:
    body = envelope()
    answer = b"HTTP/1.1 200 OK\r\nCache-Control: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        field.encode(),
        len(body),
        body,
    )
    async with await serve_scripted([answer], tmp_path) as (upstream, proxy):
        await proxy.users("1")
        proxy.clock.tick(seconds - 0.5)
        await proxy.users("1")
        assert len(upstream.seen) == (1 if seconds else 2)
        proxy.clock.tick(1)
        await proxy.users("1")
        assert len(upstream.seen) == (2 if seconds else 3)
