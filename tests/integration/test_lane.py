"""The fast lane changes speed only: what it answers, and what it counts, is what is answered and counted without it."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import Proxy, Response
from tests.integration.otlp import Receiver
from tests.integration.people import BULK
from tests.integration.twins import USER, WARMING, Origin, bulk, get, post, twins, user
from tests.turns import in_turn

ONE = get("/users/1")
# Within one freshness lifetime; then by tenths, where numbers in the head move on at three times within a second.
STEPS = [0.0, 0.25, 0.5, 0.25, 0.0, 1.0, 0.999999, 0.000001, 1e-6, 0.4, 7.6, 10.0, *[0.1] * 25, 30.0, 5.5]


def ids(count: int) -> list[str]:
    return [f"u{number}" for number in range(count)]


@pytest.mark.parametrize(
    "request_bytes", [ONE, bulk("1"), bulk(*ids(10)), bulk(*ids(100))], ids=["GET", "1", "10", "100"]
)
async def test_repeated_hits_from_fresh_to_expired(request_bytes: bytes, tmp_path: Path) -> None:
    resources = user(freshness=USER["freshness"] | {"ttl": "60500ms"})
    async with twins(tmp_path, resources) as there, there.pair() as pair:
        there.change(lambda origin: setattr(origin, "fields", ""))
        there.clock.tick(0.3)
        await pair.warm(request_bytes)
        unread = there.unread
        for step in STEPS:
            there.clock.tick(step)
            known = there.by_bytes
            answer = await pair.times(2, request_bytes)
            assert "; hit; ttl=" in answer.field("cache-status")
            assert there.by_bytes == known + 2
        assert there.unread >= unread + len(STEPS) - 5, "at the edge of a second each head is written anew"
        there.same_counts()
        for step in (
            0.5,
            0.5,
            0.5,
            0.5,
            20.0,
            30.0,
            300.0,
            1000.0,
        ):  # stale, too stale for that, and of no use
            there.clock.tick(step)
            await pair.times(2, request_bytes)
            await there.settled()
            there.same_counts()
        await pair.warm(request_bytes)


@pytest.mark.parametrize("face", ["single", "bulk"])
async def test_hits_while_the_upstream_fails(face: str, tmp_path: Path) -> None:
    request = ONE if face == "single" else bulk("1", "2")
    async with twins(tmp_path) as there, there.pair() as pair:
        await pair.warm(request)
        there.change(lambda origin: setattr(origin, "is_down", True))
        for step in (30.0, 29.0, 1.0, 30.0, 300.0, 300.0, 60.0):
            there.clock.tick(step)
            for _ in range(3):
                await pair.ask(request)
                await there.settled()
        assert (await pair.ask(request)).status == 503
        there.change(lambda origin: setattr(origin, "is_down", False))
        there.clock.tick(60.0)
        await pair.warm(request)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
async def test_an_unsafe_method_ends_what_is_kept(method: str, tmp_path: Path) -> None:
    async with twins(tmp_path) as there, there.pair() as pair:
        for request in (ONE, bulk("1", "2")):
            await pair.warm(request)
        await there.settled()
        for version in range(1, 4):
            spelled = "/users/1" if version < 3 else "/users/%31"
            assert (await pair.ask(f"{method} {spelled} HTTP/1.1\r\nHost: a\r\n\r\n".encode())).status == 200
            first = await pair.ask(ONE)
            assert (first.json()["v"], "hit" in first.field("cache-status")) == (version, False)
            assert (await pair.ask(bulk("1", "2"))).json()["users"][0]["v"] == version
            await there.settled()
            assert (await pair.warm(ONE)).json()["v"] == version
            assert (await pair.warm(bulk("1", "2"))).json()["users"][0]["v"] == version


async def test_another_body_after_a_refill(tmp_path: Path) -> None:
    async with twins(tmp_path) as there, there.pair() as pair:
        for request in (ONE, bulk("1", "2")):
            await pair.warm(request)
        there.change(lambda origin: origin.versions.update({"1": 7}))
        forced = get("/users/1", "Cache-Control: no-cache")
        assert (await pair.ask(forced)).json()["v"] == 7
        assert (await pair.ask(ONE)).json()["v"] == 7
        assert (await pair.warm(bulk("1", "2"))).json()["users"][0]["v"] == 7
        there.change(lambda origin: origin.hidden.add("1"))
        assert (await pair.ask(forced)).status == 404
        for _ in range(4):
            assert (await pair.ask(ONE)).status == 404
            assert (await pair.ask(bulk("1", "2"))).json()["count"] == 1


async def test_what_the_database_confirms_is_answered_as_before(tmp_path: Path) -> None:
    """The entry is another then, with the same bytes."""
    async with twins(tmp_path) as there, there.pair() as pair:
        before = [await pair.times(3, request) for request in (ONE, bulk("1"))]
        await there.settled()
        after = [await pair.warm(request) for request in (ONE, bulk("1"))]
        assert [answer.body for answer in before] == [answer.body for answer in after]


async def test_what_had_to_go_is_a_miss(tmp_path: Path) -> None:
    """The lane's tables have a part of memory: the other one has as much less of it, so that as many entities go."""
    room = 64 * 1024
    sections = {"fast": {"memory": {"max_bytes": room}}, "slow": {"memory": {"max_bytes": room - room // 16}}}
    async with twins(tmp_path, user(storage="memory"), **sections) as there, there.pair() as pair:
        await pair.times(3, ONE)
        assert [len(table) for table in there.tables] == [1]
        for number in range(100):
            there.clock.tick(0.1)
            if number % 10 == 0:
                there.clock.tick(1.1)  # uses are told apart by the second
                await pair.ask(ONE)
                there.clock.tick(1.1)
            await pair.ask(get(f"/users/u{number}"))
            assert sum(table.bytes for table in there.tables) <= room // 16
        assert "hit" in (await pair.ask(ONE)).field("cache-status")
        assert there.proxies[0].metric("evictions_total", reason="size") > 0
        there.same_counts()
        for number in range(200):
            there.clock.tick(0.01)
            await pair.ask(get(f"/users/v{number}"))
        assert "hit" not in (await pair.ask(ONE)).field("cache-status")


async def test_an_erased_person_is_nowhere_in_the_tables(tmp_path: Path) -> None:
    async def handshake(proxy: Proxy, method: str, target: str, document: object = None) -> Response:
        return await proxy.call(method, target, document)

    async with twins(tmp_path) as there, there.pair() as pair:
        for request in (ONE, bulk("1", "2"), bulk("2", "1"), get("/users/1", "X-Of: person-1")):
            await pair.warm(request)
        await there.settled()
        own = [
            (await proxy.call("POST", "/v1/users/ensure", {"userId": "1"})).json()["id"]
            for proxy in there.proxies
        ]
        for request in (ONE, bulk("1", "2")):
            await pair.warm(request)
        for proxy, identity in zip(there.proxies, own, strict=True):
            assert (await proxy.call("DELETE", f"/v1/users/{identity}")).status == 200
        for table in there.tables:
            assert len(table) > 0
            table.sweep()
            assert [
                bytes(request) for request in table.exact if b"/users/1" in request or b'"1"' in request
            ] == []
            assert [asked for asked in table._kept if b"/users/1" in asked or b'"1"' in asked] == []
            kept = [one.ready for one in table._kept.values()]
            assert [ready.answer for ready in kept if b'"id": "1"' in ready.answer] == []
            assert table.bytes == sum(one.size for one in table._kept.values())
        assert "fwd=miss" in (await pair.ask(bulk("1", "2"))).field("cache-status")
        assert "hit" in (await pair.warm(ONE)).field("cache-status")


CREDENTIALS = [
    "",
    "Authorization: Bearer a",
    "Authorization: Bearer b",
    "Cookie: c=1",
    "X-Api-Key: k",
    "X-Tenant: t",
]


@pytest.mark.parametrize("key_headers", [[], ["X-Tenant"], ["X-Tenant", "Authorization"]])
@pytest.mark.parametrize("sharing", ["anonymous", "service", "per_credential"])
async def test_sharing(sharing: str, key_headers: list[str], tmp_path: Path) -> None:
    resources = user(sharing=sharing, key_headers=key_headers)
    async with twins(tmp_path, resources) as there, there.pair() as pair:
        await pair.warm(ONE)
        await pair.warm(bulk("1", "2"))
        for line in CREDENTIALS:
            lines = [line] if line else []
            for request in (get("/users/1", *lines), bulk("1", "2", lines=lines)):
                for _ in range(WARMING + 1):
                    await pair.ask(request)
                assert not there.knows(request) or line in {"", "X-Tenant: t"}
            await pair.ask(ONE)
        there.same_counts()
        for line in CREDENTIALS:  # in another order, and many on a connection of their own
            async with there.pair() as another:
                await another.times(3, get("/users/1", *([line] if line else [])))
                await another.times(3, ONE)


LINES = [
    *(f"Cache-Control: {said}" for said in (
        "no-cache", "no-store", "max-age=0", "max-age=5", "max-age=100", "min-fresh=1", "min-fresh=100", "max-stale",
        "max-stale=5", "only-if-cached", "no-transform", "max-age=5, max-stale", "x=y", "", "stale-if-error=5",
    )),
    "Pragma: no-cache", "Pragma: x", 'If-None-Match: "1"', 'If-None-Match: "2"', "If-None-Match: *",
    "If-Modified-Since: Fri, 15 Jan 2027 08:00:00 GMT", "If-Modified-Since: Thu, 01 Jan 2037 08:00:00 GMT",
    'If-Match: "1"', "If-Unmodified-Since: Fri, 15 Jan 2027 08:00:00 GMT", 'If-Range: "1"', "Range: bytes=0-1",
    "Connection: keep-alive", "Connection: Keep-Alive", "Connection: keep-alive, x-own", "Connection: x-own",
    "Connection: ", "Keep-Alive: timeout=5", "Accept: application/json", "Accept-Encoding: gzip", "TE: trailers",
    "X-Own: 1", "x-own:    spaced   ", "X-OWN: \xe9", "User-Agent: test", "Via: 1.1 another", "Expect: x", "Upgrade: x",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Content-Length: 0", "Content-Type: text/x",
    "Content-Encoding: gzip", "Content-Encoding: ", "Host: b", "Proxy-Connection: keep-alive", "Transfer-Encoding: x",
    "Content-Type: application/json; charset=utf-8", "Content-Type: application/x+JSON", "HTTP2-Settings: x",
    "X-HTTP-Method-Override: PUT", "Max-Forwards: 0", "Early-Data: 1", "Warning: 1", "Cookie: a=b",
    "Proxy-Authorization: x",
]  # fmt: skip


# Seconds between the fill and the requests: fresh, aged, stale.
TICKS = [0.0, 30.0, 70.0] if os.environ.get("CI") else [30.0]


@pytest.mark.parametrize("tick", TICKS)
@pytest.mark.parametrize("face", ["single", "bulk"])
async def test_each_field_that_a_request_may_have(face: str, tick: float, tmp_path: Path) -> None:
    plain = ONE if face == "single" else bulk("1", "2")
    lines = [line for line, asked in in_turn(LINES, ("single", "bulk")) if asked == face]
    async with twins(tmp_path) as there:
        for line in lines:
            request = get("/users/1", line) if face == "single" else bulk("1", "2", lines=[line])
            async with there.pair() as pair:
                await pair.ask(get("/users/1", "Cache-Control: no-cache"))
                await pair.ask(bulk("1", "2", lines=["Cache-Control: no-cache"]))
                await there.settled()
                await pair.times(3, plain)
                there.clock.tick(tick)
                for _ in range(WARMING):
                    answer = await pair.ask(request)
                    await there.settled()
                    if answer.field("connection") == "close":
                        assert await pair.ended() == b""
                        break
                else:
                    await pair.times(2, plain)
            there.same_counts()


TARGETS = [
    "/users/1?", "/users/1?x=1", "/users/1#x", "//users/1", "/users//1", "/users/%31", "/users/1/", "/users/1/x",
    "/users/a%2Fb", "/users/a%2fb", "/users/%zz", "/users/%ff", "/users/..", "/Users/1", "/users/\xe9", "/users/%C3%A9",
    "/users/", "/users", "http://a/users/1", "HTTP://b/users/1", "http://a//users/1", "https://a/users/1", "/elsewhere",
    BULK, BULK + "?x", "http://a" + BULK, "/" + BULK, "*", "/users/1;x", "/users/a+b", "/users/a%20b", "/users/1\\x",
]  # fmt: skip


async def test_each_way_to_spell_a_target(tmp_path: Path) -> None:
    async with twins(tmp_path) as there, there.pair() as pair:
        for target in TARGETS:
            async with there.pair() as another:
                for request in (get(target), post(b'{"userIds":["1"]}', path=target)):
                    for _ in range(WARMING):
                        answer = await another.ask(request)
                        if answer.field("connection") == "close":
                            await another.ended()
                            break
                    if answer.field("connection") == "close":
                        break
            await pair.warm(ONE)
        there.same_counts()


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MKCOL", "REPORT"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_each_method_and_version(version: str, tmp_path: Path) -> None:
    lines = {
        "1.0": ["Connection: keep-alive\r\n", "", "Connection: close\r\n"],
        "1.1": ["", "Connection: close\r\n"],
    }
    async with twins(tmp_path) as there:
        for method in METHODS:
            for line in lines[version]:
                async with there.pair() as pair:
                    await pair.warm(ONE)
                    await pair.warm(bulk("1"))
                    for target in ("/users/1", BULK):
                        answer = await pair.ask(
                            f"{method} {target} HTTP/{version}\r\nHost: a\r\n{line}\r\n".encode()
                        )
                        if answer.field("connection") == "close" or (version == "1.0" and "keep" not in line):
                            assert await pair.ended() == b""
                            break
        there.same_counts()


BODIES = [
    b'{"userIds":["1","1"]}', b'{"userIds":["1","2","1"]}', b'{"userIds":[]}', b'{"userIds":["1"],"x":1}', b"", b"{}",
    b' { "userIds" : [ "1" , "2" ] } ', b'{"userIds":["\\u0031"]}', b'{"userIds":[1]}', b'{"userIds":["1",]}',
    b'{"userIds":["1"]}{"userIds":["2"]}', b'{"userIds":[""]}', b'{"userIds":["\\u0000"]}', b'{"userIds":null}',
    b'{"userIds":["1"]}\r\n', b'\xef\xbb\xbf{"userIds":["1"]}', b'{"userIds":["\\ud800"]}',
    b'{"userIds":["1"]}\r\n\r\n',
    b'{"USERIDS":["1"]}', b'{"userIds":["1"],"userIds":["2"]}', b'\r\n\r\n{"userIds":["1"]}', b'{"userIds":["1"]}\x00',
]  # fmt: skip


@pytest.mark.parametrize("duplicates", ["forward", "once", "repeat"])
@pytest.mark.parametrize("status", [200, 201])
async def test_each_body_of_a_bulk_call(status: int, duplicates: str, tmp_path: Path) -> None:
    resources = user(bulk=USER["bulk"] | {"status": status, "duplicates": duplicates})
    async with twins(tmp_path, resources) as there, there.pair() as pair:
        assert (await pair.warm(bulk("1", "2"))).status == status
        assert (await pair.warm(bulk("2", "1"))).json()["users"][0]["id"] == "2"
        for body in BODIES:
            await pair.times(WARMING, post(body))
            await pair.ask(bulk("1"))


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_bulk_call_of_another_method(method: str, tmp_path: Path) -> None:
    resources = user(bulk=USER["bulk"] | {"method": method})
    async with twins(tmp_path, resources) as there, there.pair() as pair:
        await pair.warm(bulk("1", "2", method=method))
        await pair.ask(bulk("1", "2"))
        await pair.warm(bulk("1", "2", method=method))


@pytest.mark.parametrize("padding", [100, 15_000, 17_000, 64_000, 66_000, 300_000])
async def test_large_answers(padding: int, tmp_path: Path) -> None:
    async with twins(tmp_path) as there, there.pair() as pair:
        there.change(lambda origin: setattr(origin, "padding", padding))
        for request in (ONE, bulk("1"), bulk("1", "2", "3")):
            await pair.times(2 * WARMING, request)


async def test_a_large_answer_when_the_budget_of_bodies_is_spent(tmp_path: Path) -> None:
    async with twins(tmp_path) as there, there.pair() as pair:
        there.change(lambda origin: setattr(origin, "padding", 17_000))
        await pair.warm(ONE)
        for proxy in there.proxies:
            proxy.app.buffered.used = proxy.app.buffered.limit
        assert (await pair.times(3, ONE)).status == 503
        for proxy in there.proxies:
            proxy.app.buffered.used = 0
        assert (await pair.warm(ONE)).status == 200


async def test_fields_that_the_origin_says(tmp_path: Path) -> None:
    said = [
        "", "Age: 5\r\n", "Age: 59\r\nCache-Control: max-age=60\r\n", "Cache-Control: max-age=1\r\n",
        "Cache-Control: max-age=60, must-revalidate\r\nDate: Fri, 15 Jan 2027 07:59:00 GMT\r\n",
        "Cache-Control: public, max-age=3\r\nX-Own: \xe9\r\nx-own: 2\r\n", "Content-Language: de\r\nVary: Accept\r\n",
        "Vary: *\r\n", "Set-Cookie: a=b\r\n", "Cache-Control: no-store\r\n", "Cache-Control: private\r\n",
        "Expires: Fri, 15 Jan 2027 08:00:10 GMT\r\n", "Date: Fri, 15 Jan 2027 08:00:30 GMT\r\n", "Via: 1.0 x\r\n",
        "Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT\r\n",
    ]  # fmt: skip

    async with twins(tmp_path) as there, there.pair() as pair:
        for number, lines in enumerate(said):
            there.change(lambda origin, lines=lines: setattr(origin, "fields", lines))  # type: ignore[misc]
            for step in (0.0, 0.5, 0.5, 0.9, 0.2, 2.0, 50.0, 10.0):
                there.clock.tick(step)
                for request in (get(f"/users/{number}"), bulk(f"{number}")):
                    await pair.times(WARMING, request)
                    await there.settled()
            there.same_counts()


@pytest.mark.parametrize("seen_in", ["debug", "tracing"])
async def test_where_each_request_is_to_be_seen_there_is_no_lane(
    seen_in: str, receiver: Receiver, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "debug": {"log": {"level": "debug"}},
        "tracing": {"tracing": {"endpoint": receiver.url}},
    }[seen_in]
    async with twins(tmp_path, **sections) as there, there.pair() as pair:
        await pair.times(WARMING + 1, ONE)
        await pair.times(WARMING + 1, bulk("1", "2"))
        assert (there.tables, there.in_lane) == ([], 0)


async def test_two_resources_of_two_upstreams(tmp_path: Path) -> None:
    """What one listener knows, the other does not answer."""
    other = Origin()
    place = USER | {"upstream": "other", "single": {"path": "/places/{id}"}, "bulk": None}
    async with other.upstream as second:
        upstream = {"url": second.url, "listen": "127.0.0.1:0"}
        sections = {"upstreams_too": {"other": upstream}}
        async with twins(tmp_path, {**user(), "place": place}, **sections) as there:
            async with there.pair() as pair, there.pair("upstreams.other") as too:
                await pair.warm(ONE)
                await too.warm(get("/places/1"))
                for request in (ONE, get("/places/1")):
                    await pair.times(WARMING, request)
                    await too.times(WARMING, request)
                assert len(there.tables) == 2
