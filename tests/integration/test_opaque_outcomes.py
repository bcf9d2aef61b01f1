"""What each way that a request can take is called: in Cache-Status (RFC 9211) and in the metrics."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.harness import Proxy, Response
from tests.integration.opaque import CLOSED, Answer, answering, running

MINUTE, SECOND, OWN = "Cache-Control: max-age=60", "Cache-Control: max-age=1", "Cache-Control: no-store"
TAG = 'ETag: "1"'
LIVES_ON = "Cache-Control: max-age=1, stale-if-error=600"
DOWN = answering(status="503 Service Unavailable")

Counts = dict[str, float]


def counts(proxy: Proxy) -> Counts:
    """What is counted of the resource, by short names."""
    metric = proxy.metric
    found = {
        f"{cache}": metric("requests_total", route="all.single", cache=cache)
        for cache in ("hit", "miss", "stale", "revalidated", "bypass", "error")
    }
    found |= {
        f"answered {result}": metric("entities_total", resource="all", result=result)
        for result in ("hit", "miss", "stale", "error")
    }
    reasons = ("never_seen", "expired", "no_cache", "bypass_credential", "bypass_shape", "evicted")
    found |= {f"why {reason}": metric("misses_total", resource="all", reason=reason) for reason in reasons}
    found |= {
        f"found {result}": metric("lookups_total", resource="all", tier="memory", result=result)
        for result in ("hit", "miss")
    }
    asked, joined = (
        metric("upstream_ids_total", resource="all"),
        metric("coalesced_ids_total", resource="all"),
    )
    return found | {"asked": asked, "joined": joined}  # fmt: skip


def counted(proxy: Proxy, before: Counts) -> Counts:
    """What has been counted since."""
    return {name: count - before[name] for name, count in counts(proxy).items() if count != before[name]}


async def outcome(
    directory: Path,
    answers: Sequence[Answer | None],
    *fields: str,
    method: str = "GET",
    warm: bool = False,
    seconds: float = 0.0,
    **freshness: str,
) -> tuple[Response, Counts]:
    """What a request with these fields is answered, and what is counted of it; if `warm`, after a plain one."""
    async with running(directory, *answers, **freshness) as (proxy, _):
        if warm:
            await proxy.get("/a")
            proxy.clock.tick(seconds)
        before = counts(proxy)
        async with proxy.client() as client:
            head = "".join(f"{line}\r\n" for line in ("Host: app", *fields))
            request = f"{method} /a HTTP/1.1\r\n{head}\r\n".encode()
            response = await client.request(request, head_only=method == "HEAD")
        await proxy.quiet()
        return response, counted(proxy, before)


MISS = {"miss": 1, "answered miss": 1, "why never_seen": 1, "found miss": 1, "asked": 1}
HIT = {"hit": 1, "answered hit": 1, "found hit": 1}
STALE = {"stale": 1, "answered stale": 1, "found hit": 1}
REFETCHED = {"miss": 1, "answered miss": 1, "why expired": 1, "found hit": 1, "asked": 1}
FAILED = {"error": 1, "answered error": 1, "found miss": 1, "why never_seen": 1, "asked": 1}


@pytest.mark.parametrize(
    ("answer", "method", "fields", "status", "note"),
    [
        (answering(MINUTE), "GET", (), 200, "fwd=uri-miss; stored"),
        (answering(OWN), "GET", (), 200, "fwd=uri-miss; fwd-status=200"),
        (answering(MINUTE, status="404 Not Found"), "GET", (), 404, "fwd=uri-miss; stored"),
        (answering(status="503 Down"), "GET", (), 503, "fwd=uri-miss; fwd-status=503"),
        (answering(MINUTE, status="999 Odd"), "GET", (), 999, "fwd=uri-miss; fwd-status=999"),
        (answering(MINUTE), "HEAD", (), 200, "fwd=uri-miss; fwd-status=200"),
        (answering(MINUTE, TAG), "GET", ('If-None-Match: "1"',), 304, "fwd=uri-miss; stored"),
        (answering(MINUTE), "GET", ("Range: bytes=0-0",), 200, "fwd=uri-miss; stored"),
        (
            answering(MINUTE, "Content-Range: bytes 0-0/9", TAG, status="206 Partial Content"),
            "GET",
            ("Range: bytes=0-0",),
            206,
            "fwd=uri-miss; stored",
        ),
    ],
)
async def test_a_miss(
    answer: Answer, method: str, fields: tuple[str, ...], status: int, note: str, tmp_path: Path
) -> None:
    response, seen = await outcome(tmp_path, [answer], *fields, method=method)
    assert (response.status, response.field("cache-status")) == (status, f"handshake-proxy; {note}")
    assert seen == MISS


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("GET", (), 200),
        ("HEAD", (), 200),
        ("GET", ("Range: bytes=0-0",), 206),
        ("GET", ("Range: bytes=9-",), 416),
        ("GET", ('If-None-Match: "1"',), 304),
        ("GET", ("Cache-Control: only-if-cached",), 200),
    ],
)
async def test_a_hit(method: str, fields: tuple[str, ...], status: int, tmp_path: Path) -> None:
    answers = [answering(MINUTE, TAG)]
    response, seen = await outcome(tmp_path, answers, *fields, method=method, warm=True, seconds=5)
    assert (response.status, response.field("cache-status")) == (status, "handshake-proxy; hit; ttl=55")
    assert seen == HIT


@pytest.mark.parametrize(
    ("fields", "answer", "why"),
    [
        (("Cache-Control: max-stale",), DOWN, {}),
        ((), DOWN, {"why expired": 1, "asked": 1}),
        ((), CLOSED, {"why expired": 1, "asked": 1}),
        (("Cache-Control: no-cache",), DOWN, {"why no_cache": 1, "asked": 1}),
    ],
)
async def test_what_is_stale(
    fields: tuple[str, ...], answer: Answer | None, why: Counts, tmp_path: Path
) -> None:
    """By the client's leave, and in place of a failure."""
    answers = [answering(LIVES_ON), answer]
    response, seen = await outcome(tmp_path, answers, *fields, warm=True, seconds=5)
    assert (response.body, response.field("cache-status")) == (b"1", "handshake-proxy; hit; ttl=-4")
    assert seen == STALE | why


