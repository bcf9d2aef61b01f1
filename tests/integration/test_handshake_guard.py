"""Who may call the handshake API, and what a wrong call is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.entities import Entities
from tests.integration.handshake import BUSINESS, USER, Handshake, handshake, internal_id

SECRET = "s3cret-token"


def is_problem(response: Any, status: int) -> dict[str, Any]:
    assert (response.status, response.field("content-type")) == (status, "application/problem+json"), (
        response.head
    )
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["detail"]
    return document


async def exists_with(there: Handshake, *fields: str, host: str = "localhost") -> Any:
    body = json.dumps({"userId": USER}).encode()
    lines = [f"Host: {host}"] if host else []
    lines += [*fields, f"Content-Length: {len(body)}"]
    head = "POST /v1/users/exists HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
    async with there.proxy.client("handshake") as client:
        return await client.request(head.encode() + body)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.0.0.1:1", "127.8.9.1", "[::1]", "[::1]:8081"]
)
async def test_a_loopback_name_is_a_host_of_ours(tmp_path: Path, host: str) -> None:
    async with handshake(tmp_path) as there:
        assert (await exists_with(there, host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.1.2.3",
        "",
        "a@localhost",
        "[x]",
    ],
)
async def test_another_host_is_misdirected(tmp_path: Path, host: str) -> None:
    async with handshake(tmp_path) as there:
        response = await exists_with(there, host=host)
        assert response.status in {400, 421}
        assert b"evil" not in response.body
        two = await exists_with(there, f"Host: {host or 'evil.example'}")
        assert two.status in {400, 421}, "every Host counts"


async def test_the_authority_of_an_absolute_target_counts(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there, there.proxy.client("handshake") as client:
        assert (await client.get("http://localhost/openapi.json")).status == 200
        assert (await client.get("http://evil.example/openapi.json")).status == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 200),
        ("https://LOCALHOST", 200),
        ("http://localhost:3000", 403),
        ("http://127.0.0.1", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost.evil.example", 403),
    ],
)
async def test_a_page_of_another_site_is_refused(tmp_path: Path, origin: str, status: int) -> None:
    async with handshake(tmp_path) as there:
        assert (await exists_with(there, f"Origin: {origin}")).status == status


async def test_the_token_is_needed_where_there_is_one(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET + "\n")
    section = {"listen": "127.0.0.1:0", "token_file": str(token)}
    async with handshake(tmp_path, handshake=section) as there:
        response = await exists_with(there)
        assert is_problem(response, 401)
        assert response.field("www-authenticate") == "Bearer"
        for wrong in (
            "Bearer wrong",
            f"Basic {SECRET}",
            SECRET,
            f"Bearer {SECRET}x",
            "Bearer",
            f"Bearer {SECRET[:-1]}",
        ):
            assert (await exists_with(there, f"Authorization: {wrong}")).status == 401, wrong
        right = f"Authorization: Bearer {SECRET}"
        assert (await exists_with(there, right)).status == 200
        assert (await exists_with(there, right, right)).status == 401, "which one counts can't be told"
        assert (await exists_with(there, f"Authorization: bearer  {SECRET}")).status == 200
        assert (await there.call("GET", "/openapi.json")).status == 401
        described = await there.call("GET", "/openapi.json", None, right)
        assert described.json()["security"] == [{"token": []}]


async def test_the_token_may_be_replaced_while_the_program_runs(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    section = {"listen": "127.0.0.1:0", "token_file": str(token)}
    async with handshake(tmp_path, handshake=section) as there:
        assert (await exists_with(there, "Authorization: Bearer old")).status == 200
        replacement = tmp_path / "new"
        replacement.write_text("the new one")
        replacement.rename(token)
        assert (await exists_with(there, "Authorization: Bearer old")).status == 401
        assert (await exists_with(there, "Authorization: Bearer the new one")).status == 200


WRONG_BODIES: list[tuple[str, Any, list[str]]] = [
    ("/v1/users/ensure", {}, ["#/userId"]),
    ("/v1/users/ensure", {"userId": 7}, ["#/userId"]),
    ("/v1/users/ensure", {"userId": ""}, ["#/userId"]),
    ("/v1/users/ensure", {"userId": "x" * 1025}, ["#/userId"]),
    ("/v1/users/ensure", {"userId": "é" * 513}, ["#/userId"]),
    ("/v1/users/ensure", {"userId": "\ud800"}, ["#/userId"]),
    ("/v1/users/ensure", {"userId": None}, ["#/userId"]),
    ("/v1/users/ensure", {"userId": "a", "more": 1}, ["#/more"]),
    ("/v1/users/ensure", {"userid": "a"}, ["#/userid", "#/userId"]),
    ("/v1/users/ensure", {"businessId": "a"}, ["#/businessId", "#/userId"]),
    ("/v1/users/ensure", ["a"], ["#"]),
    ("/v1/users/ensure", "a", ["#"]),
    ("/v1/login", {"userId": "a"}, ["#/businessId"]),
    ("/v1/login", {"userId": 1, "businessId": 2}, ["#/userId", "#/businessId"]),
    ("/v1/users/ensure-batch", {"userIds": "a"}, ["#/userIds"]),
    ("/v1/users/ensure-batch", {"userIds": ["a", 1]}, ["#/userIds/1"]),
    ("/v1/users/ensure-batch", {"userIds": ["a", ""]}, ["#/userIds/1"]),
    ("/v1/users/ensure-batch", {"userIds": ["a"] * 10_001}, ["#/userIds"]),
    ("/v1/users/exists", {"userId": []}, ["#/userId"]),
    ("/v1/users/synced", {"userId": True}, ["#/userId"]),
    ("/v1/users/refresh", {"userId": {}}, ["#/userId"]),
    ("/v1/users/explain", {"id": "a"}, ["#/id"]),
    ("/v1/users/explain", {"id": 7}, ["#/id"]),
    ("/v1/users/explain", {"id": internal_id(USER), "userId": USER}, ["#/userId"]),
    ("/v1/users/explain", {}, ["#/userId"]),
    ("/v1/businesses/ensure", {"userId": "a"}, ["#/userId", "#/businessId"]),
]


@pytest.mark.parametrize(("path", "body", "pointers"), WRONG_BODIES)
async def test_a_wrong_body_is_told_which_member(
    tmp_path: Path, path: str, body: Any, pointers: list[str]
) -> None:
    async with handshake(tmp_path) as there:
        document = is_problem(await there.call("POST", path, body), 422)
        assert [error["pointer"] for error in document["errors"]] == pointers
        assert all(pointer.removeprefix("#/") in document["detail"] for pointer in pointers if pointer != "#")
        assert not there.services.calls


@pytest.mark.parametrize("body", [b"", b"{", b'{"userId":"a"}x', b"\xff", b"[" * 5000, b'{"userId":NaN}'])
async def test_what_is_no_json_is_told_so(tmp_path: Path, body: bytes) -> None:
    async with handshake(tmp_path) as there, there.proxy.client("handshake") as client:
        document = is_problem(await client.post("/v1/users/ensure", body), 422)
        assert document["errors"] == [{"pointer": "#", "detail": "must be JSON: an object"}]
        assert (await client.call("POST", "/v1/users/ensure", {"userId": USER})).status == 200


async def test_an_internal_id_where_an_external_one_belongs_is_told_so(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        await there.login()
        user, business = internal_id(USER), internal_id(BUSINESS, "business")
        asked = there.services.fetched.total()
        wrong: list[tuple[str, Any, str]] = [
            ("/v1/users/ensure", {"userId": user}, "#/userId"),
            ("/v1/users/ensure", {"userId": user.upper()}, "#/userId"),
            ("/v1/users/exists", {"userId": user}, "#/userId"),
            ("/v1/users/refresh", {"userId": user}, "#/userId"),
            ("/v1/users/ensure-batch", {"userIds": ["a", user]}, "#/userIds/1"),
            ("/v1/login", {"userId": user, "businessId": BUSINESS}, "#/userId"),
            ("/v1/login", {"userId": USER, "businessId": business}, "#/businessId"),
            ("/v1/businesses/ensure", {"businessId": business}, "#/businessId"),
        ]
        for path, body, pointer in wrong:
            document = is_problem(await there.call("POST", path, body), 422)
            assert document["errors"] == [
                {"pointer": pointer, "detail": "is an internal id; the owner's id belongs here"}
            ]
        assert there.services.fetched.total() == asked
        document = is_problem(await there.call("GET", f"/v1/users/{USER}"), 422)
        assert document["errors"][0]["parameter"] == "id"


async def test_an_external_id_may_be_a_uuid(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        await there.ensure()
        entity = "0b9f3a6e-7f0b-4d53-9c0c-2f5a3c1de0a7"
        there.services.users[entity] = json.dumps({"id": entity, "name": "Eve"}).encode()
        assert (await there.ensure(entity))["name"] == "Eve"
        # Even one that is an internal id here: once the owner's is known, it is the owner's.
        other = internal_id(USER)
        there.services.users[other] = json.dumps({"id": other, "name": "Odd"}).encode()
        assert (await there.proxy.users(other)).status == 200
        assert (await there.ensure(other))["name"] == "Odd"


@pytest.mark.parametrize(
    ("target", "parameter"),
    [
        ("/v1/users/stale?hours=-1", "hours"),
        ("/v1/users/stale?hours=x", "hours"),
        ("/v1/users/stale?hours=1e3", "hours"),
        ("/v1/users/stale?hours=", "hours"),
        ("/v1/users/stale?hours=.", "hours"),
        ("/v1/users/stale?hours=nan", "hours"),
        ("/v1/users/stale?limit=0", "limit"),
        ("/v1/users/stale?limit=1001", "limit"),
        ("/v1/users/stale?limit=1.5", "limit"),
        ("/v1/users/stale?limit=%D9%A1", "limit"),
        ("/v1/users/stale?cursor=x", "cursor"),
        ("/v1/users/stale?cursor=", "cursor"),
        ("/v1/users/stale?cursor=MWUzMDAgeA", "cursor"),
        ("/v1/users/stale?cursor=bmFuIGE", "cursor"),
        ("/v1/users/stale?limit=1&limit=2", "limit"),
        ("/v1/users/stale?more=1", "more"),
        ("/v1/users/stale?%ff=1", "query"),
        ("/v1/users/stale?include=all", "include"),
        (f"/v1/users/{internal_id(USER)}?include=", "include"),
        ("/v1/users/not-a-uuid", "id"),
        ("/v1/users/%30b9f3a6e-7f0b-4d53-9c0c-2f5a3c1de0a7", "id"),
        ("/v1/users/{0b9f3a6e-7f0b-4d53-9c0c-2f5a3c1de0a7}", "id"),
        ("/v1/users/", "id"),
    ],
)
async def test_a_wrong_parameter_is_named(tmp_path: Path, target: str, parameter: str) -> None:
    async with handshake(tmp_path) as there:
        document = is_problem(await there.call("GET", target), 422)
        assert [error["parameter"] for error in document["errors"]] == [parameter]


async def test_a_body_has_a_bound_and_a_type(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        large = json.dumps({"userId": "x" * 1024 * 1024}).encode()
        async with there.proxy.client("handshake") as client:
            head = (
                f"POST /v1/users/ensure HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(large)}\r\n\r\n"
            )
            is_problem(await client.request(head.encode()), 413)  # no byte of the body was waited for
        async with there.proxy.client("handshake") as client:
            is_problem(await client.post("/v1/users/ensure", b"{}", "Content-Type: text/plain"), 415)
        async with there.proxy.client("handshake") as client:
            is_problem(await client.post("/v1/users/ensure", b"{}", "Content-Encoding: gzip"), 415)
        chunked = b"POST /v1/users/exists HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        async with there.proxy.client("handshake") as client:
            response = await client.request(chunked + b'e\r\n{"userId":"a"}\r\n0\r\n\r\n')
            assert response.status == 200


async def test_other_paths_and_methods(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        assert "openapi" in is_problem(await there.call("GET", "/v2"), 404)["detail"]
        is_problem(await there.call("GET", "/v1/users"), 404)
        is_problem(await there.call("GET", "/v1/planets/stale"), 404)
        response = await there.call("GET", "/v1/users/ensure")
        is_problem(response, 405)
        assert response.field("allow") == "POST"
        response = await there.call("PUT", f"/v1/users/{internal_id(USER)}", {})
        assert set(response.field("allow").split(", ")) == {"GET", "HEAD", "PATCH", "DELETE"}
        response = await there.call("PATCH", f"/v1/businesses/{internal_id(BUSINESS)}", {})
        assert set(response.field("allow").split(", ")) == {"GET", "HEAD", "DELETE"}
        async with there.proxy.client("handshake") as client:
            head = await client.request(
                b"HEAD /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", head_only=True
            )
            assert (head.status, head.body) == (200, b"")


async def test_the_log_names_the_call_its_outcome_and_refs_and_no_id(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        with capture_logs() as lines:
            await there.login()
            await there.login("nobody")
            await there.services.stop()
            await there.login("someone")
            await there.call("POST", "/v1/users/synced", {"userId": USER})
            await there.ensure()
    calls = [line for line in lines if line["event"] == "request"]
    seen = [(line["route"], line["cache"], line["code"], line["log_level"]) for line in calls]
    assert seen[:4] == [
        ("login", "miss", 200, "info"),
        ("login", "miss", 404, "info"),
        ("login", "error", 503, "warning"),
        ("users.synced", "none", 204, "info"),
    ]
    assert all(line["log_level"] == "debug" for line in calls[4:]), "a hit is not worth a line"
    user, business = calls[0]["ref"].split(",")
    assert (calls[3]["ref"], calls[1]["ref"].split(",")[1]) == (user, business)
    assert all(line["duration"] > 0 for line in calls)
    assert not any(word in str(lines) for word in (USER, BUSINESS, "nobody", "someone", internal_id(USER)))


async def test_the_metrics_name_the_call(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        await there.login()
        await there.login()
        await there.call("POST", "/v1/users/exists", {"userId": "x"})
        await there.call("POST", "/v1/users/ensure", {"userId": "x"})
        await there.call("GET", "/nowhere")
        counted = [
            ("login", "miss", "200"),
            ("login", "hit", "200"),
            ("users.exists", "negative", "200"),
            ("users.ensure", "miss", "404"),
            ("handshake", "error", "404"),
        ]
        for route, cache, code in counted:
            assert there.proxy.metric("requests_total", route=route, cache=cache, code=code) == 1, route


async def test_a_call_that_fails_as_nobody_foresaw_counts_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> object:
        raise ZeroDivisionError

    async with handshake(tmp_path) as there:
        monkeypatch.setattr(Entities, "have", broken)
        assert (await there.call("POST", "/v1/users/ensure", {"userId": "x"})).status == 500
        assert there.proxy.metric("requests_total", route="users.ensure", cache="error", code="500") == 1
