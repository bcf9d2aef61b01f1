"""Secrets in files that are replaced while the program runs."""

import os
from pathlib import Path

import pytest

from config.load import SecretFile, SecretUnreadable


def test_it_reads_text_without_the_final_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"s3cret \r\n")
    assert SecretFile(file).read() == "s3cret "


def test_it_notices_new_content(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    secret = SecretFile(file)
    assert secret.read() == "one"
    file.write_text("three")
    assert secret.read() == "three"


def test_it_notices_the_link_that_kubernetes_moves(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
        os.utime(tmp_path / name / "token", ns=(1, 1))
    data = tmp_path / "..data"
    data.symlink_to("one")
    secret = SecretFile(data / "token")
    assert secret.read() == "one"
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(data)
    assert secret.read() == "two"


def test_an_unchanged_file_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    secret = SecretFile(file)
    secret.read()
    monkeypatch.setattr(Path, "open", None)
    assert secret.read() == "one"


@pytest.mark.parametrize("replacement", [None, b"", b"\xff", b"x" * 70_000])
def test_the_last_good_value_serves_on(tmp_path: Path, replacement: bytes | None) -> None:
    file = tmp_path / "token"
    file.write_text("good")
    secret = SecretFile(file)
    secret.read()
    if replacement is None:
        file.unlink()
    else:
        file.write_bytes(replacement)
    assert secret.read() == "good"
    file.write_text("better")
    assert secret.read() == "better"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hush\xff", "not UTF-8"),
        (b"hush" * 20_000, "larger than 64KiB"),
        (b"hush\nhush", "one line"),
    ],
)
def test_an_unusable_file_is_named_and_its_content_is_not(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SecretUnreadable, match=message) as caught:
        SecretFile(file, one_line=True).read()
    assert str(file) in str(caught.value)
    assert "hush" not in str(caught.value)


def test_several_lines_are_fine_where_they_are_meant(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("one\ntwo\n")
    assert SecretFile(file).read() == "one\ntwo"


def test_its_repr_has_no_content(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hush")
    secret = SecretFile(file)
    secret.read()
    assert "hush" not in repr(secret)
    assert str(file) in repr(secret)


@pytest.mark.parametrize("replacement", [None, b"", b"\xff", b"x" * 70_000])
def test_where_nothing_serves_on_what_cannot_be_read_is_no_secret_any_more(
    tmp_path: Path, replacement: bytes | None
) -> None:
    file = tmp_path / "secrets"
    file.write_text("good")
    secret = SecretFile(file, serves_on=False)
    assert secret.read() == "good"
    if replacement is None:
        file.unlink()
    else:
        file.write_bytes(replacement)
    for _ in range(2):
        with pytest.raises(SecretUnreadable):
            secret.read()
    file.write_text("better")
    assert secret.read() == "better"
