"""JSON pointers (RFC 6901) into decoded documents."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, Self

from config.text_value import TextValue


class Missing(Enum):
    """What `Pointer.resolve` returns when there is nothing: None is a JSON value."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING

# No JSON array that we would hold has more than 10^9 elements, and int() of a long text is slow.
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


@dataclass(frozen=True, slots=True)
class Pointer(TextValue):
    """A place inside a JSON document; no tokens mean the whole of it."""

    KIND: ClassVar[str] = "JSON pointer"
    EXAMPLE: ClassVar[str] = "/id"

    tokens: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pointer that `text` spells. Raises ValueError."""
        if text and not text.startswith("/"):
            raise ValueError(f"a JSON pointer starts with a slash, such as {cls.EXAMPLE}")
        if _BAD_ESCAPE.search(text):
            raise ValueError("in a JSON pointer a tilde is written ~0, and a slash inside a name ~1")
        return cls(tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]))

    def __str__(self) -> str:
        return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in self.tokens)

    def resolve(self, document: object) -> object:
        """The value at this place of decoded JSON (dicts and lists), or MISSING."""
        for token in self.tokens:
            if isinstance(document, dict):
                document = document.get(token, MISSING)
            elif isinstance(document, list) and _INDEX.fullmatch(token) and int(token) < len(document):
                document = document[int(token)]
            else:
                return MISSING
        return document
