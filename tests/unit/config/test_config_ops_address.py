"""The address that a health check asks, without the rest of the configuration."""

from pathlib import Path

import pytest

from config.address import Address
from config.load import ConfigError, load, not_yet, ops_address


def test_the_default_needs_nothing() -> None:
    assert ops_address(None, {}) == Address("127.0.0.1", 9464)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text("ops: {listen: '127.0.0.1:1'}\nupstreams: {main: {}}\n")
    assert ops_address(file, {}).port == 1
    assert ops_address(file, {"HANDSHAKE_OPS__LISTEN": "0.0.0.0:2", "HANDSHAKE_STORE__URL": "no"}).port == 2


def test_a_wrong_address_is_named() -> None:
    with pytest.raises(ConfigError, match=r"ops\.listen"):
        ops_address(None, {"HANDSHAKE_OPS__LISTEN": "nowhere"})


def test_an_opaque_resource_is_listed_as_awaited(tmp_path: Path) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text(
        "upstreams: {main: {url: 'http://a'}}\nresources: {page: {single: {path: '/pages/{rest*}'}}}\n"
    )
    assert not_yet(load(file, {})) == ["resources.page.id"]


def test_the_namespace_is_in_effect() -> None:
    settings = {
        "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://a",
        "HANDSHAKE_HANDSHAKE__NAMESPACE": "00000000-0000-5000-8000-000000000000",
        "HANDSHAKE_HANDSHAKE__LISTEN": "127.0.0.1:1",
    }
    assert not_yet(load(None, settings)) == []
