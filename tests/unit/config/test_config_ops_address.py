"""The address that a health check asks, without the rest of the configuration."""

from pathlib import Path

import pytest

from config.address import Address
from config.load import ConfigError, ops_address


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
