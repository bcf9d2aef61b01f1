"""The model: defaults as the contract has them, and what single fields refuse."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from config.address import Address
from config.fields import Section
from config.json_pointer import Pointer
from config.keys import keys
from config.load import load
from config.model import (
    BulkConfig,
    Config,
    FreshnessConfig,
    MemoryConfig,
    ResourceConfig,
    StoreConfig,
    TracingConfig,
    UpstreamConfig,
)
from config.path_template import PathTemplate

URL = "https://main.example.org"
BULK: dict[str, Any] = {"path": "/users/bulk", "ids": "/userIds", "items": "/users"}
FIELDS = {
    "upstreams": {"main": {"url": URL}},
    "resources": {"user": {"id": "/id", "bulk": BULK}},
}


def built_in() -> Config:
    return load(None, {"HANDSHAKE_UPSTREAMS__MAIN__URL": URL})


def test_the_built_in_configuration_is_that_of_the_contract() -> None:
    assert built_in().model_dump(mode="json") == {
        "upstreams": {
            "main": {
                "url": "https://main.example.org",
                "listen": "127.0.0.1:8080",
                "connect_timeout": "1s",
                "timeout": "4s",
                "max_connections": 100,
                "max_pending": 1024,
                "retries": 2,
                "circuit": {"failures": 5, "window": "10s", "open_for": "5s"},
                "credential_file": None,
                "ca_file": None,
                "client_cert_file": None,
                "client_key_file": None,
                "proxy": None,
            }
        },
        "resources": {
            "user": {
                "upstream": "main",
                "storage": "database",
                "id": "/id",
                "columns": {
                    "name": "/name",
                    "email": "/email",
                    "phone": "/phone",
                    "avatar": "/avatar",
                    "kaha_id": "/kahaId",
                },
                "source_version": None,
                "sharing": "anonymous",
                "credential_headers": ["authorization", "cookie", "x-api-key"],
                "key_headers": [],
                "freshness": {
                    "ttl": "24h",
                    "stale_while_revalidate": "30d",
                    "stale_if_error": "90d",
                    "revalidate_timeout": "1s",
                    "negative_ttl": "10s",
                    "jitter": 0.1,
                    "origin": "honour",
                },
                "bulk": {
                    "method": "POST",
                    "path": "/main/api/v3/users/bulk",
                    "ids": "/userIds",
                    "items": "/users",
                    "count": "/count",
                    "max_ids": 100,
                    "status": 200,
                    "duplicates": "forward",
                },
                "single": None,
            },
            "business": {
                "upstream": "main",
                "storage": "memory",
                "id": "/id",
                "columns": {
                    "name": "/name",
                    "address": "/address",
                    "avatar": "/avatar",
                    "kaha_id": "/kahaId",
                },
                "source_version": None,
                "sharing": "anonymous",
                "credential_headers": ["authorization", "cookie", "x-api-key"],
                "key_headers": [],
                "freshness": {
                    "ttl": "1h",
                    "stale_while_revalidate": "24h",
                    "stale_if_error": "30d",
                    "revalidate_timeout": "1s",
                    "negative_ttl": "10s",
                    "jitter": 0.1,
                    "origin": "honour",
                },
                "bulk": {
                    "method": "POST",
                    "path": "/main/api/v3/businesses/bulk",
                    "ids": "/businessIds",
                    "items": "/businesses",
                    "count": "/count",
                    "max_ids": 100,
                    "status": 200,
                    "duplicates": "forward",
                },
                "single": None,
            },
        },
        "handshake": {
            "listen": "127.0.0.1:8081",
            "token_file": None,
            "namespace": "6f1d3a0e-0d0b-5c5e-9d6b-7f0a5a4b1c11",
        },
        "ops": {"listen": "127.0.0.1:9464"},
        "webhooks": {"listen": None, "secret_file": None, "max_rate": 200},
        "sharing": {"key_file": None},
        "store": {
            "url": "sqlite:///handshake.db",
            "listen_url": None,
            "connections": 4,
            "poll_interval": "5s",
            "prepared_statements": True,
            "max_bytes": "256MiB",
            "retention": "180d",
        },
        "memory": {"max_bytes": "64MiB", "opaque": 0.5, "warm": 0},
        "refresh": {"enabled": False, "interval": "60s", "batch": 100, "concurrency": 2},
        "audit": {"sample_ratio": 0.0, "max_rate": 1},
        "limits": {
            "bulk_body": "8MiB",
            "cached_response": "8MiB",
            "buffered": "64MiB",
            "connections": 10000,
            "header_bytes": "64KiB",
            "idle_timeout": "75s",
            "header_timeout": "10s",
            "drain_timeout": "20s",
            "drain_linger": "500ms",
        },
        "lane": True,
        "log": {"level": "info", "format": "json"},
        "tracing": {"endpoint": None, "sample_ratio": 1.0},
    }


def test_the_defaults_of_the_model_are_those_of_the_built_in() -> None:
    config = built_in()
    bare = Config.model_validate(FIELDS)
    assert bare.upstreams == config.upstreams
    for section in (
        "handshake",
        "ops",
        "webhooks",
        "store",
        "memory",
        "refresh",
        "audit",
        "limits",
        "lane",
        "log",
    ):
        assert getattr(bare, section) == getattr(config, section)


def test_a_resource_has_the_defaults_of_user_but_for_what_names_its_items() -> None:
    user = built_in().resources["user"]
    bare = ResourceConfig.model_validate({"id": "/id", "bulk": {**BULK, "path": "/main/api/v3/users/bulk"}})
    assert bare.bulk is not None
    assert bare.bulk.count is None
    same = bare.model_copy(update={"columns": user.columns, "bulk": user.bulk})
    assert same == user
    assert bare.columns == {}
    assert ResourceConfig.model_validate({"single": {"path": "/u/{id}"}}).id is None


def test_values_are_of_the_types_that_the_program_uses() -> None:
    config = built_in()
    user = config.resources["user"]
    assert user.freshness.ttl == 86400.0
    assert config.limits.header_bytes == 65536
    assert config.ops.listen == Address("127.0.0.1", 9464)
    assert user.id == Pointer(("id",))
    assert user.bulk is not None
    assert user.bulk.path == PathTemplate.parse("/main/api/v3/users/bulk")
    assert user.credential_headers == ("authorization", "cookie", "x-api-key")
    assert config.store.sqlite_path == Path("handshake.db")
    assert StoreConfig(url="sqlite:////var/lib/a.db").sqlite_path == Path("/var/lib/a.db")
    assert StoreConfig(url="postgres://h/d").sqlite_path is None
    assert StoreConfig(url="postgres://h/d").url == "postgresql://h/d"


def test_the_model_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(built_in(), "lane", False)  # noqa: B010 - the type checker would refuse the statement


def test_every_key_has_a_description() -> None:
    undocumented = [".".join(key.path) for key in keys(Config) if not (key.field.description or "").strip()]
    assert undocumented == []


def test_an_opaque_resource_is_in_memory_unless_somebody_says_otherwise() -> None:
    single = {"path": "/avatars/{name*}"}
    assert ResourceConfig.model_validate({"single": single}).storage == "memory"
    assert ResourceConfig.model_validate({"single": single, "id": None}).storage == "memory"
    assert ResourceConfig.model_validate({"single": single, "id": "/id"}).storage == "database"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://h", "http://h"),
        ("HTTPS://Main.Example.org:8443/", "https://main.example.org:8443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://user_service:3000", "http://user_service:3000"),
    ],
)
def test_an_upstream_url_is_scheme_and_authority(url: str, kept: str) -> None:
    assert UpstreamConfig(url=url).url == kept


Case = tuple[type[Section], dict[str, Any], str]


def refused(
    section: type[Section], base: dict[str, Any], cases: list[tuple[dict[str, Any], str]]
) -> list[Case]:
    return [(section, base | keys_, message) for keys_, message in cases]


BAD: list[Case] = [
    *(
        (UpstreamConfig, {"url": url}, message)
        for url, message in [
            (None, "is required"),
            ("", "is required"),
            (5, "valid string"),
            ("main.example.org", "http or https"),
            ("ftp://h", "http or https"),
            ("http://h?a=b", "without query"),
            ("http://h?", "without query"),
            ("http://h#f", "without query"),
            ("http://h/api", "without a path"),
            ("http://u:p@h", "credential_file"),
            ("http://", "base URL"),
            ("http://h:0", "base URL"),
            ("http://h:99999", "base URL"),
            ("http://h:x", "base URL"),
            ("http://[::1", "base URL"),
            ("http://h h", "white space"),
            ("http://bücher.example", "xn--"),
        ]
    ),
    *refused(UpstreamConfig, {"url": URL},
        [
            ({"proxy": "socks5://h:1"}, "HTTP proxy"),
            ({"proxy": "http://h:1/path"}, "HTTP proxy"),
            ({"listen": 8080}, "must be text such as 127.0.0.1:8080"),
            ({"listen": "8080"}, "host and a port"),
            ({"timeout": 0}, "longer than 0"),
            ({"connect_timeout": "soon"}, "duration such as"),
            ({"max_connections": 0}, "greater than or equal to 1"),
            ({"max_connections": True}, "must be a number"),
            ({"retries": -1}, "greater than or equal to 0"),
            ({"circuit": {"failures": 0}}, "greater than or equal to 1"),
            ({"circuit": None}, "dictionary"),
            ({"credential_file": " "}, "path of a file"),
            ({"ca_file": "a\0"}, "path of a file"),
            ({"nope": 1}, "not permitted"),
        ]
    ),
    *refused(BulkConfig, BULK,
        [
            ({"ids": "/a/b"}, "one member"),
            ({"items": ""}, "one member"),
            ({"count": "/"}, "one member"),
            ({"ids": None}, "text such as /id"),
            ({"path": "/users/{id}"}, "without placeholder"),
            ({"path": "users"}, "one slash"),
            ({"method": "GET"}, "'POST', 'PUT' or 'PATCH'"),
            ({"status": 199}, "greater than or equal to 200"),
            ({"status": 300}, "less than or equal to 299"),
            ({"status": 204}, "has a body"),
            ({"max_ids": 0}, "greater than or equal to 1"),
            ({"duplicates": "drop"}, "'forward', 'once' or 'repeat'"),
        ]
    ),
    *(
        (FreshnessConfig, {"jitter": value}, message)
        for value, message in [
            (1, "less than 1"),
            (-0.1, "greater than or equal to 0"),
            (float("nan"), "greater than or equal to 0"),
            (False, "must be a number"),
        ]
    ),
    (MemoryConfig, {"opaque": 1}, "less than 1"),
    (FreshnessConfig, {"ttl": "-1s"}, "duration such as"),
    (FreshnessConfig, {"origin": "never"}, "'honour' or 'ignore'"),
    *refused(ResourceConfig, {},
        [
            ({"single": {"path": "/users"}}, "must have a placeholder"),
            ({"columns": {"Name": "/name"}}, "a name here is"),
            ({"columns": {"generation": "/name"}}, "a column generation of its own"),
            ({"columns": {"name": "name"}}, "JSON pointer"),
            ({"credential_headers": ["a b"]}, "name of a header field"),
            ({"credential_headers": "authorization"}, "valid tuple"),
            *(
                ({key: ["x-tenant", name]}, "can't tell callers apart")
                for key in ("credential_headers", "key_headers")
                for name in [
                    "Host", "Content-Length", "content-type", "content-anything", "transfer-encoding", "connection",
                    "keep-alive", "te", "trailer", "upgrade", "proxy-authorization", "via", "expect", "accept",
                    "accept-encoding", "range", "if-none-match", "traceparent", "tracestate",
                ]
            ),
            ({"upstream": "Main"}, "a name here is"),
            ({"sharing": "all"}, "'anonymous', 'service' or 'per_credential'"),
        ]
    ),
    (ResourceConfig, {"id": 5}, "text such as /id"),
    *(
        (StoreConfig, {"url": url}, "must be sqlite:///handshake.db")
        for url in [
            "mysql://h/d", "sqlite:a", "sqlite://a.db", "sqlite:///", "sqlite:////", "sqlite:///:memory:",
            "sqlite:///a?mode=ro", "postgresql://u:p/w@h/d", "postgresql://u:1/w@h/d", "postgresql://h:x/d",
            "postgresql://[::1/d", "a b",
        ]
    ),
    (StoreConfig, {"max_bytes": 0}, "more than 0"),
    *refused(TracingConfig, {},
        [
            ({"endpoint": "127.0.0.1:4318"}, "http or https"),
            ({"endpoint": "grpc://h:4317"}, "http or https"),
            ({"endpoint": "http://h:4318/v1/traces/"}, "which is added"),
            ({"endpoint": "http://u:hush@h:4318"}, "OTEL_EXPORTER_OTLP_HEADERS"),
            ({"endpoint": "http://h:x"}, "base URL"),
            ({"endpoint": "http://h?token=hush"}, "without query"),
            ({"sample_ratio": 1.1}, "less than or equal to 1"),
            ({"sample_ratio": -0.1}, "greater than or equal to 0"),
            ({"sample_ratio": True}, "must be a number"),
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("section", "values", "message"), BAD)
def test_what_a_field_refuses(section: type[Section], values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        section.model_validate(values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:p%2Fw@h:5432/d", "postgresql:///d?host=/run", "postgresql://a:1,b:2/d"]
)
def test_postgresql_urls(url: str) -> None:
    assert StoreConfig(url=url).url == url


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ("https://otlp.example.org/tenant/otlp/", "https://otlp.example.org/tenant/otlp"),
        (None, None),
    ],
)
def test_a_tracing_endpoint_may_have_a_path(url: str | None, kept: str | None) -> None:
    assert TracingConfig(endpoint=url).endpoint == kept


def test_header_names_are_kept_in_lower_case() -> None:
    assert ResourceConfig(key_headers=("X-Tenant",)).key_headers == ("x-tenant",)


def test_no_repr_and_no_error_shows_a_password() -> None:
    upstream = UpstreamConfig(url=URL, proxy="http://me:hush@proxy:3128")
    store = StoreConfig(url="postgresql://me:hush@h/d")
    assert upstream.proxy == "http://me:hush@proxy:3128"
    assert "hush" not in repr(upstream) + repr(store) + str(upstream.model_dump(mode="json"))
    with pytest.raises(ValidationError) as caught:
        UpstreamConfig(url="https://me:hush@h/path")
    assert "hush" not in str(caught.value)
