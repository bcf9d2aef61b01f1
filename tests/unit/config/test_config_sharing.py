"""`sharing.key_file`: where it is named, when it is looked at, what it must hold."""

from pathlib import Path

import pytest

from config.load import ConfigError, effective, load
from config.model import Config

URL = {"HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.example.org"}
PER_CREDENTIAL = {"HANDSHAKE_RESOURCES__BUSINESS__SHARING": "per_credential"}
KEY = "0123456789abcdef"


def with_key(file: Path, **environ: str) -> Config:
    return load(None, URL | {"HANDSHAKE_SHARING__KEY_FILE": str(file)} | environ)


def test_a_key_of_sixteen_characters_will_do(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    config = with_key(file, **PER_CREDENTIAL)
    assert (config.sharing.key_file, config.tells_credentials_apart) == (file, True)
    assert f"key_file: {file}" in effective(config)
    assert KEY not in effective(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (KEY[1:].encode() + b"\n", "is shorter than 16 characters"),
        (b"\xff" * 20, "is not UTF-8 text"),
    ],
)
def test_a_file_without_a_key_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        with_key(file, **PER_CREDENTIAL)
    (problem,) = caught.value.problems
    assert problem.path == "sharing.key_file"
    assert message in problem.message
    assert KEY[1:] not in problem.message


def test_it_is_not_looked_at_where_no_resource_needs_it(tmp_path: Path) -> None:
    config = with_key(tmp_path / "nowhere")
    assert not config.tells_credentials_apart
    assert config.sharing.key_file == tmp_path / "nowhere"


def test_a_file_may_name_it_too(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    document = tmp_path / "handshake.yaml"
    document.write_text(f"sharing: {{key_file: {tmp_path / 'key'}}}\n")
    assert load(document, URL | PER_CREDENTIAL).sharing.key_file == tmp_path / "key"