async def test_what_is_stale_while_it_is_revalidated(tmp_path: Path) -> None:
    said = answering("Cache-Control: max-age=1, stale-while-revalidate=600")
    response, seen = await outcome(tmp_path, [said], warm=True, seconds=5)
    assert (response.body, response.field("cache-status")) == (b"1", "handshake-proxy; hit; ttl=-4")
    assert seen == STALE | {"asked": 1}


async def test_what_is_revalidated(tmp_path: Path) -> None:
    said = answering(SECOND, TAG, confirms=True)
    response, seen = await outcome(tmp_path, [said], warm=True, seconds=5)
    assert response.field("cache-status") == "handshake-proxy; fwd=stale; fwd-status=304"
    assert response.body == b"1"
    assert seen == {"revalidated": 1, "answered miss": 1, "why expired": 1, "found hit": 1, "asked": 1}


async def test_what_has_changed_meanwhile(tmp_path: Path) -> None:
    response, seen = await outcome(tmp_path, [answering(SECOND, TAG)], warm=True, seconds=5)
    assert response.field("cache-status") == "handshake-proxy; fwd=stale; stored"
    assert seen == REFETCHED


async def test_what_may_not_be_kept_any_more(tmp_path: Path) -> None:
    response, seen = await outcome(tmp_path, [answering(SECOND, TAG), answering(OWN)], warm=True, seconds=5)
    assert response.field("cache-status") == "handshake-proxy; fwd=stale; fwd-status=200"
    assert seen == REFETCHED


async def test_what_the_client_wants_anew(tmp_path: Path) -> None:
    field = "Cache-Control: no-cache"
    response, seen = await outcome(tmp_path, [answering(MINUTE)], field, warm=True, seconds=5)
    assert response.field("cache-status") == "handshake-proxy; fwd=request; stored"
    assert seen == {"miss": 1, "answered miss": 1, "why no_cache": 1, "found hit": 1, "asked": 1}


@pytest.mark.parametrize(
    ("method", "fields", "detail", "why"),
    [
        ("POST", ("Content-Length: 0",), "method", {}),
        ("OPTIONS", (), "method", {}),
        ("MKCOL", (), "method", {}),
        ("GET", ("Cache-Control: no-store",), "no-cache", {"why no_cache": 1}),
        ("GET", ('If-Match: "1"',), "shape", {"why bypass_shape": 1}),
        ("GET", ("If-Unmodified-Since: x",), "shape", {"why bypass_shape": 1}),
    ],
)
async def test_what_goes_past_the_cache(
    method: str, fields: tuple[str, ...], detail: str, why: Counts, tmp_path: Path
) -> None:
    response, seen = await outcome(tmp_path, [answering(MINUTE)], *fields, method=method, warm=True)
    assert response.field("cache-status") == f"handshake-proxy; fwd=bypass; detail={detail}"
    assert seen == {"bypass": 1} | why


