"""Path templates: which requests a resource claims, and which entity each asks for.

| template | matches | id |
|---|---|---|
| `/users/bulk` | exactly that path, byte for byte | `""` |
| `/users/{id}`, `/users/{id}/card` | one non-empty segment in that place | the segment, percent-decoded once |
| `/files/{name*}` | everything below | the rest of the path, as it was spelled |

What could be read in two ways is not matched, and so goes to the upstream untouched: broken percent-encoding,
bytes that are not UTF-8, control characters, `.` and `..`, ids longer than 1,024 bytes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, Self
from urllib.parse import quote, unquote_to_bytes

from config.text_value import TextValue

MAX_ID_BYTES: Final = 1024
"""An id names an entity; what is longer is a mistake or an attack, and would be a key in every tier."""

_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\*?)\}")
# Possessive (++), so that a path that does not fit is given up in one pass.
_RAW_SEGMENT: Final = re.compile(rb"(?:[^\x00-\x20\x7f/?#%]++|%[0-9A-Fa-f]{2})++")
_RAW_REST: Final = re.compile(rb"(?:[!\"$&->@-~]++|%[0-9A-Fa-f]{2})++")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DOTS: Final = frozenset({".", ".."})


_PCHAR: Final = "!$&'()*+,;=:@~"
"""What may stand in a path segment besides letters, digits, `-`, `.` and `_` (RFC 3986 section 3.3). An upstream that
compares paths as they are spelled knows these by their plain spelling."""


class _Kind(Enum):
    LITERAL = "literal"
    SEGMENT = "segment"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class PathTemplate(TextValue):
    """A compiled template; make one with `parse`."""

    KIND: ClassVar[str] = "path"
    EXAMPLE: ClassVar[str] = "/users/{id}"

    text: str
    _kind: _Kind
    _prefix: bytes
    _suffix: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Compile `text`. Raises ValueError with a message for the operator."""
        if not text.startswith("/") or text.startswith("//"):
            raise ValueError(f"a path starts with one slash, such as {cls.EXAMPLE}")
        segments = text.split("/")
        places = [at for at, segment in enumerate(segments) if "{" in segment or "}" in segment]
        _check_literals(segment for at, segment in enumerate(segments) if at not in places)
        if not places:
            return cls(text, _Kind.LITERAL, text.encode(), b"")
        placeholder = _PLACEHOLDER.fullmatch(segments[places[0]])
        if placeholder is None or len(places) > 1:
            raise ValueError(
                f"a path has at most one placeholder, and it is a whole segment, as in {cls.EXAMPLE}"
            )
        prefix = "/".join(segments[: places[0]]) + "/"
        suffix = text[len(prefix) + len(placeholder[0]) :]
        if placeholder[2] and suffix:
            raise ValueError("{name*} is the rest of the path, so nothing follows it, as in /files/{name*}")
        kind = _Kind.REST if placeholder[2] else _Kind.SEGMENT
        return cls(text, kind, prefix.encode(), suffix.encode())

    def __str__(self) -> str:
        return self.text

    @property
    def has_placeholder(self) -> bool:
        """False for a literal path."""
        return self._kind is not _Kind.LITERAL

    @property
    def prefix(self) -> bytes:
        """What each path begins with that `match` takes."""
        return self._prefix

    def match(self, raw_path: bytes) -> str | None:
        """The id in a path as it stood on the wire, without query; `""` for a literal; None when it is not ours."""
        if self._kind is _Kind.LITERAL:
            return "" if raw_path == self._prefix else None
        if not (raw_path.startswith(self._prefix) and raw_path.endswith(self._suffix)):
            return None
        # Empty when prefix and suffix share bytes of a path that is too short; then nothing matches.
        value = raw_path[len(self._prefix) : len(raw_path) - len(self._suffix)]
        return _segment_id(value) if self._kind is _Kind.SEGMENT else _rest_id(value)

    def claims(self, raw_path: bytes) -> bool:
        """Whether a path, as it stood on the wire, is one whose responses are cached, whatever id it names: what
        `match` takes, and of `{name*}` all that begins so, the prefix alone too. Not what the upstream may resolve to
        another path (`.` and `..`)."""
        if self._kind is not _Kind.REST:
            return self.match(raw_path) is not None
        return raw_path.startswith(self._prefix) and not any(
            _is_dots(segment) for segment in raw_path.decode("latin-1").split("/")
        )

    def expand(self, id: str) -> str:  # noqa: A002 - the field's name for it everywhere
        """The path of an entity, percent-encoded; `match` gives `id` again. A literal path is itself.

        Raises ValueError when no path has this id (empty, too long, `.`, control characters).
        """
        if self._kind is _Kind.LITERAL:
            return self.text
        value = quote(id, safe=_PCHAR, errors="surrogatepass") if self._kind is _Kind.SEGMENT else id
        path = f"{self._prefix.decode()}{value}{self._suffix.decode()}"
        if self.match(path.encode(errors="replace")) != id:
            raise ValueError("no path of this template has that id")
        return path

    def overlaps(self, other: "PathTemplate") -> bool:
        """Whether some path is matched by both."""
        if not self.has_placeholder:
            return other.match(self.text.encode()) is not None
        if not other.has_placeholder:
            return self.match(other.text.encode()) is not None
        return _overlap(self.text.split("/"), other.text.split("/"))


def _check_literals(segments: Iterable[str]) -> None:
    for segment in segments:
        if _is_dots(segment):
            raise ValueError("a path has no . or .. segments: clients resolve them before they ask")
        if not _LITERAL.fullmatch(segment):
            raise ValueError(
                "a path is ASCII without query, fragment and white space, everything else percent-encoded, "
                "such as /caf%C3%A9/{id}"
            )


def _segment_id(raw: bytes) -> str | None:
    if not _RAW_SEGMENT.fullmatch(raw):
        return None
    value = unquote_to_bytes(raw)
    if len(value) > MAX_ID_BYTES:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return None if text in _DOTS or _CONTROL.search(text) else text


def _rest_id(raw: bytes) -> str | None:
    if len(raw) > MAX_ID_BYTES or not _RAW_REST.fullmatch(raw):
        return None
    text = raw.decode("ascii")
    # The upstream resolves dot segments, however they are spelled: such a path has a second name.
    return None if any(map(_is_dots, text.split("/"))) else text


def _is_dots(segment: str) -> bool:
    return segment.replace("%2e", ".").replace("%2E", ".") in _DOTS


def _overlap(left: list[str], right: list[str]) -> bool:
    """Whether two paths with placeholders, split into segments, have a path in common."""
    open_ended = [len(segments) - 1 for segments in (left, right) if segments[-1].endswith("*}")]
    if not open_ended:
        return len(left) == len(right) and all(map(_segments_agree, left, right))
    fixed = min(open_ended)
    # What stands where the other's rest is must not be nothing at all: a rest is never empty.
    reaches = all(len(segments) > fixed and segments[fixed:] != [""] for segments in (left, right))
    return reaches and all(map(_segments_agree, left[:fixed], right[:fixed]))


def _segments_agree(left: str, right: str) -> bool:
    if left.startswith("{"):
        return right.startswith("{") or _segment_id(right.encode()) is not None
    return left == right or (right.startswith("{") and _segment_id(left.encode()) is not None)
