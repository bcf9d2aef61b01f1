"""An origin that answers as a test tells it to, and keeps account of it; and the strategies for what it is told.

Each answer has a serial number. A target has versions, and its bytes tell the version and the place: so a part of a
body, too, shows what it was cut out of.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from hypothesis import strategies as st

from tests.integration.harness import Clock, ScriptedUpstream, Seen
from tests.properties.http_oracle_reading import Fields, Span, asked_range, date, line
from tests.properties.http_oracle_stored import SAFE
from tests.properties.http_oracle_told import Asked, Exchange, opaque_tag, strong_etag

LENGTH = 10
"""Bytes of each representation."""
LONG_AGO = 500.0
"""Seconds before its example at which a target was last modified."""


@dataclass(frozen=True)
class Answer:
    """How the origin answers; times are seconds from now."""

    status: int = 200
    control: tuple[str, ...] = ()
    """Lines of Cache-Control."""
    targeted: str | None = None
    etag: str = "strong"
    """strong, weak, same (for all versions) or none."""
    modified: str = "none"
    """version: a while ago; now; bad; none."""
    made: float | str | None = 0.0
    age: str | None = None
    expires: tuple[float | str, ...] = ()
    vary: str | None = None
    extras: frozenset[str] = frozenset()
    """Of: cookie, conn, secret."""
    conditions: str = "honest"
    """honest: as they are met. Else a 304, whatever they are: bare, without validators; other, with those of another
    version; right, with those of now. never: no 304."""
    has_ranges: bool = True
    is_chunked: bool = False
    fate: str = "answers"
    """answers; closes: without a word; cuts: in the middle of the body."""
    delay: float = 0.0
    named: tuple[str, ...] = ()
    """Further field lines, such as a Location."""


def body_of(version: int) -> bytes:
    """Each byte tells its version and its place."""
    return bytes(((version % 20) * LENGTH + place) % 251 for place in range(LENGTH))


@dataclass
class Origin:
    """One service. `now` is how it answers whatever comes."""

    clock: Clock
    said: Callable[[Exchange], None]
    now: Answer = Answer()
    started_at: float = 0.0
    versions: Counter[str] = field(default_factory=Counter)
    serial: int = 0
    asked: dict[int, Asked] = field(default_factory=dict)
    """The requests of clients by number."""
    strays: list[str] = field(default_factory=list)
    """Calls that nobody's request explains."""
    answered_at: dict[int, float] = field(default_factory=dict)
    """When a call for them was answered last."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    upstream: ScriptedUpstream = field(init=False)

    def __post_init__(self) -> None:
        self.upstream = ScriptedUpstream(self._script)
        self.gate.set()

    async def _script(self, seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer, requested_at = self.now, self.clock()
        method, target = (part.decode("latin-1") for part in seen.line.split()[:2])
        sent = text(seen.fields)
        asked = self._on_behalf(sent, target)
        # A call for it is sent once it was asked, or once the one before it was answered.
        underway = requested_at - self.answered_at.get(asked.number, asked.at)
        await self.gate.wait()
        self.clock.tick(answer.delay)
        self.serial += 1
        if method not in SAFE and answer.status < 400:
            self.versions[target] += 1
        status, fields, body = self._answer(answer, method, target, sent)
        self.answered_at[asked.number] = self.clock()
        is_silent = answer.fate == "closes"
        is_cut = answer.fate == "cuts" and method != "HEAD" and len(body) > 1
        self.said(
            Exchange(
                self.serial, asked, method, sent, 0 if is_silent else status, fields, body, requested_at, self.clock(),
                is_complete=not is_cut, underway=underway,
            )
        )  # fmt: skip
        if is_silent:
            raise ConnectionResetError
        writer.write(
            rendered(answer, method, status, fields, body[: len(body) // 2] if is_cut else body, len(body))
        )
        if is_cut:
            await writer.drain()
            raise ConnectionResetError

    def _on_behalf(self, sent: Fields, target: str) -> Asked:
        """The client's request that this comes of: the proxy passes on the fields that it does not know."""
        number = int(line(sent, "x-request-id") or 0)
        asked = self.asked.get(number)
        if asked is None or asked.target != target:
            self.strays.append(f"{target} {sent}")
            raise ConnectionResetError
        return asked

    def _answer(self, answer: Answer, method: str, target: str, sent: Fields) -> tuple[int, Fields, bytes]:
        version = self.versions[target]
        body = body_of(version)
        fields = self._fields(answer, version)
        if method in SAFE and 200 <= answer.status < 300:
            if not_modified(answer, sent, fields):
                return 304, self._of_304(answer, version, fields), b""
            wanted = asked_range(sent, LENGTH) if method == "GET" and answer.status == 200 else "ignored"
            # Who gives all versions one strong tag can't have their parts told apart.
            has_ranges = answer.has_ranges and answer.etag != "same"
            if has_ranges and wanted != "ignored" and may_be_part(sent, fields):
                if not isinstance(wanted, Span):
                    return 416, (*fields, ("Content-Range", f"bytes */{LENGTH}")), b""
                told = ("Content-Range", f"bytes {wanted.first}-{wanted.last}/{LENGTH}")
                return 206, (*fields, told), body[wanted.first : wanted.last + 1]
        return answer.status, fields, b"" if answer.status in {204, 304} else body

    def _fields(self, answer: Answer, version: int) -> Fields:
        now = self.clock()
        found: list[tuple[str, str]] = [("X-Serial", str(self.serial)), ("X-Extra", f"of {self.serial}")]
        if answer.made is not None:
            found.append(("Date", at(answer.made, now)))
        found += [("Cache-Control", one) for one in answer.control]
        if answer.targeted is not None:
            found.append(("CDN-Cache-Control", answer.targeted))
        found += [("Expires", at(one, now)) for one in answer.expires]
        if answer.age is not None:
            found.append(("Age", answer.age))
        if answer.vary is not None:
            found.append(("Vary", answer.vary))
        tag = {"strong": f'"v{version}"', "weak": f'W/"v{version}"', "same": '"same"'}.get(answer.etag)
        found += [("ETag", tag)] if tag is not None else []
        changed = {
            "version": at(self.changed_at(version) - now, now),
            "now": at(0.0, now),
            "bad": "yesterday",
        }
        found += [("Last-Modified", changed[answer.modified])] if answer.modified in changed else []
        if "cookie" in answer.extras:
            found.append(("Set-Cookie", f"session={self.serial}"))
        if "conn" in answer.extras:
            found += [("X-Conn", str(self.serial)), ("Connection", "X-Conn")]
        if "secret" in answer.extras:
            found.append(("X-Secret", str(self.serial)))
        found += [(name, value) for name, _, value in (one.partition(": ") for one in answer.named)]
        return tuple(found)

    def changed_at(self, version: int) -> float:
        """When that version came."""
        return self.started_at - LONG_AGO + 10.0 * version

    def _of_304(self, answer: Answer, version: int, fields: Fields) -> Fields:
        if answer.conditions == "other":
            fields = self._fields(answer, version + 7)
        if answer.conditions == "bare":
            fields = tuple(one for one in fields if one[0] not in {"ETag", "Last-Modified"})
        return fields


