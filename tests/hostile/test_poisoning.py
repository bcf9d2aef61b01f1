"""What one caller sends is never in what another one gets (cache poisoning, CPDoS, deception by path)."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.hostile.reflecting import EVIL, RESOURCES, reflecting
from tests.integration.harness import Client, running

# Fields that applications answer by, and caches leave out of their keys.
UNKEYED = [
    "X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Port",
    "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Host", "X-HTTP-Host-Override", "Forwarded", "X-Original-URL",
    "X-Rewrite-URL", "X-Original-Host", "X-Real-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP",
    "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "Accept", "Accept-Language", "Accept-Charset",
    "Accept-Encoding", "Origin", "Referer", "User-Agent", "Content-Type", "Content-Encoding", "Content-Language",
    "X-Break", "X-Metachar", "Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
    "If-Range", "Cookie", "Authorization", "X-Api-Key", "Proxy-Authorization", "Pragma", "Via", "Max-Forwards", "DNT",
    "Save-Data", "Sec-Fetch-Site", "Sec-CH-UA", "X-Requested-With", "X-CSRF-Token", "X-Amz-Website-Redirect-Location",
    "Access-Control-Request-Headers", "Upgrade-Insecure-Requests", "X-Request-Id", "Early-Data", "Priority", "From",
    "Surrogate-Capability", "CDN-Loop", "X-Tenant", "X-Debug", "Keep-Alive", "TE", "Trailer", "Upgrade", "Warning",
]  # fmt: skip


async def _attacked(client: Client, face: str, entity: str, line: str) -> None:
    if face == "single":
        await client.get(f"/users/{entity}", line)
    elif face == "head":
        await client.request(
            f"HEAD /users/{entity} HTTP/1.1\r\nHost: {EVIL}\r\n{line}\r\n\r\n".encode(), head_only=True
        )
    else:
        await client.post("/users/bulk", json.dumps({"userIds": [entity]}).encode(), line)


@pytest.mark.parametrize("face", ["single", "head", "bulk"])
async def test_no_field_of_one_caller_is_in_what_another_gets(face: str, tmp_path: Path) -> None:
    async with reflecting() as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        for number, name in enumerate(UNKEYED):
            entity = str(number + 1)
            async with proxy.client() as attacker:
                attacker.host = EVIL
                await _attacked(attacker, face, entity, f"{name}: {EVIL}")
            single = await proxy.get(f"/users/{entity}")
            async with proxy.client() as victim:
                bulk = await victim.post("/users/bulk", json.dumps({"userIds": [entity]}).encode())
            for answer in (single, bulk):
                assert answer.status == 200, name
                assert EVIL.encode() not in answer.head + answer.body, name
        # And every fill was the proxy's own: it names the upstream, and nobody else.
        fills = [seen for seen in upstream.seen if EVIL.encode() not in seen.head]
        assert len(fills) >= len(UNKEYED)


async def test_the_poison_would_be_seen(tmp_path: Path) -> None:
    """The upstream does believe what it is sent: where nothing is shared, the attacker gets his own back."""
    async with reflecting() as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        assert EVIL.encode() in (await proxy.get("/elsewhere", f"X-Forwarded-Host: {EVIL}")).body
        assert EVIL.encode() in (await proxy.get("/users/1?x", f"X-Forwarded-Host: {EVIL}")).body
        assert (await proxy.get("/users/1?x", f"X-Break: {EVIL}")).status == 500


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /users/7 HTTP/1.1\r\nHost: a\r\nX-Long: " + b"y" * 60_000 + b"\r\n\r\n",
        b"GET /users/7 HTTP/1.1\r\nHost: a\r\nX-Long: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET /users/7 HTTP/1.1\r\nHost: a\r\nX-Metachar: a\x07b\r\n\r\n",
        b"GET /users/7 HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: DELETE\r\n\r\n",
        b"GET /users/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nevil",
        b"GET /users/7 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n",
        b"HEAD /users/7 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS /users/7 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://evil.example/users/7 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /users/7 HTTP/1.0\r\n\r\n",
        b"GET /users/7 HTTP/1.1\r\nHost: a\r\nConnection: close, host, accept\r\n\r\n",
        b"GET /users/7 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
    ],
)
async def test_a_request_that_is_meant_to_fail_fails_for_nobody_else(
    request_bytes: bytes, tmp_path: Path
) -> None:
    async with reflecting() as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        async with proxy.client() as client:
            await client.request(request_bytes, head_only=request_bytes.startswith(b"HEAD"))
        for _ in range(2):
            victim = await proxy.get("/users/7")
            assert victim.status == 200
            assert (victim.json()["id"], victim.json()["target"]) == ("7", "/users/7")
            assert b"evil" not in victim.head + victim.body


# Other spellings of what is private, or public, for an upstream that takes them for user 7.
DECEPTIONS = [
    "/users/7/", "/users/7/x.css", "/users/7;x.css", "/users/7%3Bx.css", "/users/7%2Fx.css", "/users/7%2fx.css",
    "/users/7?x", "/users/7?x.css", "/users/7?", "/users/7%3Fx.css", "/users/7%23x.css", "/users/7#x.css",
    "/users/7%00.css", "/users/7%0A.css", "/users/7%0d%0aX:y", "/users/7%20", "/users/7+", "/users/7.css",
    "/users/7%2Ecss", "/users/7,x", "/users/7~", "/users/%37", "/users/%2537", "/users/07", "/users/7%2e",
    "//users/7", "/users//7", "/./users/7", "/x/../users/7", "/users/./7", "/users/x/../7", "/users/%2e%2e/users/7",
    "/users/..%2f7", "/users/7/..;/x.css", "/users/7/%2e%2e/7", "/users/7\\x.css", "/users/7%5cx.css", "/Users/7",
    "/USERS/7", "/users%2F7", "/%75sers/7", "/users;x/7", "http://evil/users/7", "HTTP://a/users/7",
    "http://evil/users/7/x.css", "http://evil//users/7", "/users/7:x", "/users/7@x", "/users/7%C0%AF", "/users/7%ff",
    "/users/bulk/7", "/users/7%E2%80%AE", "/users/7%EF%BC%8Fx", "/users/7!", "/users/7|", "/users/7%",
]  # fmt: skip


@pytest.mark.parametrize("first", ["plain", "other"])
async def test_another_spelling_never_shares_an_answer(first: str, tmp_path: Path) -> None:
    async with reflecting() as upstream, running(upstream.url, tmp_path, resources=RESOURCES) as proxy:
        for spelled in DECEPTIONS:
            if first == "plain":
                assert (await proxy.get("/users/7")).json()["target"] == "/users/7"
            else:  # it is invalidated, so that the other one comes first
                async with proxy.client() as client:
                    assert (await client.request(b"PUT /users/7 HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
            answer = await proxy.get(spelled)
            if answer.status == 200:
                # It is what the upstream says to this very target, or to the one that has the same id.
                said = answer.json()["target"]
                path = spelled.partition("://")[2].partition("/")[2] if "://" in spelled else spelled[1:]
                assert said == spelled or (said, unquote(path)) == ("/users/7", "users/7"), spelled
            plain = await proxy.get("/users/7")
            assert (plain.json()["id"], plain.json()["target"]) == ("7", "/users/7"), spelled
        assert {seen.line for seen in upstream.seen if b"\r" in seen.line} == set()
