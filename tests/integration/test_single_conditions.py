"""Conditions, directives and credentials on the single face, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import Proxy, ScriptedUpstream, Seen, running

ITEM = b'{"id":"1"}'
LONG_AGO = formatdate(1_600_000_000, usegmt=True)


class Origin:
    """One user with validators, who may change."""

    def __init__(self, *fields: str) -> None:
        self.fields = list(fields)
        self.etag = '"1"'
        self.upstream = ScriptedUpstream(self.script)

    async def script(self, seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = {name.lower(): value for name, value in seen.fields}
        lines = "".join(f"{field}\r\n" for field in (*self.fields, f"ETag: {self.etag}")).encode()
        if asked.get(b"if-none-match") == self.etag.encode():
            writer.write(b"HTTP/1.1 304 Not Modified\r\n" + lines + b"\r\n")
        else:
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Own: 1\r\n" % len(ITEM)
            writer.write(head + lines + b"\r\n" + ITEM)


@asynccontextmanager
async def before(
    origin: Origin, directory: Path, **user: Any
) -> AsyncIterator[tuple[ScriptedUpstream, Proxy]]:
    resource = {"id": "/id", "single": {"path": "/users/{id}"}} | user
    async with (
        origin.upstream as upstream,
        running(upstream.url, directory, resources={"user": resource}) as proxy,
    ):
        yield upstream, proxy


async def test_a_stale_copy_is_validated(tmp_path: Path) -> None:
    """RFC 9111 section 4.3; RFC 9211 section 2.2."""
    origin = Origin("Cache-Control: max-age=60")
    async with before(origin, tmp_path) as (upstream, proxy):
        await proxy.get("/users/1")
        await proxy.durable()
        proxy.clock.tick(61)
        origin.fields.append("X-New: 1")
        response = await proxy.get("/users/1")
        assert (response.status, response.body) == (200, ITEM)
        assert response.field("cache-status") == "handshake-proxy; fwd=stale; fwd-status=304"
        assert (response.field("x-own"), response.field("x-new"), response.field("age")) == ("1", "1", "")
        assert dict(upstream.seen[1].fields)[b"If-None-Match"] == b'"1"'
        assert proxy.metric("requests_total", cache="revalidated") == 1
        proxy.clock.tick(30)
        again = await proxy.get("/users/1")
        assert (again.field("cache-status"), again.field("age")) == ("handshake-proxy; hit; ttl=30", "30")
        proxy.clock.tick(31)
        origin.etag = '"2"'
        assert (await proxy.get("/users/1")).field("cache-status") == "handshake-proxy; fwd=stale; stored"


@pytest.mark.parametrize("storage", ["database", "memory"])
async def test_what_must_be_revalidated_keeps_its_validator(storage: str, tmp_path: Path) -> None:
    """RFC 9111 section 5.2.2.2."""
    origin = Origin("Cache-Control: max-age=60, must-revalidate")
    async with before(origin, tmp_path, storage=storage) as (upstream, proxy):
        await proxy.get("/users/1")
        proxy.clock.tick(61)
        assert "fwd-status=304" in (await proxy.get("/users/1")).field("cache-status")
        proxy.clock.tick(61)
        await upstream.stop()
        assert (await proxy.get("/users/1")).status == 502


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ('If-None-Match: "1"', 304),
        ('If-None-Match: W/"1", "2"', 304),
        ('If-None-Match: "2"', 200),
        ("If-None-Match: *", 304),
        (f"If-Modified-Since: {LONG_AGO}", 304),
        ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ("If-Modified-Since: yesterday", 200),
    ],
)
async def test_a_client_may_ask_whether_its_own_copy_is_good(field: str, status: int, tmp_path: Path) -> None:
    """RFC 9111 section 4.3.2; RFC 9110 section 15.4.5."""
    origin = Origin(f"Last-Modified: {LONG_AGO}", "Vary: Origin")
    async with before(origin, tmp_path) as (upstream, proxy):
        for method in ("GET", "HEAD"):
            for _ in range(2):  # once as a miss, then as hits
                async with proxy.client() as client:
                    request = f"{method} /users/1 HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n".encode()
                    response = await client.request(request, head_only=method == "HEAD")
                    assert response.status == status
                    if status == 304:
                        names = {name.lower() for name, _ in response.fields}
                        assert {b"etag", b"date", b"vary", b"cache-status"} <= names
                        assert not {b"content-length", b"x-own"} & names
                    # The connection is as it was: nothing of a body was left on it.
                    assert (await client.get("/users/1")).body == ITEM
        assert len(upstream.seen) == 1
        assert not any(name.lower().startswith(b"if-") for name, _ in upstream.seen[0].fields)


@pytest.mark.parametrize("field", ['If-Match: "1"', f"If-Unmodified-Since: {LONG_AGO}"])
async def test_other_conditions_are_for_the_origin(field: str, tmp_path: Path) -> None:
    """RFC 9110 section 13.2.1."""
    origin = Origin()
    async with before(origin, tmp_path) as (upstream, proxy):
        await proxy.get("/users/1")
        response = await proxy.get("/users/1", field)
        assert response.field("cache-status") == "handshake-proxy; fwd=bypass; detail=shape"
        assert field.encode() in upstream.seen[1].head


@pytest.mark.parametrize(
    ("age", "directive", "status"),
    [
        (10, "max-age=5", "fwd=request; fwd-status=304"),
        (10, "max-age=20", "hit; ttl=50"),
        (50, "min-fresh=20", "fwd=request; fwd-status=304"),
        (50, "min-fresh=5", "hit; ttl=10"),
        (70, "max-stale=5", "fwd=stale; fwd-status=304"),
        (70, "max-stale=20", "hit; ttl=-10"),
        (70, "max-stale", "hit; ttl=-10"),
        (70, "", "fwd=stale; fwd-status=304"),
        (10, "only-if-cached", "hit; ttl=50"),
        (10, "no-cache", "fwd=request; fwd-status=304"),
        (10, "max-age=0", "fwd=request; fwd-status=304"),
    ],
)
async def test_the_directives_of_a_request(age: int, directive: str, status: str, tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1."""
    origin = Origin("Cache-Control: max-age=60")
    async with before(origin, tmp_path) as (_, proxy):
        await proxy.get("/users/1")
        proxy.clock.tick(age)
        response = await proxy.get("/users/1", f"Cache-Control: {directive}")
        assert response.field("cache-status") == f"handshake-proxy; {status}"