def text(fields: list[tuple[bytes, bytes]]) -> Fields:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)


def at(when: float | str, now: float) -> str:
    """A date so many seconds from now, or what is none."""
    return when if isinstance(when, str) else formatdate(int(now + when), usegmt=True)


def not_modified(answer: Answer, sent: Fields, fields: Fields) -> bool:
    """Whether the origin answers a condition with a 304."""
    wanted, since = line(sent, "if-none-match"), line(sent, "if-modified-since")
    if answer.conditions == "never" or (wanted is None and since is None):
        return False
    if answer.conditions != "honest":
        return True
    if wanted is not None:
        tag = opaque_tag(line(fields, "etag"))
        return wanted == "*" or (
            tag is not None and tag in {opaque_tag(one.strip()) for one in wanted.split(",")}
        )
    changed = date(line(fields, "last-modified") or "", 0.0)
    until = date(since or "", 0.0)
    return changed is not None and until is not None and changed <= until


def may_be_part(sent: Fields, fields: Fields) -> bool:
    condition = line(sent, "if-range")
    return condition is None or condition == strong_etag(fields)


def rendered(answer: Answer, method: str, status: int, fields: Fields, body: bytes, length: int) -> bytes:
    """An answer as it goes over the wire; `length` is what it says of itself."""
    head = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields)]
    is_cut = len(body) != length
    if status in {204, 304}:
        framed = b""
    elif answer.is_chunked and method != "HEAD":
        head.append("Transfer-Encoding: chunked")
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        framed = chunk if is_cut else chunk + b"0\r\n\r\n"
    else:
        head.append(f"Content-Length: {length}")
        framed = b"" if method == "HEAD" else body
    return "\r\n".join([*head, "", ""]).encode("latin-1") + framed


