"""Finds what was planted, however it is spelled: as it is, in any case, escaped, encoded, hashed without a key."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

_SHORTEST = 8
"""Characters of a planted value: a shorter one could stand somewhere by chance."""
_BEFORE = {0: 0, 1: 2, 2: 3}
"""How many characters of base64 the bytes before share with a value, by how many bytes of its group are before it."""


def in_base64(value: bytes) -> Iterator[bytes]:
    """The characters that a value has for certain in base64 of a text around it, for each way that it can lie there."""
    for before, shared in _BEFORE.items():
        encoded = base64.b64encode(bytes(before) + value)[shared : (before + len(value)) * 8 // 6]
        yield encoded
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))


def in_any_case(value: str) -> Iterator[bytes]:
    """The spellings in which upper and lower case do not matter."""
    raw = value.encode()
    escaped = json.dumps(value)[1:-1]
    yield from (raw, value[::-1].encode())
    yield from (quote(value, safe="").encode(), quote(value).encode(), quote_plus(value).encode())
    yield from (quote(quote(value, safe=""), safe="").encode(), repr(raw)[2:-1].encode())
    yield from (escaped.encode(), json.dumps(escaped)[1:-1].encode(), escaped.replace("/", "\\/").encode())
    yield "".join(f"\\u{ord(sign):04x}" for sign in value).encode()
    yield from (value.encode("utf-16-le"), value.encode("utf-16-be"), raw.decode("latin-1").encode())
    yield raw.hex().encode()
    yield from (
        hashlib.sha256(raw).hexdigest().encode(),
        hashlib.sha1(raw, usedforsecurity=False).hexdigest().encode(),
    )


def folded(raw: bytes) -> bytes:
    """Lower case, of letters beyond ASCII too where the bytes are UTF-8."""
    return raw.decode(errors="surrogateescape").lower().encode(errors="surrogateescape")


class Planted:
    """Values that must not be somewhere, each under a name that may be printed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        assert all(len(value) >= _SHORTEST for value in values.values())
        self.values = dict(values)
        self._exact = {name: set(in_base64(value.encode())) for name, value in values.items()}
        self._folded = {name: {folded(form) for form in in_any_case(value)} for name, value in values.items()}

    def found_in(self, text: bytes | str) -> set[str]:
        """The names of what is there."""
        raw = text.encode() if isinstance(text, str) else text
        lower = folded(raw)
        return {
            name
            for name in self.values
            if any(form in lower for form in self._folded[name])
            or any(form in raw for form in self._exact[name])
        }

    def found_below(self, directory: Path, *, leave: Iterable[Path] = ()) -> dict[str, set[str]]:
        """The same for the name and the content of each file of a directory, by the file's path in it."""
        left = {path for one in leave for path in (one, *one.rglob("*"))}
        files = {path for path in directory.rglob("*") if path.is_file()} - left
        found = {
            str(path.relative_to(directory)): self.found_in(path.read_bytes())
            | {f"{name} (in the name)" for name in self.found_in(str(path.relative_to(directory)))}
            for path in files
        }
        return {path: names for path, names in found.items() if names}
