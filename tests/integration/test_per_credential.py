"""`sharing: per_credential`: each credential sees what the upstream has answered to it, and nothing else."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.integration.credentials import NOBODY, A, B, Guarded, bulk, caller, guarded, single
from tests.integration.harness import PATIENCE, Proxy, Seen

HIT = "handshake-proxy; hit; ttl="
STORED = "handshake-proxy; fwd=uri-miss; stored"


async def test_a_bulk_call_shows_each_credential_its_own(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        for line in (A, B, NOBODY, "Cookie: sid=1", "X-Api-Key: k"):
            for status in (STORED, HIT):
                response = await bulk(proxy, ["1", "2"], line)
                assert [found["who"] for found in response.json()["users"]] == [caller(line)] * 2
                assert response.field("cache-status").startswith(status)
        assert service.calls == [caller(line) for line in (A, B, NOBODY, "Cookie: sid=1", "X-Api-Key: k")]


async def test_a_single_call_and_its_head_show_each_credential_its_own(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        for line in (A, B, NOBODY):
            for method in ("HEAD", "GET"):
                response = await single(proxy, "1", line, method=method)
                assert response.field("etag") == service.etag(caller(line), "1")
                assert response.field("cache-status").startswith(STORED if method == "HEAD" else HIT)
            assert response.json()["who"] == caller(line)
        assert service.calls == [caller(line) for line in (A, B, NOBODY)]


async def test_single_and_bulk_fill_each_other_for_one_credential_alone(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        await single(proxy, "1", A)
        assert (await bulk(proxy, ["1"], A)).field("cache-status").startswith(HIT)
        response = await bulk(proxy, ["1", "2"], B)
        assert [found["who"] for found in response.json()["users"]] == [caller(B)] * 2
        assert (await single(proxy, "2", B)).json()["who"] == caller(B)
        assert service.calls == [caller(A), caller(B)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["Authorization: x"], ["Authorization: X"]),
        (["Authorization: x"], ["Authorization: x", "Authorization: x"]),
        (["Authorization: x", "Authorization: y"], ["Authorization: y", "Authorization: x"]),
        (["Authorization: x", "Authorization: y"], ["Authorization: x, y"]),
        (["Authorization: x y"], ["Authorization: x  y"]),
        (["Authorization: x"], ["Authorization: x\t."]),
        (["Authorization: x"], ["Authorization: "]),
        (["Authorization: "], []),
        (["Authorization: "], ["Cookie: "]),
        (["Authorization: a"], ["Cookie: a"]),
        (["Authorization: a", "Cookie: b"], ["Authorization: b", "Cookie: a"]),
        (["Authorization: é"], ["Authorization: e"]),
        (["Cookie: a=1; b=2"], ["Cookie: a=1", "Cookie: b=2"]),
    ],
)
async def test_what_the_upstream_can_tell_apart_is_apart(
    one: list[str], other: list[str], tmp_path: Path
) -> None:
    async with guarded(tmp_path) as (service, proxy):
        seen = [(await single(proxy, "1", *lines)).json()["who"] for lines in (one, other, one, other)]
        assert seen == service.calls * 2
        assert len(set(seen)) == 2


@pytest.mark.parametrize(
    "same",
    [
        ["AUTHORIZATION: x", "cookie: c"],
        ["Cookie: c", "Authorization: x"],
        ["Authorization:   x  ", "Accept: */*", "Cookie: c"],
    ],
)
async def test_the_same_credential_is_one_however_it_is_spelled(same: list[str], tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        await single(proxy, "1", "Authorization: x", "Cookie: c")
        assert (await single(proxy, "1", *same)).field("cache-status").startswith(HIT)
        assert len(service.calls) == 1


@pytest.mark.parametrize("tag", ["*", "theirs"])
async def test_a_condition_does_not_tell_that_another_has_a_copy(tag: str, tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        theirs = (await single(proxy, "1", A)).field("etag")
        assert (await single(proxy, "1", A, f"If-None-Match: {theirs}")).status == 304
        service.status[caller(B)] = 403
        asked = f"If-None-Match: {theirs if tag == 'theirs' else tag}"
        assert (await single(proxy, "1", B, asked)).status == 403
        del service.status[caller(B)]
        if tag == "theirs":
            assert (await single(proxy, "1", B, asked)).json()["who"] == caller(B)


async def test_only_if_cached_is_about_the_callers_own_copy(tmp_path: Path) -> None:
    only = "Cache-Control: only-if-cached"
    async with guarded(tmp_path) as (service, proxy):
        await single(proxy, "1", A)
        assert (await single(proxy, "1", A, only)).json()["who"] == caller(A)
        for response in (await single(proxy, "1", B, only), await single(proxy, "unknown", B, only)):
            assert (response.status, response.field("cache-status")) == (504, "")
        assert (await bulk(proxy, ["1"], B, only)).status == 504
        assert service.calls == [caller(A)]


async def test_key_fields_and_credentials_select_together(tmp_path: Path) -> None:
    async with guarded(tmp_path, over={"key_headers": ["x-tenant"]}) as (service, proxy):
        asked = [(A, "X-Tenant: 1"), (A, "X-Tenant: 2"), (B, "X-Tenant: 1"), (NOBODY, "X-Tenant: 1"), (A, "")]
        for lines in asked * 2:
            assert (await single(proxy, "1", *lines)).json()["who"] == caller(lines[0])
        assert [(call, dict(seen.fields).get(b"X-Tenant", b"")) for call, seen in _seen(service)] == [
            (caller(line), tenant.removeprefix("X-Tenant: ").encode()) for line, tenant in asked
        ]


async def test_a_credential_that_is_a_key_field_too_is_sent_once(tmp_path: Path) -> None:
    async with guarded(tmp_path, over={"key_headers": ["authorization"]}) as (service, proxy):
        for line in (A, B, A, B):
            assert (await single(proxy, "1", line)).json()["who"] == caller(line)
        assert service.calls == [caller(A), caller(B)]


async def test_the_upstreams_own_credential_is_for_the_handshake_alone(tmp_path: Path) -> None:
    """And the caller's for the caller: neither is ever sent, or shown, in place of the other."""
    token = tmp_path / "token"
    token.write_text("own")
    async with guarded(tmp_path, upstream={"credential_file": str(token)}) as (service, proxy):
        own = caller("Authorization: Bearer own")
        assert (await _ensured(proxy, "1"))["who"] == own
        for line in (A, NOBODY, "Cookie: c"):
            assert (await bulk(proxy, ["1"], line)).json()["users"][0]["who"] == caller(line)
            assert (await single(proxy, "1", line)).json()["who"] == caller(line)
        proxy.clock.tick(1)
        assert (await _ensured(proxy, "1"))["who"] == own
        assert service.calls == [own, caller(A), caller(NOBODY), caller("Cookie: c")]


