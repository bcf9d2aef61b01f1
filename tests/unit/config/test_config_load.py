"""Layers, files and the environment; errors all at once, in the operator's words."""

import os
from pathlib import Path

import pytest

from config.load import ConfigError, load
from config.model import Config

URL = {"HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.example.org"}
FRESHNESS = "HANDSHAKE_RESOURCES__USER__FRESHNESS"


def write(directory: Path, text: str | bytes) -> Path:
    file = directory / "handshake.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def problems(path: Path | None, environ: dict[str, str]) -> dict[str, str]:
    """What is wrong, by place; every place once."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    found = dict(caught.value.problems)
    assert len(found) == len(caught.value.problems)
    assert str(caught.value).splitlines()[0] == str(caught.value.problems[0])
    return found


def set_by(environ: dict[str, str]) -> Config:
    return load(None, URL | environ)


def test_the_missing_url_says_how_to_set_it() -> None:
    assert problems(None, {}) == {
        "upstreams.main.url": "is required: set upstreams.main.url in the file, or HANDSHAKE_UPSTREAMS__MAIN__URL, "
        "such as https://main.example.org"
    }
    assert "is required" in problems(None, {"HANDSHAKE_UPSTREAMS__MAIN__URL": ""})["upstreams.main.url"]


# Layers


def test_a_file_replaces_upstreams_and_resources_and_merges_the_rest(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        upstreams: {users: {url: http://users}}
        resources: {member: {upstream: users, id: /id, single: {path: "/members/{id}"}}}
        limits: {connections: 5}
        log:
        lane: false
        """,
    )
    config = load(file, {})
    assert list(config.upstreams) == ["users"]
    assert list(config.resources) == ["member"]
    assert (config.limits.connections, config.limits.header_bytes) == (5, 65536)
    assert config.log.level == "info"
    assert config.lane is False


def test_a_resource_in_a_file_takes_the_defaults_of_the_model_not_of_its_built_in_namesake(
    tmp_path: Path,
) -> None:
    file = write(tmp_path, 'resources: {business: {id: /id, single: {path: "/b/{id}"}}}')
    business = load(file, URL).resources["business"]
    assert (business.freshness.ttl, business.storage, business.columns) == (86400.0, "database", {})


def test_the_resources_that_stay_built_in_still_need_their_upstream(tmp_path: Path) -> None:
    found = problems(write(tmp_path, "upstreams: {users: {url: http://users}}"), {})
    assert found["resources.user.upstream"] == "no upstream has the name main (known: users)"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "resources:\n"])
def test_a_file_with_nothing_in_it_changes_nothing(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, text), URL) == load(None, URL)


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "upstreams: {main: {url: http://file}}\nops: {listen: 127.0.0.1:1}")
    config = load(file, URL | {"HANDSHAKE_OPS__LISTEN": "127.0.0.1:2"})
    assert config.upstreams["main"].url == "http://main.example.org"
    assert config.ops.listen.port == 2


