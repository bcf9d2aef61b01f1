"""The effective configuration that check-config prints."""

from pathlib import Path

import pytest
import yaml

from config.load import effective, load
from config.url import redact

URL = {"HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.example.org"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "HANDSHAKE_RESOURCES__USER__FRESHNESS__TTL": "1234.5678s",
            "HANDSHAKE_RESOURCES__USER__COLUMNS": "{yes: /yes, n: /a~1b, caf: '/café'}",
            "HANDSHAKE_RESOURCES__TEAM__SINGLE__PATH": "/teams/{name*}",
            "HANDSHAKE_LIMITS__BULK_BODY": "12345",
            "HANDSHAKE_STORE__URL": "sqlite:///1:30",
            "HANDSHAKE_OPS__LISTEN": "[::]:0",
        },
    ],
)
def test_it_loads_again_to_the_same(environ: dict[str, str], tmp_path: Path) -> None:
    config = load(None, URL | environ)
    file = tmp_path / "effective.yaml"
    file.write_text(effective(config), encoding="utf-8")
    assert load(file, {}) == config


def test_it_is_in_human_units_and_in_the_order_of_the_model() -> None:
    shown = yaml.safe_load(effective(load(None, URL)))
    assert list(shown)[:3] == ["upstreams", "resources", "handshake"]
    assert shown["limits"]["header_bytes"] == "64KiB"
    assert shown["resources"]["user"]["freshness"]["stale_if_error"] == "90d"


def test_passwords_are_redacted_and_the_rest_loads_again(tmp_path: Path) -> None:
    config = load(
        None,
        URL
        | {
            "HANDSHAKE_STORE__URL": "postgresql://me:hush@h/d?sslpassword=hush&x=1",
            "HANDSHAKE_UPSTREAMS__MAIN__PROXY": "http://me:hush@proxy:3128",
        },
    )
    text = effective(config)
    assert "hush" not in text
    file = tmp_path / "effective.yaml"
    file.write_text(text)
    loaded = load(file, {})
    assert loaded.store.url == "postgresql://me:***@h/d?sslpassword=***&x=1"
    assert loaded.upstreams["main"].proxy == "http://me:***@proxy:3128"
    assert loaded.limits == config.limits


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:1", "http://h:1"),
        ("http://u:p@h:1", "http://u:***@h:1"),
        ("http://token@h", "http://***@h"),
        ("http://u:p@q@h/a@b", "http://u:***@h/a@b"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("postgresql://h/d?password=p", "postgresql://h/d?password=***"),
    ],
)
def test_redaction(url: str, shown: str) -> None:
    assert redact(url) == shown
