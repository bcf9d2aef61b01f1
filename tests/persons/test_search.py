"""The searcher finds what is there: without this, the other tests here would show nothing."""

import base64
import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.persons.search import Planted


def base64_after(before: int, value: str) -> bytes:
    return base64.b64encode(b"x" * before + value.encode() + b"yz")


VALUE = "Zoë/Planted+7@example.org"
PLANTED = Planted({"email": VALUE, "another": "never written"})
FORMS: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "upper case": lambda value: value.upper().encode(),
    "reversed case": lambda value: value.swapcase().encode(),
    "backwards": lambda value: value[::-1].encode(),
    "in a path": lambda value: quote(value, safe="").encode(),
    "in a path, lower hex": lambda value: quote(value, safe="").lower().encode(),
    "in a query": lambda value: quote(value).encode(),
    "encoded twice": lambda value: quote(quote(value, safe=""), safe="").encode(),
    "JSON": lambda value: json.dumps({"a": value}).encode(),
    "JSON in JSON": lambda value: json.dumps(json.dumps(value)).encode(),
    "every sign escaped": lambda value: "".join(f"\\u{ord(sign):04X}" for sign in value).encode(),
    "repr of bytes": lambda value: repr(value.encode()).encode(),
    "hex": lambda value: value.encode().hex().upper().encode(),
    "UTF-16": lambda value: value.encode("utf-16"),
    "SHA-256": lambda value: hashlib.sha256(value.encode()).hexdigest().encode(),
    **{
        f"base64 after {before} bytes": partial(base64_after, before)
        for before in range(7)
    },
    "base64 of URLs": lambda value: base64.urlsafe_b64encode(f"?{value}??>>".encode()),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_it_finds_a_value_in_each_form_amid_other_bytes(form: str) -> None:
    written = FORMS[form](VALUE)
    assert PLANTED.found_in(b"\x00\xffbefore " + written + b" after\xfe") == {"email"}
    assert PLANTED.found_in(written[: len(written) // 2]) == set()


def test_it_finds_it_in_files_and_in_their_names(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(bytes(5000) + VALUE.encode())
    (tmp_path / "never written.txt").write_text("nothing")
    (tmp_path / "clean").write_text("nothing")
    assert PLANTED.found_below(tmp_path) == {
        "deep/file": {"email"},
        "never written.txt": {"another (in the name)"},
    }
    assert set(PLANTED.found_below(tmp_path, leave=[tmp_path / "deep"])) == {"never written.txt"}


def test_a_value_that_could_stand_there_by_chance_is_refused() -> None:
    with pytest.raises(AssertionError):
        Planted({"short": "abc"})
