"""The file of the secrets that sign webhooks."""

import base64
from pathlib import Path

import pytest

from config import load as config
from config.errors import ConfigError, SecretUnreadable
from config.webhook_secrets import MOST, load, parse


def secret(fill: bytes, size: int = 32) -> str:
    return f"whsec_{base64.b64encode(fill * size).decode()}"


A, B = secret(b"a"), secret(b"b")


def test_each_line_is_a_secret_but_for_comments_and_blank_lines() -> None:
    listed = parse(f"# the new one\n{A}\n\n  \n{B}  \r\n #{A}\n")
    assert (listed.secrets, listed.malformed) == ((A, B), ())


@pytest.mark.parametrize("size", [24, 25, 32, 64])
def test_padding_may_be_left_out(size: int) -> None:
    padded = secret(b"k", size)
    assert parse(padded).secrets == (padded,)
    assert parse(padded.rstrip("=")).secrets == (padded.rstrip("="),)


@pytest.mark.parametrize(
    "line",
    [
        "hush",
        A.removeprefix("whsec_"),
        A.replace("whsec_", "whpk_"),
        secret(b"a", 23),
        secret(b"a", 65),
        "whsec_",
        A + "!",
        A.replace("Y", "é"),
        f"{A} {B}",
        f"{A},{B}",
        "\ufeff" + A,
    ],
)
def test_any_other_line_is_malformed_and_the_rest_counts(line: str) -> None:
    listed = parse(f"{A}\n{line}\n{B}")
    assert listed.secrets == (A, B)
    assert [number for number, _ in listed.malformed] == [2]
    assert "24 to 64 bytes" in listed.malformed[0].message


def test_only_so_many_count() -> None:
    listed = parse("\n".join(secret(bytes([n])) for n in range(MOST + 2)))
    assert len(listed.secrets) == MOST
    assert [line for line, _ in listed.malformed] == [MOST + 1, MOST + 2]


def test_a_file_has_to_be_right_as_a_whole_and_each_wrong_line_is_named_without_its_content(
    tmp_path: Path,
) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{A}\nhush\n# fine\nhush too\n")
    with pytest.raises(SecretUnreadable) as caught:
        load(file)
    assert [problem.message.split(" must")[0] for problem in caught.value.problems] == ["line 2", "line 4"]
    assert "hush" not in str(caught.value)
    file.write_text("# soon\n")
    with pytest.raises(SecretUnreadable, match="has no secret"):
        load(file)
    file.write_text(f"{B}\n{A}\n")
    assert load(file) == (B, A)


def test_at_start_a_malformed_line_is_an_error_of_its_key(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{A}\nhush\n")
    with pytest.raises(ConfigError) as caught:
        config.load(
            None,
            {
                "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.example.org",
                "HANDSHAKE_WEBHOOKS__LISTEN": "127.0.0.1:8090",
                "HANDSHAKE_WEBHOOKS__SECRET_FILE": str(file),
            },
        )
    assert str(caught.value) == (
        f"webhooks.secret_file: {file}: line 2 must be whsec_ and the base64 of 24 to 64 bytes"
    )