async def test_the_row_is_for_the_handshake_and_for_who_has_no_credential(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        await single(proxy, "1", A)
        await bulk(proxy, ["1", "2"], B)
        await proxy.durable()
        assert _rows(tmp_path) == []
        assert (await _ensured(proxy, "1"))["who"] == caller(NOBODY)
        assert (await single(proxy, "1")).field("cache-status").startswith(HIT)
        assert [entity for entity, _ in _rows(tmp_path)] == ["1"]
        assert service.calls == [caller(A), caller(B), caller(NOBODY)]
        token = "Authorization: Bearer of-the-handshake"
        async with proxy.client("handshake") as client:
            assert (await client.call("POST", "/v1/users/refresh", {"userId": "2"}, token)).status == 200
        assert service.calls[-1] == caller(NOBODY)


async def test_a_herd_of_two_credentials_is_two_fetches(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        service.held_back = {caller(A), caller(B)}
        herd = [asyncio.create_task(single(proxy, "1", line)) for line in (A, B) * 10]
        herd += [asyncio.create_task(bulk(proxy, ["1", "2"], line)) for line in (A, B) * 10]
        async with asyncio.timeout(PATIENCE):  # all but the first for each entity and credential have joined
            while proxy.metric("coalesced_ids_total") < 2 * (10 + 20) - 4:
                await asyncio.sleep(0)
        service.gate.set()
        answers = await asyncio.gather(*herd)
        for place, answer in enumerate(answers):
            document = answer.json()
            found = document.get("users", [document])
            assert {each["who"] for each in found} == {caller((A, B)[place % 2])}
        assert max(service.calls.count(caller(line)) for line in (A, B)) <= 2


@pytest.mark.parametrize(
    ("field", "is_stored"),
    [
        (b"Vary: Authorization, Cookie", True),
        (b"Vary: Accept-Language", False),
        (b"Vary: *", False),
        (b"Cache-Control: private", False),
        (b"Cache-Control: no-store", False),
        (b"Set-Cookie: sid=1", False),
    ],
)
async def test_what_the_origin_says_of_storing_goes(field: bytes, is_stored: bool, tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        service.fields = field + b"\r\n"
        for line in (A, B):
            responses = [await single(proxy, "1", line) for _ in range(2)]
            assert [response.json()["who"] for response in responses] == [caller(line)] * 2
            assert ("hit" in responses[1].field("cache-status")) is is_stored


async def test_a_credential_is_no_reason_to_bypass_nor_to_warn(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with guarded(tmp_path) as (_, proxy):
            await bulk(proxy, ["1"], A)
            assert (await bulk(proxy, ["1"], A)).field("cache-status").startswith(HIT)
            assert (await single(proxy, "1", A, "Cache-Control: no-store")).json()["who"] == caller(A)
            assert proxy.metric("misses_total", reason="bypass_credential") == 0
    assert not [line for line in logs if line["event"] == "credential_bypass"]
    assert all("Bearer" not in str(line) for line in logs)


def _seen(service: Guarded) -> list[tuple[str, Seen]]:
    return list(zip(service.calls, service.upstream.seen, strict=True))


async def _ensured(proxy: Proxy, entity: str) -> dict[str, Any]:
    """What the handshake API shows of an entity's data."""
    response = await proxy.call("POST", "/v1/users/ensure?include=data", {"userId": entity})
    assert response.status == 200
    data: dict[str, Any] = response.json()["data"]
    return data


def _rows(directory: Path) -> list[tuple[str, bytes]]:
    with sqlite3.connect(directory / "handshake.db") as database:
        return database.execute("SELECT user_id, item FROM users WHERE item IS NOT NULL").fetchall()