async def test_a_bulk_of_one_says_that_its_copy_was_validated(tmp_path: Path) -> None:
    """RFC 9211 section 2.2."""
    origin = Origin("Cache-Control: max-age=60")
    bulk = {"path": "/main/api/v3/users/bulk", "ids": "/userIds", "items": "/users"}
    async with before(origin, tmp_path, bulk=bulk) as (_, proxy):
        await proxy.get("/users/1")
        proxy.clock.tick(61)
        response = await proxy.users("1")
        assert response.field("cache-status") == "handshake-proxy; fwd=stale; fwd-status=304"
        assert proxy.metric("requests_total", cache="revalidated", route="user.bulk") == 1


@pytest.mark.parametrize("field", ["Cache-Control: no-store, only-if-cached", "Authorization: a"])
async def test_only_if_cached_never_reaches_the_upstream(field: str, tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1.7."""
    origin = Origin()
    async with before(origin, tmp_path) as (upstream, proxy):
        assert (await proxy.get("/users/1", field, "Cache-Control: only-if-cached")).status == 504
        assert not upstream.seen


async def test_only_if_cached_without_a_copy_is_504(tmp_path: Path) -> None:
    """RFC 9111 section 5.2.1.7."""
    origin = Origin()
    async with before(origin, tmp_path) as (upstream, proxy):
        response = await proxy.get("/users/1", "Cache-Control: only-if-cached")
        assert (response.status, response.field("content-type")) == (504, "application/problem+json")
        assert not response.field("cache-status")
        assert not upstream.seen


async def test_the_age_that_an_answer_came_with_counts(tmp_path: Path) -> None:
    """RFC 9111 sections 4.2.3 and 5.1."""
    origin = Origin("Cache-Control: max-age=60", "Age: 20")
    async with before(origin, tmp_path) as (_, proxy):
        assert (await proxy.get("/users/1")).field("age") == "20"
        proxy.clock.tick(10)
        response = await proxy.get("/users/1")
        assert (response.field("age"), response.field("cache-status")) == (
            "30",
            "handshake-proxy; hit; ttl=30",
        )


@pytest.mark.parametrize("directive", ["public", "must-revalidate", "s-maxage=60"])
async def test_a_credential_sees_what_the_origin_lets_be_shared(directive: str, tmp_path: Path) -> None:
    """RFC 9111 section 3.5."""
    origin = Origin(f"Cache-Control: {directive}")
    async with before(origin, tmp_path) as (upstream, proxy):
        credential = "Authorization: Bearer s"
        # Nothing is held: the request goes through, and what it brings is its own.
        first = await proxy.get("/users/1", credential)
        assert first.field("cache-status") == "handshake-proxy; fwd=bypass; detail=credential"
        assert "fwd=uri-miss" in (await proxy.get("/users/1")).field("cache-status")
        assert "hit" in (await proxy.get("/users/1", credential)).field("cache-status")
        assert [b"Authorization" in dict(seen.fields) for seen in upstream.seen] == [True, False]
