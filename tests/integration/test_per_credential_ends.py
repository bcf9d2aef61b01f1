"""`sharing: per_credential`: how a credential's copies end, and what they may be used for until then."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, FunctionType, ModuleType

import pytest

from tests.integration.credentials import NOBODY, A, B, bulk, caller, copies, guarded, single, user
from tests.integration.harness import PATIENCE, running

LONG = {"stale_while_revalidate": "30d", "stale_if_error": "90d"}
STORED = "handshake-proxy; fwd=uri-miss; stored"
SECRET = "a-token-that-nobody-keeps"


@pytest.mark.parametrize("origin", ["honour", "ignore"])
@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Cache-Control: max-age=3600, stale-while-revalidate=3600, stale-if-error=3600\r\n",
        b"Cache-Control: public, max-age=10, stale-if-error=3600\r\n",
        b"Cache-Control: s-maxage=3600\r\nAge: 1000\r\n",
    ],
)
async def test_the_upstreams_answer_counts_for_ttl_and_no_longer(
    fields: bytes, origin: str, tmp_path: Path
) -> None:
    """Whatever the origin, the operator or the request says of stale use."""
    async with guarded(tmp_path, LONG | {"origin": origin}) as (service, proxy):
        service.fields = fields
        for line in (A, B):
            await single(proxy, "1", line)
            await bulk(proxy, ["2"], line)
        service.status = {caller(A): 503, caller(B): 503}
        for seconds, is_there in ((59, True), (1, False)):
            proxy.clock.tick(seconds)
            for lines in ((A,), (B, "Cache-Control: max-stale")):
                for response in (await single(proxy, "1", *lines), await bulk(proxy, ["2"], *lines)):
                    assert (response.status == 200) is is_there


async def test_while_the_upstream_fails_a_stale_copy_serves_its_own_credential(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as (service, proxy):
        service.fields = b"Cache-Control: max-age=10\r\n"
        await single(proxy, "1", A)
        service.status = {caller(line): 503 for line in (A, B, NOBODY)}
        proxy.clock.tick(30)
        stale = await single(proxy, "1", A)
        assert (stale.json()["who"], stale.field("age")) == (caller(A), "30")
        for line in (B, NOBODY):
            assert (await single(proxy, "1", line)).status == 503
            assert (await bulk(proxy, ["1"], line)).status == 503


@pytest.mark.parametrize("status", [401, 403, 302])
async def test_a_refusal_takes_the_copies_of_what_was_asked(status: int, tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as (service, proxy):
        for line in (A, B):
            await bulk(proxy, ["1", "2"], line)
            await single(proxy, "3", line)
        service.status[caller(A)] = status
        again = "Cache-Control: no-cache"
        assert (await bulk(proxy, ["1"], A, again)).status == status
        assert (await single(proxy, "3", A, again)).status == status
        service.status[caller(A)] = 503
        proxy.clock.tick(1)  # back-off is for what there is a copy of
        assert (await bulk(proxy, ["1"], A)).status == 503
        assert (await single(proxy, "3", A)).status == 503
        assert (await single(proxy, "2", A)).json()["who"] == caller(A)  # nobody has asked about it
        for entity in "13":
            assert (await single(proxy, entity, B)).json()["who"] == caller(B)


async def test_a_refused_refresh_behind_an_answer_takes_the_copy(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as (service, proxy):
        service.fields = b"Cache-Control: max-age=10, stale-while-revalidate=40\r\n"
        await single(proxy, "1", A)
        proxy.clock.tick(20)
        service.status[caller(A)] = 403
        assert (await single(proxy, "1", A)).status == 200  # at once, and asked for again behind it
        async with asyncio.timeout(PATIENCE):
            while copies(proxy):
                await asyncio.sleep(0)
        assert (await single(proxy, "1", A)).status == 403


async def test_another_status_takes_nothing(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG) as (service, proxy):
        await single(proxy, "1", A)
        service.status[caller(A)] = 400
        assert (await single(proxy, "1", A, "Cache-Control: no-cache")).status == 400
        assert (await single(proxy, "1", A)).status == 200


async def test_an_absence_is_one_credentials_own(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        service.hidden = {(caller(A), "1"), (caller(A), "2")}
        for _ in range(2):
            assert (await single(proxy, "1", A)).status == 404
            assert (await bulk(proxy, ["2", "3"], A)).json()["count"] == 1
            assert (await single(proxy, "1", B)).json()["who"] == caller(B)
            assert (await bulk(proxy, ["2", "3"], B)).json()["count"] == 2
        assert len(service.calls) == 4
        service.hidden.clear()
        proxy.clock.tick(10)  # `negative_ttl`
        assert (await single(proxy, "1", A)).json()["who"] == caller(A)


async def test_no_absence_outlives_ttl(tmp_path: Path) -> None:
    async with guarded(tmp_path, {"ttl": "5s", "negative_ttl": "1h"}) as (service, proxy):
        service.fields = b"Cache-Control: max-age=3600\r\n"
        service.hidden = {(caller(A), "1")}
        for seconds, calls in ((0, 1), (4, 1), (1, 2)):
            proxy.clock.tick(seconds)
            assert (await bulk(proxy, ["1"], A)).json()["count"] == 0
            assert len(service.calls) == calls


async def test_who_asks_too_often_takes_the_upstream_from_nobody_else(tmp_path: Path) -> None:
    async with guarded(tmp_path, {"stale_while_revalidate": "0s"}) as (service, proxy):
        await single(proxy, "old")
        proxy.clock.tick(60)
        service.status[caller(A)] = 429
        for number in range(6):
            assert (await single(proxy, str(number), A)).status == 429
            assert (await bulk(proxy, [str(number)], A)).status == 429
        assert proxy.metric("upstream_errors_total", reason="status") == 12
        assert (await single(proxy, "1", B)).json()["who"] == caller(B)
        assert (await proxy.call("POST", "/v1/users/ensure", {"userId": "1"})).status == 200
        assert "fwd=stale" in (await single(proxy, "old")).field("cache-status")  # and it is not left alone


async def test_what_ends_while_the_upstream_is_waited_for_is_not_shown(tmp_path: Path) -> None:
    """A bulk that one copy was to answer in part goes to the upstream whole."""
    async with guarded(tmp_path, LONG) as (service, proxy):
        for entity in "1", "3":
            await single(proxy, entity, A)
        service.held_back = {caller(A)}
        for ids, seconds, is_passed_on in (("12", 59, False), ("34", 1, True)):
            calls = len(service.calls)
            waiting = asyncio.create_task(bulk(proxy, list(ids), A))
            async with asyncio.timeout(PATIENCE):
                while len(service.calls) == calls:
                    await asyncio.sleep(0)
            proxy.clock.tick(seconds)
            service.gate.set()
            response = await waiting
            assert response.status == 200
            assert ("fwd=bypass" in response.field("cache-status")) is is_passed_on
            assert response.field("age") == ("" if is_passed_on else "59")
            service.gate.clear()


async def test_a_copy_that_ends_while_it_is_revalidated_is_no_way_out(tmp_path: Path) -> None:
    async with guarded(tmp_path, LONG | {"revalidate_timeout": "200ms"}) as (service, proxy):
        await single(proxy, "1", A)
        proxy.clock.tick(59)
        service.held_back = {caller(A)}
        calls = len(service.calls)
        waiting = asyncio.create_task(single(proxy, "1", A, "Cache-Control: no-cache"))
        async with asyncio.timeout(PATIENCE):
            while len(service.calls) == calls:
                await asyncio.sleep(0)
        proxy.clock.tick(1)
        assert (await waiting).status == 504
        service.gate.set()


@pytest.mark.parametrize("writer", [A, B, NOBODY])
async def test_a_change_by_anybody_drops_everybodys_copies(writer: str, tmp_path: Path) -> None:
    async with guarded(tmp_path) as (_, proxy):
        for line in (A, B, NOBODY):
            await bulk(proxy, ["1", "2"], line)
        assert (await single(proxy, "1", writer, method="PATCH")).status == 200
        for line in (A, B, NOBODY):
            response = await single(proxy, "1", line)
            assert (response.json()["v"], response.field("cache-status")) == (1, STORED)
            assert "hit" in (await single(proxy, "2", line)).field("cache-status")


async def test_what_was_asked_for_before_a_change_is_not_kept(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        service.held_back = {caller(A)}
        early = asyncio.create_task(single(proxy, "1", A))
        async with asyncio.timeout(PATIENCE):
            while not service.calls:
                await asyncio.sleep(0)
        assert (await single(proxy, "1", B, method="DELETE")).status == 200
        service.gate.set()
        assert (await early).status == 200
        assert (await single(proxy, "1", A)).field("cache-status") == STORED


async def test_an_erasure_drops_everybodys_copies(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        for line in (A, B):
            await single(proxy, "1", line)
        ensured = (await proxy.call("POST", "/v1/users/ensure", {"userId": "1"})).json()
        assert (await proxy.call("DELETE", f"/v1/users/{ensured['id']}")).status == 200
        service.status = {caller(A): 503, caller(B): 503}
        for line in (A, B):
            assert (await single(proxy, "1", line)).status == 503


async def test_a_restart_forgets_all_but_the_row(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (service, proxy):
        for line in (A, B, NOBODY):
            await single(proxy, "1", line)
        await proxy.durable()
        url = service.upstream.url
        # One process at a time has the database: this one leaves it first.
        await proxy.app.stop()
        async with running(url, tmp_path, resources=user()) as again:
            for line in (A, B):
                assert (await single(again, "1", line)).field("cache-status") == STORED
            assert "hit" in (await single(again, "1")).field("cache-status")


async def test_another_key_forgets_every_credentials_copies_at_once(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("the first key of all\n")
    async with guarded(tmp_path, sharing={"key_file": str(key)}) as (_, proxy):
        for content, is_kept in (
            ("the first key of all\n", True),  # written again, and the same
            ("the second key of all\n", False),
            ("the first key of all\n", False),  # what was forgotten stays so
            ("too short\n", True),  # no key: the last good one goes on
        ):
            for line in (A, B):
                await single(proxy, "1", line)
            key.write_text(content)
            for line in (A, B):
                assert ("hit" in (await single(proxy, "1", line)).field("cache-status")) is is_kept


async def test_copies_count_in_the_bound_of_memory(tmp_path: Path) -> None:
    async with guarded(tmp_path, memory={"max_bytes": "64KiB"}) as (_, proxy):
        async with proxy.client() as client:
            for number in range(100):
                assert (await client.get("/users/1", f"Authorization: {number}")).status == 200
        assert 0 < proxy.app._storage.tiers.memory.bytes <= 64 * 1024
        assert 0 < copies(proxy) == 100 - proxy.metric("evictions_total", reason="size") < 100
        assert (
            (await single(proxy, "1", "Authorization: 99"))
            .field("cache-status")
            .startswith("handshake-proxy; hit")
        )
        assert (await single(proxy, "1", "Authorization: 0")).json()["who"] == caller("Authorization: 0")


async def test_no_credential_is_kept(tmp_path: Path) -> None:
    """Not when it was answered, nor when it was refused, a refresh behind an answer included."""
    line = f"Authorization: Bearer {SECRET}"
    async with guarded(tmp_path, LONG) as (service, proxy):
        service.fields = b"Cache-Control: max-age=10, stale-while-revalidate=40\r\n"
        service.names_callers = False
        await single(proxy, "1", line)
        await bulk(proxy, ["1", "2"], line)
        proxy.clock.tick(20)
        service.status[caller(line)] = 403
        assert (await single(proxy, "1", line)).status == 200
        async with asyncio.timeout(PATIENCE):
            while copies(proxy) > 1:
                await asyncio.sleep(0)
        assert (await single(proxy, "1", line)).status == 403
        await proxy.quiet()
        assert copies(proxy) == 1
        assert _holders(proxy.app, SECRET) == []


def _holders(root: object, secret: str) -> list[str]:
    """Types of the objects below `root` that refer to a text or bytes with the secret in it. Code is not data."""
    return [type(holder).__name__ for holder, held in _below(root) if _is_secret(held, secret)]


def _below(root: object) -> Iterator[tuple[object, object]]:
    # What the loop has is everybody's, the test's own included.
    beyond = type | ModuleType | FunctionType | FrameType | asyncio.AbstractEventLoop | str | bytes
    known, left = {id(root)}, [root]
    while left:
        holder = left.pop()
        for held in gc.get_referents(holder):
            yield holder, held
            if id(held) not in known and not isinstance(held, beyond):
                known.add(id(held))
                left.append(held)


def _is_secret(held: object, secret: str) -> bool:
    return (isinstance(held, str) and secret in held) or (
        isinstance(held, bytes | bytearray) and secret.encode() in held
    )
