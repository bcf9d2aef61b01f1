"""Each call of the handshake API in its details."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.integration.handshake import BUSINESS, USER, Handshake, handshake, held, internal_id, user_item


def on_disk(there: Handshake, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(there.directory / "handshake.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def test_an_answer_shows_only_ids_that_are_durable(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        rows = on_disk(there, "SELECT id, user_id, name, last_synced_at FROM users")
        assert rows == [(user["id"], USER, f"Name of {USER}", user["lastSyncedAt"])]
        there.services.users["b"] = user_item("b")
        await there.proxy.users("b")  # a transparent answer does not wait for its commit: exists does
        known = await there.ok("POST", "/v1/users/exists", {"userId": "b"})
        assert on_disk(there, "SELECT id FROM users WHERE user_id = 'b'") == [(known["id"],)]


async def test_include_data_adds_the_item_as_it_was_sent(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        raw = b'{ "id" : "n", "name": "Zo\\u00eb", "balance": 1.50, "big": 123456789012345678901234567890 }'
        there.services.users["n"] = raw
        response = await there.call("POST", "/v1/users/ensure?include=data", {"userId": "n"})
        assert raw in response.body
        user = response.json()
        plain = await there.ensure("n")
        assert user == plain | {"data": json.loads(raw)}
        both = await there.ok("POST", "/v1/login?include=data", {"userId": "n", "businessId": BUSINESS})
        assert both["user"]["data"] == user["data"]
        assert both["business"]["data"]["name"] == "Acme"


async def test_columns_that_are_no_text(tmp_path: Path) -> None:
    resources = held()
    resources["user"]["columns"] = {"a_b": "/n", "big": "/big", "on": "/on", "inside": "/o/p", "whole": "/o"}
    async with handshake(tmp_path, resources=resources) as there:
        there.services.users["n"] = (
            b'{"id":"n","n":1.5,"big":123456789012345678901234567890,"on":true,"o":{"p":"\\ud800"}}'
        )
        for _ in range(2):
            user = await there.ensure("n")
            shown = {name: user[name] for name in ("aB", "big", "on", "inside", "whole")}
            assert shown == {
                "aB": 1.5, "big": 123456789012345678901234567890, "on": True, "inside": "\ud800", "whole": None,
            }  # fmt: skip


async def test_a_batch_says_what_became_of_each(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        there.services.users["b"] = user_item("b")
        await there.ensure()
        answer = await there.ok("POST", "/v1/users/ensure-batch", {"userIds": ["b", "x", USER, "b"]})
        assert [user["userId"] for user in answer["users"]] == ["b", USER]
        assert (answer["missing"], answer["failed"]) == (["x"], [])
        await there.services.stop()
        answer = await there.ok("POST", "/v1/users/ensure-batch", {"userIds": [USER, "y", "z"]})
        assert [user["userId"] for user in answer["users"]] == [USER]
        assert (answer["missing"], answer["failed"]) == ([], ["y", "z"])
        counted = {"route": "users.ensure-batch", "code": "200"}  # the alerts count the errors of these
        assert there.proxy.metric("requests_total", **counted, cache="partial") == 1
        assert there.proxy.metric("requests_total", **counted, cache="error") == 1
        assert await there.ok("POST", "/v1/users/ensure-batch", {"userIds": []}) == {
            "users": [], "missing": [], "failed": [],
        }  # fmt: skip


async def test_a_batch_is_one_upstream_call(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        ids = [f"u{number}" for number in range(100)]
        there.services.users |= {entity: user_item(entity) for entity in ids}
        answer = await there.ok("POST", "/v1/users/ensure-batch", {"userIds": ids})
        assert [user["userId"] for user in answer["users"]] == ids
        assert len(there.services.calls) == 1


async def test_refresh_fetches_now_or_fails(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        before = await there.ensure()
        there.services.users[USER] = user_item(USER, name="New")
        there.tick(1)
        after = await there.ok("POST", "/v1/users/refresh", {"userId": USER})
        assert (after["name"], after["version"], after["id"]) == ("New", 2, before["id"])
        assert await there.ensure() == after
        await there.services.stop()
        response = await there.call("POST", "/v1/users/refresh", {"userId": USER})
        assert response.status == 503
        assert response.field("retry-after")
        assert await there.ensure() == after
        await there.services.start()
        del there.services.users[USER]
        there.tick(60)
        assert (await there.call("POST", "/v1/users/refresh", {"userId": USER})).status == 404
        assert (await there.ok("POST", "/v1/users/exists", {"userId": USER}))["exists"] is False


async def test_who_has_just_registered_can_log_in(tmp_path: Path) -> None:
    async with handshake(tmp_path, resources=held(negative_ttl="1h")) as there:
        assert (await there.login("new")).status == 404
        there.services.users["new"] = user_item("new")
        assert (await there.login("new")).status == 404, "once a second is often enough"
        there.tick(1)
        assert (await there.login("new")).status == 200
        assert there.services.fetched["new"] == 2


async def test_a_certain_absence_wins_over_a_failure(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        assert (await there.login("nobody", "no-business")).status == 404
        await there.services.stop()
        response = await there.login("nobody", BUSINESS)
        assert response.status == 404
        assert [error["pointer"] for error in response.json()["errors"]] == ["#/userId"]
        both = await there.login("nobody", "no-business")
        assert [error["pointer"] for error in both.json()["errors"]] == ["#/userId", "#/businessId"]


async def test_local_attributes_survive_refreshes_and_restarts(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        path = f"/v1/users/{user['id']}"
        changed = await there.ok("PATCH", path, {"departmentId": "d-7", "isFieldWorker": True})
        assert changed == user | {"departmentId": "d-7", "isFieldWorker": True, "version": 2}
        assert await there.ensure() == changed
        assert (await there.ok("PATCH", path, {"isFieldWorker": True}))["version"] == 2, "nothing has changed"
        there.services.users[USER] = user_item(USER, name="New")
        refreshed = await there.ok("POST", "/v1/users/refresh", {"userId": USER})
        assert (refreshed["departmentId"], refreshed["isFieldWorker"], refreshed["name"]) == (
            "d-7",
            True,
            "New",
        )
        assert refreshed["version"] == 3
        cleared = await there.ok("PATCH", path, {"departmentId": None})
        assert (cleared["departmentId"], cleared["isFieldWorker"]) == (None, True)
        async with there.restarted() as again:
            assert await again.ok("GET", path) == cleared


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, "#"),
        ({"departmentId": 7}, "#/departmentId"),
        ({"departmentId": ""}, "#/departmentId"),
        ({"departmentId": "x" * 256}, "#/departmentId"),
        ({"departmentId": "\ud800"}, "#/departmentId"),
        ({"departmentId": "a\0b"}, "#/departmentId"),
        ({"isFieldWorker": 1}, "#/isFieldWorker"),
        ({"isFieldWorker": "yes"}, "#/isFieldWorker"),
        ({"name": "mine"}, "#/name"),
    ],
)
async def test_a_wrong_attribute_is_named_and_nothing_is_set(tmp_path: Path, body: Any, at: str) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        response = await there.call("PATCH", f"/v1/users/{user['id']}", body)
        assert (response.status, response.json()["errors"][0]["pointer"]) == (422, at)
        assert await there.ensure() == user


async def test_an_internal_id_finds_its_entity(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        login = (await there.login()).json()
        for kind, plural in (("user", "users"), ("business", "businesses")):
            entity = login[kind]
            assert await there.ok("GET", f"/v1/{plural}/{entity['id']}") == entity
            assert await there.ok("GET", f"/v1/{plural}/{entity['id'].upper()}") == entity
            unknown = await there.call("GET", f"/v1/{plural}/{internal_id('nobody')}")
            assert unknown.status == 404
        assert (await there.call("GET", f"/v1/users/{login['business']['id']}")).status == 404
        for method in ("PATCH", "DELETE"):
            body = {"isFieldWorker": True} if method == "PATCH" else None
            assert (await there.call(method, f"/v1/users/{internal_id('nobody')}", body)).status == 404


async def test_a_business_in_the_database_is_a_row_like_a_user(tmp_path: Path) -> None:
    resources = held()
    resources["business"]["storage"] = "database"
    async with handshake(tmp_path, resources=resources) as there:
        business = (await there.login()).json()["business"]
        rows = on_disk(there, "SELECT id, business_id, name, address, last_synced_at FROM businesses")
        assert rows == [(business["id"], BUSINESS, "Acme", "1 Road", business["lastSyncedAt"])]
        async with there.restarted() as again:
            await again.services.stop()
            assert await again.ok("GET", f"/v1/businesses/{business['id']}") == business
            again.tick(7200)
            listed = await again.ok("GET", "/v1/businesses/stale?hours=1")
            assert [one["id"] for one in listed["businesses"]] == [business["id"]]


async def test_a_business_in_memory_is_answered_as_long_as_it_is_held(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        business = (await there.login()).json()["business"]
        there.tick(1)
        await there.ok("POST", "/v1/businesses/synced", {"businessId": BUSINESS})
        synced = await there.ok("GET", f"/v1/businesses/{business['id']}")
        assert synced == business | {"lastSyncedAt": "2027-01-15T08:00:01.000Z"}
        there.services.businesses[BUSINESS] = json.dumps({"id": BUSINESS, "name": "New"}).encode()
        refreshed = await there.ok("POST", "/v1/businesses/refresh", {"businessId": BUSINESS})
        assert (refreshed["version"], refreshed["id"]) == (2, business["id"])
        there.tick(7200)
        listed = await there.ok("GET", "/v1/businesses/stale?hours=1")
        assert [one["name"] for one in listed["businesses"]] == ["New"]
        erased = await there.ok("DELETE", f"/v1/businesses/{business['id']}")
        assert erased == {"erased": True, "scope": "replica"}
        assert (await there.call("GET", f"/v1/businesses/{business['id']}")).status == 404
        assert (await there.ok("POST", "/v1/businesses/exists", {"businessId": BUSINESS}))["exists"] is False


async def test_the_stale_listing_pages_through_all_once(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        ids = [f"u{number:02}" for number in range(25)]
        there.services.users |= {entity: user_item(entity) for entity in ids}
        for start in (0, 10):  # ten and fifteen that were synced at the same moment
            batch = ids[start : start + 10] if start == 0 else ids[start:]
            await there.ok("POST", "/v1/users/ensure-batch", {"userIds": batch})
            there.tick(3600)
        there.tick(3600 * 24)
        await there.ensure()  # just synced
        listed: list[str] = []
        target = "/v1/users/stale?hours=24&limit=7"
        pages = 0
        while target:
            page = await there.ok("GET", target)
            assert len(page["users"]) <= 7
            listed += [user["userId"] for user in page["users"]]
            target = f"/v1/users/stale?hours=24&limit=7&cursor={page['next']}" if page["next"] else ""
            pages += 1
        assert sorted(listed) == ids
        assert sorted(listed[:10]) == ids[:10], "the longest unsynced first"
        assert pages <= 5
        await there.ok("POST", "/v1/users/synced", {"userId": "u00"})
        page = await there.ok("GET", "/v1/users/stale?limit=1000")
        assert "u00" not in [user["userId"] for user in page["users"]]
        assert (len(page["users"]), page["next"]) == (24, None)


async def test_explain_says_what_comes_next_and_why(tmp_path: Path) -> None:
    limits = {"ttl": "1m", "stale_while_revalidate": "1m", "stale_if_error": "10m", "negative_ttl": "10s"}

    async def explained(entity: str = USER) -> tuple[str, str, str, bool]:
        answer = await there.ok("POST", "/v1/users/explain", {"userId": entity})
        assert answer["next"]["why"]
        return answer["state"], answer["next"]["result"], answer["next"]["reason"], answer["next"]["upstream"]

    async with handshake(tmp_path, resources=held(**limits)) as there:
        assert await explained() == ("unknown", "miss", "never_seen", True)
        user = await there.ensure()
        answer = await there.ok("POST", "/v1/users/explain", {"userId": USER})
        assert (answer["id"], answer["version"], answer["age"]) == (user["id"], 1, 0)
        assert answer["freshness"] == {
            "lifetime": 60, "ttl": 60, "staleWhileRevalidate": 120, "staleIfError": 660,
        }  # fmt: skip
        assert await explained() == ("fresh", "hit", "hit", False)
        there.tick(61)
        assert await explained() == ("stale", "stale", "stale_while_revalidate", True)
        there.tick(60)
        assert await explained() == ("stale", "revalidate", "expired", True)
        there.tick(600)
        assert await explained() == ("stale", "miss", "expired", True)
        await there.call("POST", "/v1/users/ensure", {"userId": "nobody"})
        assert await explained("nobody") == ("absent", "absent", "absent", False)
        there.tick(11)
        assert await explained("nobody") == ("absent", "miss", "absence_expired", True)
        assert there.services.fetched == {USER: 1, "nobody": 1}


async def test_a_call_s_trace_goes_with_its_fetch_and_its_token_does_not(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        seen: list[Any] = []
        original = there.services._called

        async def called(route: str, ids: tuple[str, ...]) -> None:
            seen.append(route)
            await original(route, ids)

        there.services._called = called  # type: ignore[method-assign]
        fields = (f"traceparent: {trace}", "Authorization: Bearer secret", "Cookie: a=b")
        assert (await there.call("POST", "/v1/users/ensure", {"userId": USER}, *fields)).status == 200
        assert seen


async def test_the_derived_id_that_an_import_has_taken_gets_another(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        await there.ensure()
        other = internal_id("second")
        async with there.restarted() as again:
            await again.proxy.app.stop()
            connection = sqlite3.connect(tmp_path / "handshake.db")
            connection.execute("UPDATE users SET id = ? WHERE user_id = ?", (other, USER))
            connection.commit()
            connection.close()
            async with again.restarted() as last:
                last.services.users["second"] = user_item("second")
                assert (await last.ensure())["id"] == other, "what was imported stays"
                second = await last.ensure("second")
                assert second["id"] not in {other, internal_id(USER)}
                assert second["id"] == internal_id("second#1"), "another one, and the same on every replica"


async def test_concurrent_calls_about_one_entity_agree(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        there.services.latency = 0.02
        user = await there.ensure()
        path = f"/v1/users/{user['id']}"
        calls = [
            *(there.call("POST", "/v1/users/refresh", {"userId": USER}) for _ in range(5)),
            *(there.call("PATCH", path, {"departmentId": f"d-{number}"}) for number in range(5)),
            *(there.call("POST", "/v1/users/synced", {"userId": USER}) for _ in range(5)),
            *(there.login() for _ in range(5)),
        ]
        responses = await asyncio.gather(*calls)
        assert {response.status for response in responses} <= {200, 204}
        shown = await there.ok("GET", path)
        assert shown["departmentId"].startswith("d-")
        assert on_disk(there, "SELECT id, department_id FROM users") == [(user["id"], shown["departmentId"])]
