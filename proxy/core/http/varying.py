"""Fields that differ from request to request, such as a request's id or its trace: found out, and taken out.

What is left of a request without them is a request for the same. So it can be known by its bytes though no two of a
client's requests are equal.
"""

import re
from collections.abc import Collection, Iterable

from proxy.core.http.fields import RawField

# Another value so often shows that a field differs each time.
_CHANGES = 8
# Names that are watched, and those that are taken out; a client has two or three of the latter.
_WATCHED, _TAKEN = 64, 16
# Who has one of these twice is refused, so that it can't be left out unseen (aiohttp's own list; RFC 9110 section 5.3).
_ONCE = frozenset(
    {
        b"content-length",
        b"content-location",
        b"content-range",
        b"content-type",
        b"etag",
        b"host",
        b"max-forwards",
        b"server",
        b"transfer-encoding",
        b"user-agent",
    }
)
# Lines of a head from which fields are taken out: a head of too many is to be refused.
_MAX_LINES = 100
_BLANK_LINE = b"\r\n\r\n"


class Varying:
    """Learns which fields differ each time. `telling`: names in lower case that are never taken out, for they count."""

    def __init__(self, telling: Collection[bytes]) -> None:
        self._telling = _ONCE.union(telling)
        self._last: dict[
            bytes, tuple[bytes, int]
        ] = {}  # by name as spelled: its last value, and how often it changed
        self._taken: list[bytes] = []
        self._pattern: re.Pattern[bytes] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether none is known yet."""
        return self._pattern is None

    def learn(self, fields: Iterable[RawField]) -> None:
        """Look at the fields of one request."""
        for name, value in fields:
            last, changes = self._last.get(name, (None, -1))
            if value == last:
                continue
            if last is None and (len(self._last) == _WATCHED or name.lower() in self._telling):
                continue
            self._last[name] = value, changes + 1
            if changes + 1 == _CHANGES and len(self._taken) < _TAKEN:
                self._taken.append(re.escape(name))
                self._pattern = re.compile(rb"\r\n(?:%b):[ -~]*(?=\r\n)" % b"|".join(self._taken))

    def without(self, request: bytes) -> bytes:
        """A request without those of its fields that differ each time and are of visible ASCII; with its body.

        The same if it has very many: how many fields are too many is for others to say.
        """
        if self._pattern is None:
            return request
        head = request.find(_BLANK_LINE) + 2
        if request.count(b"\n", 0, head) > _MAX_LINES:
            return request
        return self._pattern.sub(b"", request[:head]) + request[head:]
