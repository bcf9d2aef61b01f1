"""What must fit together across keys."""

from typing import Any

import pytest
from pydantic import ValidationError

from config.model import Config

BULK = {"path": "/users/bulk", "ids": "/userIds", "items": "/users"}
SINGLE = {"path": "/users/{id}"}
USER = {"id": "/id", "bulk": BULK}


def errors(**sections: Any) -> dict[str, str]:
    """Messages by dotted path."""
    document = {"upstreams": {"main": {"url": "http://main"}}, "resources": {}, **sections}
    try:
        Config.model_validate(document)
    except ValidationError as error:
        return {".".join(map(str, item["loc"])): item["msg"] for item in error.errors()}
    return {}


CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"upstreams": {}}, "upstreams", "at least one upstream"),
    ({"resources": {"user": {"id": "/id"}}}, "resources.user", "bulk or single is required"),
    (
        {"resources": {"user": {**USER, "upstream": "other"}}},
        "resources.user.upstream",
        "no upstream has the name other (known: main)",
    ),
    (
        {"resources": {"user": {**USER, "columns": {"user_id": "/x"}}}},
        "resources.user.columns.user_id",
        "a column user_id of its own",
    ),
    ({"resources": {"user": {"bulk": BULK}}}, "resources.user.bulk", "needs id"),
    (
        {"resources": {"user": {"single": SINGLE, "storage": "database"}}},
        "resources.user.storage",
        "database needs id",
    ),
    (
        {"resources": {"user": USER, "other": USER}},
        "resources.other.bulk.path",
        "overlaps with resources.user.bulk.path",
    ),
    (
        {"resources": {"user": {"single": SINGLE}, "other": USER}},
        "resources.other.bulk.path",
        "overlaps with resources.user.single.path",
    ),
    (
        {"resources": {"user": USER, "other": {"single": SINGLE}}},
        "resources.other.single.path",
        "overlaps with resources.user.bulk.path",
    ),
    (
        {"resources": {"user": {"single": SINGLE}, "other": {"single": {"path": "/{name*}"}}}},
        "resources.other.single.path",
        "overlaps with resources.user.single.path",
    ),
    (
        {"upstreams": {"a": {"url": "http://a"}, "b": {"url": "http://b"}}},
        "upstreams.b.listen",
        "two listeners on one address: 127.0.0.1:8080 is taken by upstreams.a.listen",
    ),
    ({"ops": {"listen": "0.0.0.0:8081"}}, "ops.listen", "taken by handshake.listen (127.0.0.1:8081)"),
    (
        {"webhooks": {"listen": "127.0.0.1:9464", "secret_file": "s"}},
        "webhooks.listen",
        "taken by ops.listen",
    ),
    ({"handshake": {"listen": "0.0.0.0:8081"}}, "handshake.token_file", "is not a loopback address"),
    ({"webhooks": {"listen": "127.0.0.1:9000"}}, "webhooks.secret_file", "required with webhooks.listen"),
    (
        {
            "upstreams": {"main": {"url": "http://a", "credential_file": "t"}},
            "resources": {"user": {**USER, "key_headers": ["Authorization"]}},
        },
        "resources.user.key_headers",
        "authorization can't be part of the key",
    ),
    (
        {"resources": {"user": {**USER, "columns": {"data": "/d"}}}},
        "resources.user.columns.data",
        "would be the member data in the handshake API, which every entity has",
    ),
    (
        {"resources": {"user": {**USER, "columns": {"kaha_id": "/k", "kaha__id": "/l"}}}},
        "resources.user.columns.kaha__id",
        "would be the member kahaId in the handshake API, which the column kaha_id has",
    ),
    (
        {"upstreams": {"main": {"url": "http://a", "client_cert_file": "c"}}},
        "upstreams.main.client_key_file",
        "required with client_cert_file",
    ),
    (
        {"upstreams": {"main": {"url": "http://a", "client_key_file": "c"}}},
        "upstreams.main.client_cert_file",
        "required with client_key_file",
    ),
]


@pytest.mark.parametrize(("sections", "path", "message"), CASES)
def test_what_does_not_fit_is_named(sections: dict[str, Any], path: str, message: str) -> None:
    found = errors(**sections)
    assert list(found) == [path]
    assert message in found[path]


@pytest.mark.parametrize(
    "sections",
    [
        {"resources": {"user": USER, "other": {"id": "/id", "bulk": {**BULK, "method": "PUT"}}}},
        {"resources": {"user": {**USER, "single": SINGLE}}},
        {"resources": {"user": {"single": SINGLE}, "card": {"single": {"path": "/users/{id}/card"}}}},
        {
            "upstreams": {"a": {"url": "http://a", "listen": "[::1]:0"}, "b": {"url": "http://b", "listen": "[::1]:0"}},
            "resources": {"user": {**USER, "upstream": "a"}, "other": {**USER, "upstream": "b"}},
        },
        {"handshake": {"listen": "0.0.0.0:8081", "token_file": "t"}},
        {"handshake": {"listen": "localhost:8081"}},
        {"webhooks": {"listen": "0.0.0.0:9000", "secret_file": "s"}},
        {"upstreams": {"main": {"url": "http://a", "client_key_file": "k", "client_cert_file": "c"}}},
    ],
)  # fmt: skip
def test_what_fits_is_left_alone(sections: dict[str, Any]) -> None:
    assert errors(**sections) == {}


def test_all_findings_come_at_once() -> None:
    found = errors(
        resources={"user": {"bulk": BULK, "upstream": "x"}, "other": {}},
        handshake={"listen": "0.0.0.0:9464"},
        webhooks={"listen": "127.0.0.1:8080"},
    )
    assert set(found) == {
        "resources.user.upstream", "resources.user.bulk", "resources.other", "handshake.token_file", "ops.listen",
        "webhooks.listen", "webhooks.secret_file",
    }  # fmt: skip