FRESH = (
    "max-age=20", "max-age=60", "s-maxage=20", "public, max-age=20", "max-age=5", "max-age=5, must-revalidate",
    "max-age=5, stale-while-revalidate=20", "max-age=5, stale-if-error=60", "no-cache", "max-age=0",
    'max-age=20, no-cache="x-secret"',
)  # fmt: skip
MEMBERS = (
    *FRESH, "max-age=0", "no-cache", "no-store", "private", "public", "must-revalidate", "proxy-revalidate",
    "s-maxage=0", "must-understand", "stale-while-revalidate=10", "stale-if-error=10", "stale-if-error=0",
    'no-cache="x-secret"', 'private="x-secret"', "no-cache=x-secret", "private=X-Secret", 'no-cache=""', 'private=""',
    'no-cache="x secret"', 'private="x-secret', 'max-age="20"', "max-age=abc", "max-age=-1", "max-age=1.5",
    "max-age=20s", "max-age=", "max-age", "max-age =20", "max-age= 20", "max-age=020", "max-age=99999999999999999999",
    "MAX-AGE=20", "No-Store", "immutable", "x-unknown", "x-unknown=1", 'x-unknown="a, max-age=60"', "s-maxage=abc",
    "max-age='20'", "max-age=20 x", "=20", "stale-while-revalidate=x", "",
)  # fmt: skip
TARGETED = (
    "max-age=20", "max-age=0", "no-store", "private", "no-cache", "must-revalidate, max-age=10", "max-age=20, no-store",
    "max-age=20.5", "MaX-aGe=20", "max-age", "max-age=-5", 'max-age="20"', "no-store=?0, max-age=20", "none", "",
    "max-age=20;x=1", "max-age=20,", "max-age=5, max-age=20", 'no-cache="x-secret", max-age=20', "s-maxage=20", "&",
    "stale-while-revalidate=10, max-age=5", "no-store=5, max-age=20", "public",
)  # fmt: skip
DATES = (
    20.0, 20.0, 60.0, 5.0, 0.0, -10.0, "0", "-1", "Fri, 15 Jan 2050 08:00:00 PST", "Fri, 15 Jan 2050 08:00:00 UTC",
    "15 Jan 2050 08:00:00 GMT", "Friday, 15-Jan-50 08:00:00 GMT", "Fri Jan 15 08:00:00 2050",
    "fri, 15 jan 2050 08:00:00 gmt", "Fri, 15 Jan 2050 8:00:00 GMT", "Fri, 15 Jan 2050  08:00:00 GMT",
    "Fri, 32 Jan 2050 08:00:00 GMT", "Fri 15 Jan 2050 08:00:00 GMT", "Fri, 15 Jan 2050 08:00 GMT", "",
)  # fmt: skip
VARIES = (
    "Accept-Language",
    "X-Select",
    "accept-language, X-Select",
    "*",
    "X-Select, *",
    "Accept-Encoding",
    "X-Select,",
)


@st.composite
def controls(draw: st.DrawFn) -> tuple[str, ...]:
    """Lines of Cache-Control, most of which let an answer be stored."""
    one, other = draw(st.sampled_from(FRESH)), draw(st.sampled_from(MEMBERS))
    kind = draw(st.integers(0, 7))
    if kind < 5:
        return (one,)
    if kind == 5:
        return (f"{one}, {other}",)
    return (other, one) if kind == 6 else tuple(draw(st.lists(st.sampled_from(MEMBERS), max_size=3)))


STATUSES = (404, 410, 301, 302, 204, 203, 299, 599, 499, 500, 503, 503, 201)


@st.composite
def ways(draw: st.DrawFn) -> Answer:
    """What the answers of one example have in common: an origin is mostly the same from one answer to the next."""
    return Answer(
        etag=draw(st.sampled_from(("strong", "strong", "strong", "weak", "none", "same"))),
        modified=draw(st.sampled_from(("none", "version", "version", "now", "bad"))),
        vary=draw(st.sampled_from((None,) * 12 + VARIES)),
        has_ranges=draw(st.booleans()),
        control=draw(controls()),
    )


@st.composite
def answers(draw: st.DrawFn, way: Answer) -> Answer:
    """Mostly plain ones that may be stored, so that much is reused."""
    change: dict[str, Any] = {"control": draw(controls())} if draw(st.booleans()) else {}
    rare: dict[str, st.SearchStrategy[Any]] = {
        "status": st.sampled_from(STATUSES),
        "targeted": st.sampled_from(TARGETED),
        "made": st.sampled_from((None, -10.0, -3.0, 5.0, "yesterday", "0")),
        "age": st.sampled_from(("0", "3", "15", "15, 0", "0, 30", "abc", "-1", "1.5")),
        "expires": st.lists(st.sampled_from(DATES), min_size=1, max_size=2).map(tuple),
        "vary": st.sampled_from((None, *VARIES)),
        "etag": st.sampled_from(("strong", "weak", "none", "same")),
        "extras": st.frozensets(st.sampled_from(("cookie", "conn", "secret")), min_size=1),
        "conditions": st.sampled_from(("bare", "other", "right", "never")),
        "is_chunked": st.just(True),
        "has_ranges": st.booleans(),
        "fate": st.sampled_from(("closes", "closes", "cuts")),
        "delay": st.sampled_from((1.0, 7.0)),
    }
    if draw(st.integers(0, 2)) == 2:
        for name in draw(st.lists(st.sampled_from(sorted(rare)), max_size=3, unique=True)):
            change[name] = draw(rare[name])
    # Without Cache-Control what else there is matters.
    if draw(st.integers(0, 9)) == 0:
        change |= {"control": (), "expires": (draw(st.sampled_from(DATES)),)}
    if way.vary is not None and draw(st.integers(0, 3)) == 0:
        change["vary"] = draw(st.sampled_from(VARIES))
    answer = replace(way, **change)
    # What a directive names had better be there.
    is_named = any("x-secret" in one.lower() for one in (*answer.control, answer.targeted or ""))
    return replace(answer, extras=answer.extras | {"secret"}) if is_named else answer
