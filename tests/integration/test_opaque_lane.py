"""Hits of opaque resources on the fast lane are what they are without it: in bytes, and in what is counted."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.twins import WARMING, get, twins
from tests.turns import in_turn

OPAQUE: dict[str, Any] = {
    "id": None,
    "single": {"path": "/{rest*}"},
    "freshness": {"ttl": "0s", "stale_while_revalidate": "30s", "stale_if_error": "10m"},
}
A = get("/a")
MODIFIED = "Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT\r\n"
FIELDS = f'Cache-Control: max-age=60\r\nETag: "1"\r\n{MODIFIED}Content-Type: text/html\r\n'


def opaque(**over: Any) -> dict[str, Any]:
    """The resources: one, with these keys laid over `OPAQUE`."""
    return {"all": OPAQUE | over}


def saying(fields: str) -> Any:
    """Has an origin answer with these lines from here on."""
    return lambda origin: setattr(origin, "fields", fields)


async def test_repeated_hits_from_fresh_to_expired(tmp_path: Path) -> None:
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        there.change(saying("Cache-Control: max-age=60, stale-if-error=600\r\nAge: 3\r\n"))
        there.clock.tick(0.3)
        await pair.warm(A)
        for step in [0.0, 0.25, 0.5, 0.25, 1.0, 0.999999, 0.000001, *[0.1] * 15, 30.0, 20.5]:
            there.clock.tick(step)
            known = there.by_bytes
            answer = await pair.times(2, A)
            assert "; hit; ttl=" in answer.field("cache-status")
            assert int(answer.field("age")) >= 3
            assert there.by_bytes == known + 2
        there.same_counts()
        for step in (0.5, 1.5, 20.0, 30.0, 300.0, 1000.0):
            there.clock.tick(step)
            await pair.times(2, A)
            await there.settled()
            there.same_counts()
        await pair.warm(A)


async def test_what_is_answered_by_it_is_what_was_stored_and_counted_as_that(tmp_path: Path) -> None:
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        there.change(
            saying(FIELDS + "X-Odd:\r\nx-odd: a\r\nSet-Cookie: a=b\r\nConnection: x-hop\r\nX-Hop: 1\r\n")
        )
        first = await pair.ask(A)
        answer = await pair.warm(A)
        assert answer.body == first.body
        names = [name for name, _ in answer.fields]
        assert names[:6] == [
            b"Content-Type",
            b"Cache-Control",
            b"ETag",
            b"Last-Modified",
            b"Content-Type",
            b"X-Odd",
        ]
        assert not {b"Set-Cookie", b"X-Hop", b"Connection"} & set(names)
        assert there.in_lane == WARMING
        fast = there.proxies[0]
        hits = fast.metric("requests_total", route="all.single", code="200", cache="hit", method="GET")
        assert hits == WARMING == fast.metric("entities_total", resource="all", result="hit")
        assert fast.metric("lookups_total", resource="all", tier="memory", result="hit") == hits


TARGETS = [
    "/a", "/a?", "/a?x=1", "/a?x=2", "/a?x=1&", "/a?X=1", "/a??", "/a?x=/?", "/a?x=%41", "/a?x=A", "/A", "/%61", "/a/",
    "/", "//", "//a", "/a//b", "/a;x", "/a?!$&'()*+,;=:@-._~/?", "/" + "x" * 2000,
]  # fmt: skip
OTHERS = [
    "/a?x=\xe9", "/\xe9", '/a?"', "/a?<>", "/a?[1]", "/a?{x}", "/a?|", "/a?^", "/a?`", "/a?\\", "/a#x", "/a?x#y",
    "/./a", "/b/../a", "/b/%2e%2e/a", "/..", "http://a/a", "HTTP://a/a?x=1", "*", "/%00", "/%",
]  # fmt: skip


async def test_each_target_is_one_of_its_own_with_its_query(tmp_path: Path) -> None:
    """RFC 9111 section 2."""
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        for number, target in enumerate(TARGETS):
            there.change(saying(f"Cache-Control: max-age=60\r\nX-Number: {number}\r\n"))
            await pair.warm(get(target))
        for number, target in enumerate(TARGETS):
            answer = await pair.ask(get(target))
            assert (answer.field("x-number"), "hit" in answer.field("cache-status")) == (str(number), True)
        assert there.knows(A)


async def test_each_way_to_spell_a_target_that_not_every_parser_reads(tmp_path: Path) -> None:
    async with twins(tmp_path, opaque()) as there:
        for target in OTHERS:
            async with there.pair() as pair:
                request = get(target)
                for _ in range(WARMING):
                    answer = await pair.ask(request)
                    if answer.field("connection") == "close":
                        assert await pair.ended() == b""
                        break
            async with there.pair() as pair:
                await pair.ask(A)


LINES = [
    *(f"Cache-Control: {said}" for said in (
        "no-cache", "no-store", "max-age=0", "max-age=5", "max-age=100", "min-fresh=1", "min-fresh=100", "max-stale",
        "max-stale=5", "only-if-cached", "no-transform", "x=y", "",
    )),
    "Pragma: no-cache", "Pragma: x", 'If-None-Match: "1"', 'If-None-Match: "2"', 'If-None-Match: W/"1"',
    "If-None-Match: *", "If-Modified-Since: Fri, 15 Jan 2027 07:00:00 GMT",
    "If-Modified-Since: Thu, 01 Jan 2026 08:00:00 GMT",
    'If-Match: "1"', "If-Unmodified-Since: Fri, 15 Jan 2027 08:00:00 GMT", 'If-Range: "1"', "Range: bytes=0-1",
    "Range: bytes=-1", "Range: bytes=1000-", "Range: bytes=0-0,2-3", "Range: x", "Cookie: a=b", "Authorization: a",
    "X-Api-Key: a", "Connection: keep-alive", "Connection: x-own", "Connection: close", "Accept: text/html",
    "Accept-Encoding: gzip", "TE: trailers", "X-Own: \xe9", "Via: 1.1 another", "Expect: x", "Upgrade: x",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Content-Length: 0", "Content-Type: x",
    "Content-Encoding: gzip", "Host: b", "Transfer-Encoding: x", "X-HTTP-Method-Override: PUT", "Max-Forwards: 0",
    "Proxy-Authorization: x",
]  # fmt: skip


@pytest.mark.parametrize(("line", "tick"), in_turn(LINES, (0.0, 30.0, 70.0)))
async def test_each_field_that_a_request_may_have(line: str, tick: float, tmp_path: Path) -> None:
    async with twins(tmp_path, opaque()) as there:
        there.change(saying(FIELDS))
        async with there.pair() as pair:
            await pair.times(3, A)
            there.clock.tick(tick)
            request = get("/a", line)
            for _ in range(WARMING):
                answer = await pair.ask(request)
                await there.calm()
                if answer.field("connection") == "close":
                    assert await pair.ended() == b""
                    break
            else:
                await pair.times(2, A)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_each_method(version: str, tmp_path: Path) -> None:
    async with twins(tmp_path, opaque()) as there:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "MKCOL", "QUERY"):
            async with there.pair() as pair:
                await pair.warm(A)
                answer = await pair.ask(f"{method} /a HTTP/{version}\r\nHost: a\r\n\r\n".encode())
                assert ("hit" in answer.field("cache-status")) == (method in {"GET", "HEAD"})
                if version == "1.0" or answer.field("connection") == "close":
                    assert await pair.ended() == b""


async def test_a_head_and_a_part_besides(tmp_path: Path) -> None:
    """What is not plain is made of the same response, by the handler."""
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        there.change(saying(FIELDS))
        whole = await pair.warm(A)
        head = await pair.ask(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
        part = await pair.ask(get("/a", "Range: bytes=1-3"))
        same = await pair.ask(get("/a", 'If-None-Match: "1"'))
        beyond = await pair.ask(get("/a", "Range: bytes=1000-"))
        assert [answer.status for answer in (whole, head, part, same, beyond)] == [200, 200, 206, 304, 416]
        assert head.field("content-length") == str(len(whole.body))
        assert part.body == whole.body[1:4]
        assert all("; hit; " in answer.field("cache-status") for answer in (head, part, same, beyond))
        assert there.knows(A)


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_an_invalidated_target_is_a_miss_whoever_names_it(method: str, tmp_path: Path) -> None:
    """RFC 9111 section 4.4."""
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        for version in range(1, 4):
            await pair.warm(A)
            await pair.warm(get("/a?x"))
            assert (await pair.ask(f"{method} /a HTTP/1.1\r\nHost: a\r\n\r\n".encode())).status == 200
            answer = await pair.ask(A)
            assert (answer.json()["v"], "hit" in answer.field("cache-status")) == (version, False)
            assert "hit" in (await pair.ask(get("/a?x"))).field("cache-status")


async def test_what_is_answered_anew_is_answered_so_from_there(tmp_path: Path) -> None:
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        await pair.warm(A)
        there.change(lambda origin: origin.versions.update({"a": 7}))
        assert (await pair.ask(get("/a", "Cache-Control: no-cache"))).json()["v"] == 7
        assert (await pair.warm(A)).json()["v"] == 7
        there.change(lambda origin: origin.hidden.add("a"))
        assert (await pair.ask(get("/a", "Cache-Control: no-cache"))).status == 404
        await pair.times(WARMING, A)


async def test_what_varies_later_is_selected_by_the_handler(tmp_path: Path) -> None:
    """RFC 9111 section 4.1: no request is known by its bytes then."""
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        await pair.warm(A)
        there.change(saying("Cache-Control: max-age=60\r\nVary: X-Lang\r\nX-Said: 2\r\n"))
        en, de = get("/a", "X-Lang: en"), get("/a", "X-Lang: de")
        await pair.warm(en)  # what is held is for everybody
        await pair.ask(get("/a", "X-Lang: en", "Cache-Control: no-cache"))
        for request in (en, de, A):
            for number in range(WARMING):
                in_lane = there.in_lane
                answer = await pair.ask(request)
                assert answer.field("x-said") == "2"
                assert ("hit" in answer.field("cache-status")) == (number > 0 or request is en)
                assert there.in_lane == in_lane
        there.change(saying("Cache-Control: max-age=60\r\nX-Said: 3\r\n"))
        await pair.ask(get("/a", "X-Lang: de", "Cache-Control: no-cache"))
        for request in (en, de, A):
            assert (await pair.warm(request)).field("x-said") == "3"


@pytest.mark.parametrize(
    "fields", ["Cache-Control: no-store\r\n", 'Cache-Control: no-cache\r\nETag: "1"\r\n', ""]
)
async def test_what_is_not_to_be_used_again_is_not(fields: str, tmp_path: Path) -> None:
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        there.change(saying(fields))
        for _ in range(WARMING):
            assert "hit" not in (await pair.ask(A)).field("cache-status")
        assert not there.knows(A)


async def test_an_answer_with_another_status_is_the_handlers(tmp_path: Path) -> None:
    async with twins(tmp_path, opaque(freshness={"ttl": "60s"})) as there, there.pair() as pair:
        there.change(lambda origin: origin.hidden.add("a"))
        for _ in range(WARMING):
            assert (await pair.ask(A)).status == 404
        assert "hit" in (await pair.ask(A)).field("cache-status")
        assert there.in_lane == 0


CREDENTIALS = [
    "",
    "Authorization: Bearer a",
    "Authorization: Bearer b",
    "Cookie: c=1",
    "X-Api-Key: k",
    "X-Tenant: t",
]


@pytest.mark.parametrize("cached", ["max-age=60", "public, max-age=60"])
@pytest.mark.parametrize("key_headers", [[], ["X-Tenant"]])
@pytest.mark.parametrize("sharing", ["anonymous", "service", "per_credential"])
async def test_sharing(sharing: str, key_headers: list[str], cached: str, tmp_path: Path) -> None:
    resources = opaque(sharing=sharing, key_headers=key_headers)
    async with twins(tmp_path, resources) as there, there.pair() as pair:
        there.change(saying(f"Cache-Control: {cached}\r\n"))
        await pair.warm(A)
        for line in CREDENTIALS:
            request = get("/a", *([line] if line else []))
            await pair.times(WARMING + 1, request)
            assert not there.knows(request) or line in {"", "X-Tenant: t"}
            await pair.ask(A)
        there.same_counts()


async def test_entities_besides(tmp_path: Path) -> None:
    """A query is for the upstream to say what it means where there are entities, and a part of the key where not."""
    user = {"id": "/id", "single": {"path": "/users/{id}"}, "freshness": {"ttl": "60s", "jitter": 0}}
    resources = {"user": user, "page": OPAQUE | {"single": {"path": "/pages/{rest*}"}}}
    async with twins(tmp_path, resources) as there, there.pair() as pair:
        await pair.warm(get("/users/1"))
        await pair.warm(get("/pages/users/1?x"))
        for target in ("/users/1?", "/users/1?x", "/users/1%3F"):
            await pair.times(WARMING, get(target))
        assert "detail=query" in (await pair.ask(get("/users/1?"))).field("cache-status")
        assert "hit" in (await pair.ask(get("/users/1%3F"))).field("cache-status")
        assert "detail=query" in (await pair.ask(get("/users/1?"))).field("cache-status")
        assert (await pair.ask(b"PUT /pages/users/1 HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        assert "hit" in (await pair.ask(get("/users/1"))).field("cache-status")
        await pair.warm(get("/users/1"))


async def test_what_had_to_go_is_a_miss(tmp_path: Path) -> None:
    room = 64 * 1024
    memory = {"memory": {"max_bytes": room, "opaque": 0.5}}
    async with twins(tmp_path, opaque(), **memory) as there, there.pair() as pair:
        await pair.times(3, A)
        for number in range(100):
            there.clock.tick(0.1)
            if number % 10 == 0:
                there.clock.tick(1.1)  # uses are told apart by the second
                await pair.ask(A)
                there.clock.tick(1.1)
            await pair.ask(get(f"/u{number}"))
        assert "hit" in (await pair.ask(A)).field("cache-status")
        assert there.proxies[0].metric("evictions_total", reason="size") > 0
        for proxy in there.proxies:
            responses = proxy.app._storage.responses
            assert responses is not None
            assert 0 < responses.bytes <= room // 2
        for number in range(200):
            there.clock.tick(0.01)
            await pair.ask(get(f"/v{number}"))
        assert "hit" not in (await pair.ask(A)).field("cache-status")
        assert there.proxies[0].metric("misses_total", resource="all", reason="evicted") > 0


async def test_requests_that_were_sent_ahead(tmp_path: Path) -> None:
    async with twins(tmp_path, opaque()) as there, there.pair() as pair:
        await pair.warm(A)
        requests = [
            A,
            get("/b"),
            A,
            get("/a", "Cache-Control: no-cache"),
            A,
            b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n",
            A,
        ]
        await pair.send(b"".join(requests))
        for request in requests:
            answer = await pair.receive(head_only=request.startswith(b"HEAD"))
            assert answer.status == 200
