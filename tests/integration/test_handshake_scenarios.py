"""The scenarios that the user's document lists under "Testing Strategy", under its names, over real sockets and a real
SQLite."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.integration.handshake import BUSINESS, USER, Handshake, handshake, held, internal_id, user_item


def fetched(there: Handshake, entity: str) -> int:
    return there.services.fetched[entity]


async def test_user_exists_locally_return_existing_user(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        first = await there.ensure()
        assert await there.ensure() == first
        assert fetched(there, USER) == 1
        async with there.restarted() as again:
            assert await again.ensure() == first
            assert fetched(again, USER) == 1


async def test_user_not_found_locally_fetch_from_external_service(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        assert user == {
            "id": internal_id(USER),
            "userId": USER,
            "name": f"Name of {USER}",
            "email": f"{USER}@example.org",
            "phone": "+977 1 5550100",
            "avatar": None,
            "kahaId": "K-1",
            "departmentId": None,
            "isFieldWorker": None,
            "lastSyncedAt": "2027-01-15T08:00:00.000Z",
            "version": 1,
        }
        assert fetched(there, USER) == 1


async def test_user_not_found_in_external_service_throw_not_found(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        response = await there.call("POST", "/v1/users/ensure", {"userId": "nobody"})
        assert (response.status, response.field("content-type")) == (404, "application/problem+json")
        assert response.json()["errors"] == [{"pointer": "#/userId", "detail": "was not found"}]
        assert b"nobody" not in response.body


async def test_business_exists_return_business_data(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        expected = {
            "id": internal_id(BUSINESS, "business"),
            "businessId": BUSINESS,
            "name": "Acme",
            "address": "1 Road",
            "avatar": None,
            "kahaId": None,
            "lastSyncedAt": "2027-01-15T08:00:00.000Z",
            "version": 1,
        }
        for _ in range(2):
            assert await there.ok("POST", "/v1/businesses/ensure", {"businessId": BUSINESS}) == expected
        assert fetched(there, BUSINESS) == 1


async def test_business_not_found_throw_not_found(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        response = await there.call("POST", "/v1/businesses/ensure", {"businessId": "nobody"})
        assert response.status == 404
        assert response.json()["errors"][0]["pointer"] == "#/businessId"


async def test_complete_login_handshake_success_scenario(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        answer = (await there.login()).json()
        assert answer.keys() == {"user", "business", "source"}
        assert answer["source"] == {"user": "miss", "business": "miss"}
        assert (answer["user"]["userId"], answer["business"]["businessId"]) == (USER, BUSINESS)
        assert answer["user"] == await there.ensure()


async def test_local_existence_check_true_and_false_scenarios(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        unknown = {"exists": False, "id": None, "lastSyncedAt": None}
        assert await there.ok("POST", "/v1/users/exists", {"userId": USER}) == unknown
        assert not there.services.calls
        user = await there.ensure()
        known = {"exists": True, "id": user["id"], "lastSyncedAt": user["lastSyncedAt"]}
        assert await there.ok("POST", "/v1/users/exists", {"userId": USER}) == known
        async with there.restarted() as again:
            await again.services.stop()
            assert await again.ok("POST", "/v1/users/exists", {"userId": USER}) == known


async def test_sync_timestamp_update_verify_timestamp_changed(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        before = await there.ensure()
        there.tick(3600)
        response = await there.call("POST", "/v1/users/synced", {"userId": USER})
        assert (response.status, response.body) == (204, b"")
        after = await there.ensure()
        assert (before["lastSyncedAt"], after["lastSyncedAt"]) == (
            "2027-01-15T08:00:00.000Z",
            "2027-01-15T09:00:00.000Z",
        )
        assert after == before | {"lastSyncedAt": after["lastSyncedAt"]}
        assert (await there.call("POST", "/v1/users/synced", {"userId": "nobody"})).status == 404
        assert there.services.fetched.total() == 1
        async with there.restarted() as again:
            assert await again.ensure() == after


async def test_first_time_user_login(tmp_path: Path) -> None:
    """Both sides are asked at a time: each call arrives before the other is answered."""
    async with handshake(tmp_path) as there:
        there.services.latency = 0.05
        login = asyncio.create_task(there.login())
        async with asyncio.timeout(10):
            await there.services.wait_for_calls(2)
        assert not login.done()
        assert (await login).json()["source"] == {"user": "miss", "business": "miss"}


async def test_returning_user_login(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        first = (await there.login()).json()
        await there.services.stop()
        second = (await there.login()).json()
        assert second == first | {"source": {"user": "hit", "business": "hit"}}
        async with there.restarted() as again:  # a new process, and a business that lives in memory alone
            await again.services.start()
            third = (await again.login()).json()
            assert third["source"] == {"user": "hit", "business": "miss"}
            assert (third["user"], third["business"]["id"]) == (first["user"], first["business"]["id"])


async def test_business_switch_operation(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        there.services.businesses["other"] = b'{"id":"other","name":"Other"}'
        await there.login()
        switched = await there.ok("POST", "/v1/businesses/ensure", {"businessId": "other"})
        back = await there.ok("POST", "/v1/businesses/ensure", {"businessId": BUSINESS})
        assert (switched["name"], back["name"]) == ("Other", "Acme")
        assert (fetched(there, "other"), fetched(there, BUSINESS), fetched(there, USER)) == (1, 1, 1)


async def test_concurrent_handshake_requests(tmp_path: Path) -> None:
    """Any number of first logins of one user: one fetch, one row, one id."""
    async with handshake(tmp_path) as there:
        there.services.latency = 0.05
        logins = await asyncio.gather(*(there.login() for _ in range(50)))
        assert {response.status for response in logins} == {200}
        assert len({response.json()["user"]["id"] for response in logins}) == 1
        assert (fetched(there, USER), fetched(there, BUSINESS)) == (1, 1)
        listed = await there.ok("GET", "/v1/users/stale?hours=0")
        assert not listed["users"]
        there.tick(1)
        listed = await there.ok("GET", "/v1/users/stale?hours=0")
        assert [user["userId"] for user in listed["users"]] == [USER]


@pytest.mark.parametrize("age", ["fresh", "expired", "ancient"])
async def test_external_service_failure_handling(tmp_path: Path, age: str) -> None:
    """Any local copy, however old, is served rather than an error; without one it is 503, which says of what."""
    limits: dict[str, Any] = {"ttl": "1m", "stale_while_revalidate": 0, "stale_if_error": "1h"}
    async with handshake(tmp_path, resources=held(**limits)) as there:
        there.services.users["new"] = user_item("new")
        user = await there.ensure()
        await there.services.stop()
        there.tick({"fresh": 1, "expired": 120, "ancient": 86400 * 100}[age])
        stale = {} if age == "fresh" else {"source": "stale"}
        assert await there.ensure() == user | stale
        response = await there.login()
        assert response.status == 503
        assert int(response.field("retry-after")) >= 1
        assert [error["pointer"] for error in response.json()["errors"]] == ["#/businessId"]
        response = await there.login("new")
        assert [error["pointer"] for error in response.json()["errors"]] == ["#/userId", "#/businessId"]
        await there.services.start()
        there.tick(60)
        assert (await there.login("new")).status == 200