@pytest.mark.parametrize("why", ["vary-miss", "uri-miss"])
async def test_what_is_held_for_other_requests_alone(why: str, tmp_path: Path) -> None:
    """RFC 9211 section 2.2: a vary-miss is of a target of which there is something."""
    async with running(tmp_path, answering(MINUTE, "Vary: X-Lang")) as (proxy, _):
        await proxy.get("/a", "X-Lang: en")
        response = await proxy.get("/a" if why == "vary-miss" else "/b", "X-Lang: de")
        assert response.field("cache-status") == f"handshake-proxy; fwd={why}; stored"
        again = await proxy.get("/a", "X-Lang: en")
        assert again.field("cache-status") == "handshake-proxy; hit; ttl=60"


async def test_what_is_held_in_part(tmp_path: Path) -> None:
    """RFC 9211 sections 2.2 and 2.3."""
    part = answering(MINUTE, TAG, "Content-Range: bytes 0-0/2", status="206 Partial Content", body=b"a")
    rest = answering(MINUTE, TAG, "Content-Range: bytes 1-1/2", status="206 Partial Content", body=b"b")
    async with running(tmp_path, part, rest) as (proxy, _):
        await proxy.get("/a", "Range: bytes=0-0")
        response = await proxy.get("/a")
        assert response.body == b"ab"
        assert response.field("cache-status") == "handshake-proxy; fwd=partial; fwd-status=206; stored"


async def test_what_came_for_a_credential_and_is_for_everybody(tmp_path: Path) -> None:
    """RFC 9111 section 3.5, RFC 9211 section 2.5."""
    response, seen = await outcome(tmp_path, [answering(f"{MINUTE}, public")], "Authorization: a")
    assert response.field("cache-status") == "handshake-proxy; fwd=bypass; detail=credential; stored"
    assert seen == {"bypass": 1, "why bypass_credential": 1, "found miss": 1, "asked": 1}


async def test_what_goes_past_it_for_a_credential(tmp_path: Path) -> None:
    response, seen = await outcome(tmp_path, [answering(MINUTE)], "Authorization: a", warm=True)
    assert response.field("cache-status") == "handshake-proxy; fwd=bypass; detail=credential"
    assert seen == {"bypass": 1, "why bypass_credential": 1, "found hit": 1, "asked": 1}


@pytest.mark.parametrize("warm", [False, True])
async def test_what_is_not_held_and_nobody_is_to_be_asked_for(warm: bool, tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1.7."""
    field = "Cache-Control: only-if-cached"
    response, seen = await outcome(tmp_path, [answering(SECOND)], field, warm=warm, seconds=5)
    assert (response.status, response.field("content-type")) == (504, "application/problem+json")
    assert seen == {"error": 1, "answered error": 1, f"found {'hit' if warm else 'miss'}": 1}


async def test_a_failure(tmp_path: Path) -> None:
    response, seen = await outcome(tmp_path, [CLOSED])
    assert (response.status, response.field("content-type")) == (502, "application/problem+json")
    assert seen == FAILED


async def test_what_must_be_revalidated_and_can_not_be(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.2.2: 504."""
    answers = [answering("Cache-Control: max-age=1, must-revalidate", TAG), CLOSED]
    response, seen = await outcome(tmp_path, answers, warm=True, seconds=5)
    assert response.status == 504
    assert seen == {"error": 1, "answered error": 1, "found hit": 1, "why expired": 1, "asked": 1}


async def test_what_is_held_is_measured(tmp_path: Path) -> None:
    async with running(tmp_path, answering(SECOND, TAG, "Vary: X-Lang", body=b"x" * 10_000)) as (proxy, _):
        for lang in ("en", "de"):
            await proxy.get("/a", f"X-Lang: {lang}")
        proxy.clock.tick(5)
        await proxy.get("/b")
        await proxy.app._measure()
        assert proxy.metric("stored_entities", resource="all") == 3
        assert proxy.metric("stale_entities", resource="all") == 2
        assert 30_000 < proxy.metric("memory_bytes") < 40_000


async def test_an_invalidation_is_counted(tmp_path: Path) -> None:
    async with running(tmp_path, answering(MINUTE)) as (proxy, _):
        await proxy.get("/a")
        async with proxy.client() as client:
            await client.send_body("PUT", "/a", b"", "Content-Length: 0\r\n")
        assert proxy.metric("invalidations_total", resource="all", source="method") == 1
        await proxy.app._measure()
        assert proxy.metric("stored_entities", resource="all") == 0
