"""Everything that a caller may say to the four listeners, right and wrong, with persons and secrets in all of it."""

import asyncio
import json
from collections.abc import Awaitable
from urllib.parse import quote

from tests.integration.harness import PATIENCE, Reachable, Response
from tests.persons.planted import (
    AUTHORIZATION,
    BUSINESS,
    COOKIE,
    DEPARTMENT,
    EMAIL,
    HANDSHAKE,
    NAME,
    QUERY,
    SECRETS,
    USER,
)

BULK = "/main/api/v3/users/bulk"
_PATH = quote(USER, safe="")
_TOKEN = SECRETS.values["client token"]
_LOCAL = "Host: localhost\r\n"

MALFORMED = tuple(
    text.encode()
    for text in (
        f"{USER}\r\n\r\n",
        f"GET /{EMAIL} {USER} HTTP/1.1\r\n\r\n",
        f"GET /users/{_PATH} HTTP/9.9\r\nHost: a\r\n\r\n",
        f"GET /users/{USER}\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: a\r\n{EMAIL}: {_TOKEN}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: a\r\nX {USER}: b\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {EMAIL}\r\nHost: {USER}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: a\r\nX: {USER}\r\n {_TOKEN}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: a\r\nX: {USER}{'x' * 70_000}\r\n\r\n",
        f"GET /{USER.replace(' ', '')}{'x' * 70_000} HTTP/1.1\r\nHost: a\r\n\r\n",
        f"POST {BULK} HTTP/1.1\r\nHost: a\r\nContent-Length: {EMAIL}\r\n\r\n{USER}",
        f"POST {BULK} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {USER}\r\n\r\n{EMAIL}",
        f"POST {BULK} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{EMAIL}\r\n{USER}\r\n",
        f"POST {BULK} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + json.dumps({"userIds": [USER]}),
        f"CONNECT {QUERY}:443 HTTP/1.1\r\nHost: {QUERY}\r\nProxy-Authorization: Basic {_TOKEN}\r\n\r\n",
        f"GET http://{QUERY}/{EMAIL} HTTP/1.1\r\nHost: a\r\n{AUTHORIZATION}\r\n\r\n",
        f"POST /v1/users/ensure HTTP/1.1\r\nHost: {QUERY}\r\n{HANDSHAKE}\r\nContent-Length: 0\r\n\r\n",
        f"POST /v1/login HTTP/1.1\r\n{_LOCAL}Origin: https://{QUERY}\r\n{HANDSHAKE}\r\nContent-Length: 0\r\n\r\n",
        f"GET /v1/users/{_PATH} HTTP/1.1\r\n{_LOCAL}Authorization: Bearer {_TOKEN}\r\n\r\n",
        f"GET /v1/users/{_PATH}?{QUERY}={EMAIL} HTTP/1.1\r\n{_LOCAL}{HANDSHAKE}\r\n\r\n",
        f"GET /{_PATH}?{QUERY} HTTP/1.1\r\n{_LOCAL}{AUTHORIZATION}\r\n{COOKIE}\r\nUser-Agent: {EMAIL}\r\n\r\n",
    )
)
LISTENERS = ("upstreams.main", "handshake", "ops", "webhooks")


async def _answer(call: Awaitable[Response]) -> Response:
    """An answer, or what there is of one that is cut because the owner's was."""
    try:
        return await call
    except asyncio.IncompleteReadError as cut:
        return Response(b"HTTP/1.1 200 cut\r\n", cut.partial)


async def transparent(proxy: Reachable) -> list[Response]:
    """Calls of the transparent listener, by bulk, singly and past both."""
    fresh = "Cache-Control: no-cache"
    calls = []
    for fields in (
        (),
        (AUTHORIZATION, COOKIE),
        (fresh, f"X-Trace: {USER}"),
        (f"Referer: http://a/?{QUERY}",),
    ):
        async with proxy.client() as client:
            calls.append(await _answer(client.post(BULK, json.dumps({"userIds": [USER]}).encode(), *fields)))
        async with proxy.client() as client:
            calls.append(await _answer(client.get(f"/users/{_PATH}", *fields)))
        async with proxy.client() as client:
            calls.append(await _answer(client.get(f"/other/{_PATH}?{QUERY}={quote(EMAIL)}", *fields)))
    async with proxy.client() as client:
        body = json.dumps({"userIds": [USER, USER], "x": EMAIL}).encode()
        calls.append(await _answer(client.post(BULK, body)))
    return calls


async def handshake(proxy: Reachable) -> list[Response]:
    """Calls of the handshake API, those that are refused too."""
    said: list[tuple[str, str, object]] = [
        ("POST", "/v1/login", {"userId": USER, "businessId": BUSINESS}),
        ("POST", "/v1/users/ensure", {"userId": USER}),
        ("POST", "/v1/users/ensure-batch", {"userIds": [USER, EMAIL]}),
        ("POST", "/v1/users/exists", {"userId": USER}),
        ("POST", "/v1/users/synced", {"userId": USER}),
        ("POST", "/v1/users/refresh", {"userId": USER}),
        ("POST", "/v1/users/explain", {"userId": USER}),
        ("POST", "/v1/businesses/ensure", {"businessId": BUSINESS}),
        ("POST", "/v1/users/ensure", {"userId": [EMAIL], NAME: USER}),
        ("POST", "/v1/users/ensure", {"userId": USER * 100}),
        ("POST", "/v1/login", {EMAIL: USER}),
        ("POST", f"/v1/{_PATH}/ensure", {"userId": USER}),
        ("GET", f"/v1/users/stale?hours={quote(EMAIL)}&cursor={_PATH}", None),
        ("GET", f"/v1/users/{_PATH}", None),
        ("PATCH", f"/v1/users/{_PATH}", {"departmentId": DEPARTMENT}),
        ("DELETE", f"/v1/users/{_PATH}", None),
    ]
    answers = [await proxy.call(method, target, document, HANDSHAKE) for method, target, document in said]
    answers.append(await proxy.call("POST", "/v1/users/ensure", {"userId": USER}, AUTHORIZATION))
    async with proxy.client("handshake") as client:
        bodies = (f'{{"userId": "{USER}', f'{{"userId": "{EMAIL}"}} {USER}', '{"userId": "\\ud800')
        answers += [await client.post("/v1/users/ensure", body.encode(), HANDSHAKE) for body in bodies]
    return answers


async def malformed(proxy: Reachable) -> list[bytes]:
    """All that came back to what is no proper request, to each listener."""

    async def one(listener: str, data: bytes) -> bytes:
        async with proxy.client(listener) as client:
            try:
                await client.send(data)
                client.writer.write_eof()
            except OSError:  # refused before it was all sent
                pass
            return await client.ended()

    return [await one(listener, data) for listener in LISTENERS for data in MALFORMED]


async def gone_before_the_answer(proxy: Reachable) -> None:
    """A caller that asks and goes away."""
    async with proxy.client() as client:
        await client.send(
            f"GET /other/{_PATH}?{QUERY} HTTP/1.1\r\nHost: a\r\n{AUTHORIZATION}\r\n\r\n".encode()
        )


async def measured(proxy: Reachable) -> list[Response]:
    """What the operator's listener and the Inspector show of all that."""
    async with asyncio.timeout(PATIENCE), proxy.client("ops") as ops:
        targets = ("/metrics", "/livez", "/readyz", "/startupz", f"/{_PATH}")
        answers = [await ops.get(target) for target in targets]
        answers.append(await ops.get("/metrics", "Accept: application/openmetrics-text; version=1.0.0"))
    return answers
