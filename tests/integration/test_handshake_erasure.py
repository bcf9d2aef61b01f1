"""Erasure: nothing of the entity is left, and nothing under way brings it back."""

import asyncio
from pathlib import Path
from typing import Any

from tests.integration.handshake import USER, Handshake, handshake, held, internal_id, user_item


def traces(there: Handshake, *needles: str) -> list[tuple[str, str]]:
    """Which files of the store have which of the needles."""
    return [
        (file.name, needle)
        for file in there.directory.glob("handshake.db*")
        for needle in needles
        if needle.encode() in file.read_bytes()
    ]


async def test_an_erased_user_leaves_no_trace(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        there.services.users |= {f"u{number}": user_item(f"u{number}") for number in range(300)}
        await there.ok("POST", "/v1/users/ensure-batch", {"userIds": [f"u{number}" for number in range(300)]})
        user = await there.ensure()
        await there.ok("PATCH", f"/v1/users/{user['id']}", {"departmentId": "dept-secret"})
        there.services.users[USER] = user_item(USER, name="A much longer name than before", extra="x" * 9000)
        await there.ok("POST", "/v1/users/refresh", {"userId": USER})
        needles = (USER, user["id"], "dept-secret", "A much longer name", f"Name of {USER}", "+977 1 5550100")
        assert traces(there, *needles)
        asked = there.services.fetched[USER]
        assert await there.ok("DELETE", f"/v1/users/{user['id']}") == {"erased": True, "scope": "replica"}
        assert not traces(there, *needles)
        for method in ("GET", "DELETE"):
            assert (await there.call(method, f"/v1/users/{user['id']}")).status == 404
        assert (await there.ok("POST", "/v1/users/exists", {"userId": USER}))["exists"] is False
        assert there.services.fetched[USER] == asked
        again = await there.ensure()
        assert (again["id"], again["departmentId"], again["version"]) == (user["id"], None, 1)


async def test_a_flight_under_way_does_not_bring_it_back(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        there.services.latency = 0.1
        before = len(there.services.calls)
        flight = asyncio.create_task(there.call("POST", "/v1/users/refresh", {"userId": USER}))
        async with asyncio.timeout(10):
            await there.services.wait_for_calls(before + 1)
        await there.ok("DELETE", f"/v1/users/{user['id']}")
        assert (await flight).status == 503, "to answer with an id that is not kept would be worse"
        await there.proxy.durable()
        assert (await there.ok("POST", "/v1/users/exists", {"userId": USER}))["exists"] is False
        assert not traces(there, USER, user["id"])
        assert (await there.ensure())["id"] == user["id"], "the next call asks again"


async def test_who_waits_for_the_upstream_is_not_given_the_copy_that_was_erased(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"ttl": "1m", "stale_while_revalidate": 0, "revalidate_timeout": "200ms"}
    async with handshake(tmp_path, resources=held("user", **limits)) as there:
        user = await there.ensure()
        there.tick(120)
        there.services.latency = 0.5  # so long that the copy stands in for the answer
        before = len(there.services.calls)
        waiting = asyncio.create_task(there.call("POST", "/v1/users/ensure", {"userId": USER}))
        async with asyncio.timeout(10):
            await there.services.wait_for_calls(before + 1)
        await there.ok("DELETE", f"/v1/users/{user['id']}")
        assert (await waiting).status == 503
        assert not traces(there, USER, user["id"])


async def test_an_erased_absence_is_asked_for_again(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        del there.services.users[USER]
        assert (await there.call("POST", "/v1/users/refresh", {"userId": USER})).status == 404
        # The row has lost its representation, and keeps its id until it is erased.
        assert traces(there, user["id"])
        await there.ok("DELETE", f"/v1/users/{user['id']}")
        assert not traces(there, user["id"], USER)
        there.services.users[USER] = user_item(USER)
        assert (await there.ensure())["name"]


async def test_what_was_set_aside_goes_too(tmp_path: Path) -> None:
    aside = tmp_path / "handshake.db.set-aside"
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        aside.write_bytes(USER.encode())
        await there.ok("DELETE", f"/v1/users/{user['id']}")
        assert not aside.exists()
        assert internal_id(USER) == user["id"]


async def test_the_ids_of_one_that_its_owner_has_erased_are_found(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        await there.ok("PATCH", f"/v1/users/{user['id']}", {"departmentId": "dept-secret"})
        del there.services.users[USER]
        assert (await there.call("POST", "/v1/users/refresh", {"userId": USER})).status == 404
        for _ in range(2):
            explained = await there.ok("POST", "/v1/users/explain", {"userId": USER})
            assert (explained["id"], explained["state"]) == (user["id"], "absent")
            there.tick(1)
        await there.ok("DELETE", f"/v1/users/{explained['id']}")
        assert not traces(there, USER, user["id"], "dept-secret")
