"""The OpenAPI document: it is valid and whole, and its examples are true."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema_rs
import pytest
import schemathesis
import yaml

from store.times import epoch
from tests.integration.handshake import Handshake, handshake

ABOUT_ONE = {"ensure", "ensure-batch", "exists", "synced", "refresh", "explain", "stale", "get", "delete"}
ROUTES = {
    "login",
    "users.patch",
    "inspector",
    *(f"{plural}.{name}" for plural in ("users", "businesses") for name in ABOUT_ONE),
}


@dataclass
class Described:
    """One call, as the document has it."""

    method: str
    path: str
    operation: dict[str, Any]

    @property
    def route(self) -> str:
        return str(self.operation["operationId"])

    @property
    def status(self) -> int:
        """Of an answer to a right call."""
        (status,) = (int(status) for status in self.operation["responses"] if status.startswith("2"))
        return status

    @property
    def takes(self) -> dict[str, Any] | None:
        """Schema and example of the body."""
        body = self.operation.get("requestBody")
        return None if body is None else dict(body["content"]["application/json"])

    @property
    def gives(self) -> dict[str, Any] | None:
        """Schema and example of the answer."""
        content = self.operation["responses"][str(self.status)].get("content")
        return None if content is None else dict(content["application/json"])

    def parameters(self, place: str) -> dict[str, Any]:
        """Examples of the parameters there. With `include` an answer would be more than its example."""
        return {
            parameter["name"]: parameter["example"]
            for parameter in self.operation.get("parameters", [])
            if parameter["in"] == place and "example" in parameter and parameter["name"] != "include"
        }

    @property
    def target(self) -> str:
        query = urlencode(self.parameters("query"))
        return self.path.format(**self.parameters("path")) + (f"?{query}" if query else "")


async def served(there: Handshake, *fields: str) -> dict[str, Any]:
    return dict((await there.call("GET", "/openapi.json", None, *fields)).json())


def described(document: dict[str, Any]) -> list[Described]:
    return [
        Described(method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Each schema beside an example, and the example."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    if isinstance(node, dict) and "schema" in node and "example" in node:
        yield node["schema"], node["example"]
    for child in children:
        yield from examples(child)


def schemas(node: Any) -> Iterator[Any]:
    """Each schema at its root."""
    for name, child in (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else []
    ):
        if name == "schema":
            yield child
        elif name == "schemas":
            yield from child.values()
        elif name != "example":
            yield from schemas(child)


@pytest.mark.parametrize("secret", ["", "s3cret"])
async def test_the_document_is_openapi_3_1_and_names_every_call(tmp_path: Path, secret: str) -> None:
    token = tmp_path / "token"
    token.write_text(secret)
    section = {"listen": "127.0.0.1:0", "token_file": str(token) if secret else None}
    async with handshake(tmp_path, handshake=section) as there:
        document = await served(there, f"Authorization: Bearer {secret}")
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()
    assert sum(1 for _ in schemas(document)) > len(ROUTES)
    for schema in schemas(document):
        jsonschema_rs.meta.validate(schema)
    assert document.get("security") == ([{"token": []}] if secret else None)
    calls = described(document)
    assert sorted(call.route for call in calls) == sorted(ROUTES)
    for call in calls:
        assert call.operation["summary"], call.route
        assert (call.status, call.gives is None) in {(200, False), (204, True)}, call.route
        assert {"403", "421", "422", "500"} <= call.operation["responses"].keys(), call.route
        assert ("401" in call.operation["responses"]) == bool(secret), call.route


async def test_every_example_is_of_its_schema(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        document = await served(there)
    for call in described(document):
        for part in (call.takes, call.gives):
            assert part is None or part["example"] is not None, call.route
        assert call.method == "GET" or call.takes or "{id}" in call.path, call.route
        assert ("{id}" in call.path) == ("id" in call.parameters("path")), call.route
    for schema, example in examples(document):
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)


async def test_the_answer_to_every_example_is_its_example(tmp_path: Path) -> None:
    resources = yaml.safe_load(files("config").joinpath("default.yaml").read_text())["resources"]
    for resource in resources.values():
        resource["freshness"]["jitter"] = 0
    async with handshake(tmp_path, resources=resources) as there:
        calls = {call.route: call for call in described(await served(there))}
        await as_the_examples_have_it(there, calls)
        start = there.proxy.clock.now
        for at, route in sorted((moment(call), call.route) for call in calls.values()):
            call = calls[route]
            there.proxy.clock.now = start + at
            response = await there.call(call.method, call.target, call.takes and call.takes["example"])
            assert response.status == call.status, (route, response.body)
            assert there.proxy.metric("requests_total", route=route, code=str(call.status)) >= 1
            if call.gives is not None:
                is_of_now = route == "inspector"  # what it counts depends on the calls before it
                assert is_of_now or response.json() == call.gives["example"], route


async def as_the_examples_have_it(there: Handshake, calls: dict[str, Described]) -> None:
    """Both entities as in the example of a login, which are there in their second version."""
    login = calls["login"].gives
    assert login is not None
    user, business = login["example"]["user"], login["example"]["business"]
    there.proxy.clock.now = epoch(user["lastSyncedAt"])
    columns = ("name", "email", "phone", "avatar", "address")
    items = [{name: entity[name] for name in columns if name in entity} for entity in (user, business)]
    there.services.users[user["userId"]] = json.dumps({"id": user["userId"], **items[0]}).encode()
    there.services.businesses[business["businessId"]] = json.dumps({"id": business["businessId"]}).encode()
    await there.ok("POST", "/v1/login", {"userId": user["userId"], "businessId": business["businessId"]})
    there.services.businesses[business["businessId"]] = json.dumps(
        {"id": business["businessId"], **items[1]}
    ).encode()
    await there.ok("POST", "/v1/businesses/refresh", {"businessId": business["businessId"]})
    attributes = {name: user[name] for name in ("departmentId", "isFieldWorker")}
    await there.ok("PATCH", f"/v1/users/{user['id']}", attributes)


def moment(call: Described) -> float:
    """When the example of a call is true, in seconds."""
    if call.route.endswith(".explain"):
        assert call.gives is not None
        return float(call.gives["example"]["age"])
    days = {"stale": 2, "delete": 3}
    return days.get(call.route.partition(".")[2], 0) * 86400.0
