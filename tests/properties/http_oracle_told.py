"""What the oracle is told of, and what it reckons may be stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.properties.http_oracle_reading import Fields, date, first_age, line

SERIAL = "x-serial"
"""The field with which an origin numbers its answers."""


@dataclass(frozen=True)
class Asked:
    """A request as the client sent it."""

    number: int
    method: str
    target: str
    fields: Fields
    at: float


@dataclass(frozen=True)
class Exchange:
    """One call that the origin got, and what it said."""

    serial: int
    asked: Asked
    """The client's request on whose behalf it came."""
    method: str
    sent: Fields
    """The fields with which it came."""
    status: int
    """0: nothing was said, the connection was closed."""
    fields: Fields
    body: bytes
    requested_at: float
    received_at: float
    is_complete: bool = True
    underway: float = 0.0
    """Seconds that it may have been sent before the origin saw it, for others were answered meanwhile."""

    @property
    def target(self) -> str:
        return self.asked.target

    @property
    def has_failed(self) -> bool:
        return not self.is_complete or self.status == 0 or self.status >= 500


@dataclass(frozen=True)
class Got:
    """What the client was answered."""

    asked: Asked
    status: int
    fields: Fields
    body: bytes
    at: float

    @property
    def serial(self) -> int | None:
        found = line(self.fields, SERIAL)
        return None if found is None else int(found)


@dataclass(frozen=True)
class Stored:
    """An answer that may be stored, as it would be now."""

    serial: int
    """Of the origin's answer that its fields are of."""
    asked: Asked
    """The request whose answer the body is: its fields are what Vary selects by."""
    by: int
    """The number of the request for which it was fetched, or last validated."""
    status: int
    fields: Fields
    content: Mapping[int, int] = field(default_factory=dict)
    """The bytes by their position."""
    complete: int | None = None
    """How many there are in all, if that is known."""
    requested_at: float = 0.0
    received_at: float = 0.0
    underway: float = 0.0
    only_for: int | None = None
    """The request that alone may see it."""
    is_for_credential: bool = False
    """Whether it was told to a request with Authorization, and to no other."""
    is_invalid: bool = False
    """Of no use before it is validated."""

    @property
    def is_whole(self) -> bool:
        return self.complete is not None and len(self.content) == self.complete

    @property
    def body(self) -> bytes:
        return bytes(self.content[place] for place in sorted(self.content))

    def made_at(self) -> float:
        """A missing or invalid Date is the time of receipt (RFC 9110 section 6.6.1)."""
        found = date(line(self.fields, "date") or "", self.received_at)
        return self.received_at if found is None else found

    def age(self, now: float) -> float:
        """Section 4.2.3."""
        apparent = max(0.0, self.received_at - self.made_at())
        corrected = first_age(self.fields) + self.received_at - self.requested_at
        return max(apparent, corrected) + now - self.received_at


def strong_etag(fields: Fields) -> str | None:
    tag = line(fields, "etag")
    return tag if tag is not None and tag.startswith('"') else None


def opaque_tag(tag: str | None) -> str | None:
    """What weak comparison looks at (RFC 9110 section 8.8.3.2)."""
    return None if tag is None else tag.removeprefix("W/")