def test_anchors_may_be_shared(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        resources:
          user: {id: /id, single: {path: "/users/{id}"}, freshness: &short {ttl: 5s, jitter: 0.5}}
          business: {id: /id, single: {path: "/businesses/{id}"}, freshness: {<<: *short, ttl: 6s}}
        """,
    )
    config = load(file, URL)
    assert [resource.freshness.ttl for resource in config.resources.values()] == [5.0, 6.0]
    assert config.resources["business"].freshness.jitter == 0.5


# Files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log: {level: info\nlane: true", "line 2, column 5: "),
        ("log:\n\tlevel: info", "line 2, column 1: "),
        ("lane: true\nlane: false", "line 2, column 1: the key lane stands here a second time"),
        ("log: {on: 1, 5: 2}\n5: x", "a key must be text"),
        ("? [a]\n: b", "line 1, column 3: found unhashable key"),
        ("? {a: b}\n: b", "line 1, column 3"),
        ("a: !!python/object/apply:os.system [x]", "line 1, column 4: could not determine a constructor"),
        ("a: *b", "line 1, column 4: found undefined alias"),
        ("a: b\n---\nc: d", "line 2, column 1: but found another document"),
        (b"\xff\xfe\xff", "must be UTF-8 text"),
        ("a: \x00", "must be UTF-8 text"),
        ("[" * 20_000, "nested too deeply"),
        ("a: !!int hush", "does not fit its explicit tag"),
        ("- a\n- b", "must be a map of sections"),
        ("text", "must be a map of sections"),
        ("#" * (1 << 20) + "\n", "is larger than 1MiB"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str | bytes, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file, URL)
    assert {problem.path for problem in caught.value.problems} == {str(file)}
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)


def test_every_repeated_key_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "log: {level: info, level: debug}\nlane: true\nlane: true")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("path", "message"), [("nowhere.yaml", "No such file"), ("a\0b", "not a usable path")]
)
def test_a_file_that_is_not_there(path: str, message: str) -> None:
    assert message in problems(Path(path), URL)[path]


def test_plain_scalars_are_what_they_look_like(tmp_path: Path) -> None:
    file = write(
        tmp_path, "limits: {idle_timeout: 1:30}\nrefresh: {batch: 010, enabled: on}\nlog: {level: no}"
    )
    assert problems(file, URL) == {
        "limits.idle_timeout": "must be a duration such as 250ms, 10s, 5m, 24h or 30d",
        "log.level": "must be 'debug', 'info', 'warning' or 'error'",
    }
    config = load(write(tmp_path, "refresh: {batch: 010, enabled: on}"), URL)
    assert (config.refresh.batch, config.refresh.enabled) == (10, True)


def test_files_that_are_named_must_be_readable(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "lines").write_text("hush\nhush")
    (tmp_path / "pem").write_text("PEM")
    os.mkfifo(tmp_path / "pipe")
    found = problems(
        None,
        URL
        | {
            "HANDSHAKE_UPSTREAMS__MAIN__CREDENTIAL_FILE": f"{tmp_path}/lines",
            "HANDSHAKE_UPSTREAMS__MAIN__CA_FILE": f"{tmp_path}",
            "HANDSHAKE_UPSTREAMS__MAIN__CLIENT_CERT_FILE": f"{tmp_path}/pem",
            "HANDSHAKE_UPSTREAMS__MAIN__CLIENT_KEY_FILE": f"{tmp_path}/nowhere",
            "HANDSHAKE_HANDSHAKE__TOKEN_FILE": f"{tmp_path}/pipe",
            "HANDSHAKE_WEBHOOKS__SECRET_FILE": f"{tmp_path}/empty",
            "HANDSHAKE_LOG__LEVEL": "loud",
        },
    )
    assert found == {
        "upstreams.main.credential_file": f"{tmp_path}/lines: must hold one line of printable text",
        "upstreams.main.ca_file": f"{tmp_path}: cannot be read: not a regular file",
        "upstreams.main.client_key_file": f"{tmp_path}/nowhere: cannot be read: No such file or directory",
        "handshake.token_file": f"{tmp_path}/pipe: cannot be read: not a regular file",
        "webhooks.secret_file": f"{tmp_path}/empty: is empty",
        "log.level": "must be 'debug', 'info', 'warning' or 'error' (set by HANDSHAKE_LOG__LEVEL)",
    }


# The environment


@pytest.mark.parametrize(
    ("variable", "text", "path", "value"),
    [
        ("HANDSHAKE_LANE", "false", ("lane",), False),
        ("handshake_lane", "FALSE", ("lane",), False),
        ("HANDSHAKE_LIMITS__CONNECTIONS", "7", ("limits", "connections"), 7),
        ("HANDSHAKE_LIMITS__IDLE_TIMEOUT", " 250ms ", ("limits", "idle_timeout"), 0.25),
        ("HANDSHAKE_LIMITS__IDLE_TIMEOUT", "1.5", ("limits", "idle_timeout"), 1.5),
        ("HANDSHAKE_LIMITS__BULK_BODY", "1KiB", ("limits", "bulk_body"), 1024),
        ("HANDSHAKE_LOG", "{level: debug}", ("log", "level"), "debug"),
        ("HANDSHAKE_STORE__URL", "postgresql://u:a: #b%20@h/d".replace(" ", ""), ("store", "url"), None),
        ("HANDSHAKE_STORE__URL", "'sqlite:///x'", ("store", "url"), "sqlite:///x"),
    ],
)
def test_a_variable_sets_a_key(variable: str, text: str, path: tuple[str, ...], value: object) -> None:
    if value is None:  # a # in an unquoted password is refused by the key, not cut off by YAML
        found = problems(None, URL | {variable: text})
        assert "percent-encoded" in found["store.url"]
        return
    current: object = set_by({variable: text})
    for name in path:
        current = getattr(current, name)
    assert current == value


def test_variables_reach_into_maps_and_make_entries() -> None:
    config = set_by(
        {
            "HANDSHAKE_RESOURCES__USER__SINGLE__PATH": "/users/{id}",
            "HANDSHAKE_RESOURCES__USER__KEY_HEADERS": "[x-tenant]",
            "HANDSHAKE_RESOURCES__USER__BULK__COUNT": "null",
            "HANDSHAKE_RESOURCES__USER__COLUMNS__NICK_NAME": "/nick",
            "HANDSHAKE_RESOURCES__TEAM__SINGLE__PATH": "/teams/{id}",
            "HANDSHAKE_UPSTREAMS__OTHER": "{url: http://other, listen: 127.0.0.1:1, timeout: 1s}",
            "HANDSHAKE_UPSTREAMS__OTHER__LISTEN": "[::1]:0",
        }
    )
    user = config.resources["user"]
    assert user.single is not None
    assert str(user.single.path) == "/users/{id}"
    assert user.bulk is not None
    assert user.bulk.count is None
    assert user.key_headers == ("x-tenant",)
    assert "nick_name" in user.columns
    assert "name" in user.columns
    assert config.resources["team"].storage == "memory"
    assert config.upstreams["other"].timeout == 1.0
    assert str(config.upstreams["other"].listen) == "[::1]:0"


def test_a_map_in_a_variable_replaces_the_one_that_was_there() -> None:
    config = set_by({"HANDSHAKE_RESOURCES__BUSINESS__FRESHNESS": "{ttl: 2h}"})
    assert config.resources["business"].freshness.stale_if_error == 90 * 86400.0


@pytest.mark.parametrize(
    ("environ", "path", "message"),
    [
        ({"HANDSHAKE_NOPE": "1"}, "nope", "unknown key; known here: upstreams, "),
        ({"HANDSHAKE_LAIN": "1"}, "lain", "did you mean lane? (set by HANDSHAKE_LAIN)"),
        (
            {"HANDSHAKE_STORE_URL": "x"},
            "store_url",
            "as in HANDSHAKE_STORE__URL (set by HANDSHAKE_STORE_URL)",
        ),
        ({"HANDSHAKE_LIMITS__CONECTIONS": "1"}, "limits.conections", "did you mean connections?"),
        ({f"{FRESHNESS}__TTL": "soon"}, "resources.user.freshness.ttl", f"(set by {FRESHNESS}__TTL)"),
        ({f"{FRESHNESS}__TTLS": "1s"}, "resources.user.freshness.ttls", "did you mean ttl?"),
        ({"HANDSHAKE_RESOURCES__USER__BULK__PHAT": "1"}, "resources.user.bulk.phat", "did you mean path?"),
        ({"HANDSHAKE_LANE__X": "1"}, "HANDSHAKE_LANE__X", "lane is a value, it has no keys in it"),
        ({"HANDSHAKE_": "1"}, "HANDSHAKE_", "names no key"),
        ({"HANDSHAKE_LIMITS__": "1"}, "HANDSHAKE_LIMITS__", "names no key"),
        (
            {"HANDSHAKE_LANE": "true", "handshake_lane": "true"},
            "handshake_lane",
            "same key as HANDSHAKE_LANE",
        ),
        ({"HANDSHAKE_LOG": "{level: debug"}, "HANDSHAKE_LOG", "line 1"),
        ({"HANDSHAKE_LOG": "level: debug"}, "log", "must be a map"),
        ({"HANDSHAKE_UPSTREAMS": "5"}, "upstreams", "must be a map"),
        ({"HANDSHAKE_RESOURCES__USER__KEY_HEADERS": "a"}, "resources.user.key_headers", "must be a list"),
        (
            {"HANDSHAKE_UPSTREAMS__MAIN__LISTEN": "[::1:1"},
            "upstreams.main.listen",
            "must be a host and a port",
        ),
        (
            {"HANDSHAKE_RESOURCES__USER__KEY_HEADERS": "[a, b c]"},
            "resources.user.key_headers.1",
            "header field",
        ),
        ({"HANDSHAKE_RESOURCES__9__ID": "/id"}, "resources.9", "a name here is"),
        (
            {"HANDSHAKE_RESOURCES__X__BULK__PATH": "/x"},
            "resources.x.bulk.ids",
            "is required: set resources.x.bulk",
        ),
        ({"HANDSHAKE_PROXY__SERVICE_HOST": "10.0.0.1"}, "proxy", "unknown key"),
    ],
)
def test_what_a_variable_can_do_wrong(environ: dict[str, str], path: str, message: str) -> None:
    assert message in problems(None, URL | environ)[path]


def test_the_variables_of_kubernetes_are_left_alone() -> None:
    injected = {
        "HANDSHAKE_SERVICE_HOST": "10.0.0.1",
        "HANDSHAKE_SERVICE_PORT": "8080",
        "HANDSHAKE_PORT": "tcp://10.0.0.1:8080",
        "HANDSHAKE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "HANDSHAKE_PORT_8080_TCP_PROTO": "tcp",
        "HANDSHAKE_PROXY_SERVICE_HOST": "10.0.0.1",
        "HANDSHAKE_PROXY_SERVICE_PORT": "8080",
        "HANDSHAKE_PROXY_SERVICE_PORT_HTTP": "8080",
        "HANDSHAKE_PROXY_PORT": "tcp://10.0.0.1:8080",
        "HANDSHAKE_PROXY_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "HANDSHAKE_PROXY_PORT_8080_TCP_ADDR": "10.0.0.1",
        "HANDSHAKE_PROXY_PORT_8080_TCP_PORT": "8080",
        "HANDSHAKE_PROXY_PORT_53_UDP_PROTO": "udp",
        "PATH": "/bin",
    }
    assert set_by(injected) == set_by({})
    assert "port_8080" in problems(None, URL | {"HANDSHAKE_PORT_8080": "1"})


# Errors


def test_all_errors_come_at_once_and_none_is_a_mere_consequence(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        upstreams:
          main: {listen: nonsense, timeout: true}
          other: {url: http://other, listen: 127.0.0.1:8081}
        resources:
          user: {bulk: {path: "/users/{id}", idz: /x}, single: 5, upstream: third, freshness: {ttl: [1]}}
          User: {}
        handshake: {listen: 0.0.0.0:8081}
        webhooks: {listen: 127.0.0.1:9000}
        extra: 1
        """,
    )
    found = problems(file, {"HANDSHAKE_STORE__URL": "mysql://me:hush@h/d", "HANDSHAKE_LANE__X": "1"})
    assert set(found) == {
        "HANDSHAKE_LANE__X",
        "extra",
        "handshake.listen",
        "handshake.token_file",
        "resources.User",
        "resources.user.bulk.ids",
        "resources.user.bulk.idz",
        "resources.user.bulk.items",
        "resources.user.bulk.path",
        "resources.user.freshness.ttl",
        "resources.user.single",
        "resources.user.upstream",
        "store.url",
        "upstreams.main.listen",
        "upstreams.main.timeout",
        "upstreams.main.url",
        "webhooks.secret_file",
    }
    assert found["resources.user.bulk.idz"] == "unknown key; did you mean ids?"
    assert "hush" not in str(found)


def test_a_section_that_is_none_at_all_hides_no_other_error() -> None:
    found = problems(None, {"HANDSHAKE_UPSTREAMS": "5", "HANDSHAKE_WEBHOOKS__LISTEN": "127.0.0.1:1"})
    assert list(found) == ["upstreams", "webhooks.secret_file"]


def test_no_error_quotes_a_secret() -> None:
    secret = {
        "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://me:hush@h/path",
        "HANDSHAKE_UPSTREAMS__MAIN__PROXY": "socks5://me:hush@h",
        "HANDSHAKE_STORE__URL": "{hush",
        "HANDSHAKE_WEBHOOKS__SECRET_FILE": "{hush: [hush]}",
        "HANDSHAKE_HANDSHAKE__TOKEN_FILE": "[hush]",
        "HANDSHAKE_LOG__LEVEL": "hush",
        "HANDSHAKE_REFRESH__BATCH": "hush",
        "HANDSHAKE_HANDSHAKE__NAMESPACE": "hush",
    }
    assert "hush" not in str(problems(None, secret))
