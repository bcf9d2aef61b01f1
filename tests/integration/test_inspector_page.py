"""The page of the handshake listener and the call that feeds it, over real sockets."""

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.web.inspector.pages import pages
from tests.integration.handshake import USER, Handshake, handshake, internal_id
from tests.integration.harness import Response

SECRET = "s3cret-token"
FILES = sorted(path.decode() for path in pages())
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}


def locked(directory: Path) -> dict[str, Any]:
    token = directory / "token"
    token.write_text(SECRET)
    return {"listen": "127.0.0.1:0", "token_file": str(token)}


def is_safe(response: Response) -> None:
    directives = dict(
        part.strip().split(" ", 1) for part in response.field("content-security-policy").split(";")
    )
    assert directives == POLICY
    assert response.field("x-content-type-options") == "nosniff"
    assert response.field("referrer-policy") == "no-referrer"
    assert response.field("cross-origin-opener-policy") == "same-origin"
    assert response.field("cross-origin-resource-policy") == "same-origin"
    assert response.field("cache-control") == "no-cache"


async def test_every_file_is_served_with_its_policy_and_without_the_token(tmp_path: Path) -> None:
    async with handshake(tmp_path, handshake=locked(tmp_path)) as there:
        for path in FILES:
            response = await there.call("GET", path)
            assert response.status == 200, path
            assert response.body == pages()[path.encode()].body, path
            is_safe(response)
        assert "/" in FILES
        assert "text/html" in (await there.call("GET", "/?a=1")).field("content-type")


async def test_head_other_methods_and_other_paths(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        async with there.proxy.client("handshake") as client:
            head = await client.request(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", head_only=True)
            assert (head.status, head.body) == (200, b"")
            assert int(head.field("content-length")) == len(pages()[b"/"].body)
            is_safe(head)
            head = await client.request(
                b"HEAD /v1/inspector HTTP/1.1\r\nHost: localhost\r\n\r\n", head_only=True
            )
            assert (head.status, head.body) == (200, b"")
        response = await there.call("POST", "/", {})
        assert (response.status, response.field("allow")) == (405, "GET, HEAD")
        for path in (
            "/inspector/",
            "/inspector/../index.html",
            "/inspector/index.html",
            "/index.html",
            "/inspector",
        ):
            assert (await there.call("GET", path)).status == 404, path


@pytest.mark.parametrize("path", ["/", "/inspector/inspector.js"])
async def test_a_page_too_is_for_the_right_host_and_origin(tmp_path: Path, path: str) -> None:
    async with handshake(tmp_path) as there, there.proxy.client("handshake") as client:
        client.host = "evil.example"
        assert (await client.get(path)).status == 421
        client.host = "localhost:1234"  # as behind a forwarded port
        assert (await client.get(path)).status == 200
        assert (await client.get(path, "Origin: http://localhost:1234")).status == 200
        assert (await client.get(path, "Origin: https://evil.example")).status == 403


async def test_the_call_needs_the_token(tmp_path: Path) -> None:
    async with handshake(tmp_path, handshake=locked(tmp_path)) as there:
        refused = await there.call("GET", "/v1/inspector")
        assert (refused.status, refused.field("www-authenticate")) == (401, "Bearer")
        response = await there.call("GET", "/v1/inspector", None, f"Authorization: Bearer {SECRET}")
        assert (response.status, response.field("cache-control")) == (200, "no-store")
        assert response.json()["state"] == "ready"


async def snapshot(there: Handshake) -> Any:
    return await there.ok("GET", "/v1/inspector")


async def test_it_says_what_has_happened_and_names_nobody(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        await there.login()
        await there.login()
        await there.proxy.durable()
        there.tick(86400 * 2)
        document = await snapshot(there)
        users = document["resources"][0]
        assert (users["entities"], users["misses"]) == ({"hit": 1, "miss": 1}, {"never_seen": 1})
        assert (users["stored"], users["stale"]) == (1, 1)
        assert document["upstreams"][0]["requests"] == {"200": 2}
        assert document["store"]["bytes"] > 0
        login = next(route for route in document["routes"] if route["route"] == "login")
        assert {result["cache"]: result["count"] for result in login["results"]} == {"hit": 1, "miss": 1}
        assert await snapshot(there) == document, "to look changes nothing"
        await there.ok("DELETE", f"/v1/users/{internal_id(USER)}")
        document = await snapshot(there)
        (erased,) = document["invalidations"]
        assert (erased["resource"], erased["source"], len(erased["ref"])) == ("user", "erasure", 12)
        assert USER not in json.dumps(document)
        assert internal_id(USER) not in json.dumps(document)


async def test_an_invalidation_is_called_as_the_log_calls_it(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        await there.login()
        with capture_logs() as lines:
            await there.ok("DELETE", f"/v1/users/{internal_id(USER)}")
        (line,) = (line for line in lines if line["event"] == "request")
        assert (await snapshot(there))["invalidations"][0]["ref"] == line["ref"]


async def test_a_page_that_polls_does_not_fill_the_log_but_is_counted(tmp_path: Path) -> None:
    async with handshake(tmp_path, handshake=locked(tmp_path)) as there:
        with capture_logs() as lines:
            await there.call("GET", "/")
            await there.call("GET", "/v1/inspector", None, f"Authorization: Bearer {SECRET}")
            await there.call("GET", "/v1/inspector")
        said = [(line["route"], line["code"]) for line in lines if line["log_level"] != "debug"]
        assert said == [("handshake", 401)], "who has not the token is worth a line"
        assert there.proxy.metric("requests_total", route="inspector", code="200") == 1
        assert there.proxy.metric("requests_total", route="inspector.page", code="200") == 1
