"""How the oracle reads HTTP fields: written from the RFCs, and on purpose without a line of the proxy's own parsers.

Where an RFC leaves a choice, this takes the reading that allows more, for the oracle only says what is forbidden;
what is malformed allows nothing, and forbids what it would forbid if it were not.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

Fields = tuple[tuple[str, str], ...]

LARGEST = 2**31
"""Seconds: RFC 9111 section 1.2.2, what a larger number counts as."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
}  # fmt: skip
"""RFC 9110 section 7.6.1 and RFC 9111 section 3.1."""


def values(fields: Fields, name: str) -> list[str]:
    return [value.strip(" \t") for key, value in fields if key.lower() == name]


def line(fields: Fields, name: str) -> str | None:
    """All lines of a field as one (RFC 9110 section 5.3), None where there is none."""
    found = values(fields, name)
    return ", ".join(found) if found else None


def members(value: str | None) -> list[str]:
    """Of a list of tokens, in lower case."""
    return [part.strip(" \t").lower() for part in (value or "").split(",") if part.strip(" \t")]


def without_hop(fields: Fields) -> Fields:
    """What goes on to the next hop: not what Connection lists, nor what concerns the connection by definition."""
    gone = _HOP_BY_HOP | set(members(line(fields, "connection")))
    return tuple(one for one in fields if one[0].lower() not in gone)


@dataclass(frozen=True)
class Directive:
    """One member of Cache-Control; `form` tells how its argument was written."""

    name: str
    form: str
    """none, token, quoted or bad."""
    argument: str = ""


def directives(value: str | None) -> list[Directive]:
    """RFC 9111 section 5.2: `token [ "=" ( token / quoted-string ) ]`, with no space around the sign."""
    found, rest = [], (value or "").lstrip(" \t,")
    while rest:
        name = _TOKEN.match(rest)
        if name is None:  # no directive at all: it has no name that anything could go by
            rest = rest.partition(",")[2].lstrip(" \t,")
            continue
        rest = rest[name.end() :]
        form, argument = "none", ""
        if rest.startswith("="):
            rest = rest[1:]
            given = _QUOTED.match(rest) or _TOKEN.match(rest)
            form = "bad" if given is None else "quoted" if rest.startswith('"') else "token"
            if given is not None:
                argument = re.sub(r"\\(.)", r"\1", given[1]) if form == "quoted" else given[0]
                rest = rest[given.end() :]
        behind, _, after = rest.partition(",")
        if behind.strip(" \t"):
            # An open quote has no end that anybody could know.
            form, after = "bad", "" if behind.lstrip(" \t").startswith('"') else after
        found.append(Directive(name[0].lower(), form, argument))
        rest = after.lstrip(" \t,")
    return found


@dataclass(frozen=True)
class Policy:
    """What an answer says of its use, by Cache-Control or by a targeted field."""

    no_store: bool = False
    private: bool = False
    no_cache: bool = False
    withheld: frozenset[str] = frozenset()
    """Fields of a qualified `private`, which must not be stored (5.2.2.7)."""
    confirmed: frozenset[str] = frozenset()
    """Fields of a qualified `no-cache`, which must not be reused without validation (5.2.2.4)."""
    flags: frozenset[str] = frozenset()
    """Names of all directives that are there."""
    seconds: dict[str, int | None] = field(default_factory=dict, hash=False)
    """Of those that are there; None: no number."""

    def has(self, *names: str) -> bool:
        return any(name in self.flags for name in names)


_SECONDS = ("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error")


def policy(found: Iterable[Directive]) -> Policy:
    """The meaning of directives, of a repeated one the first (4.2.1), of two that conflict the stricter."""
    found = list(found)
    named = {one.name for one in found}
    no_cache, confirmed = _listing(found, "no-cache")
    private, withheld = _listing(found, "private")
    seconds: dict[str, int | None] = {}
    for one in found:
        if one.name in _SECONDS and one.name not in seconds:
            is_number = one.form in {"token", "quoted"} and re.fullmatch("[0-9]+", one.argument)
            seconds[one.name] = min(int(one.argument), LARGEST) if is_number else None
    return Policy("no-store" in named, private, no_cache, withheld, confirmed, frozenset(named), seconds)


def _listing(found: list[Directive], name: str) -> tuple[bool, frozenset[str]]:
    """Whether a directive means the whole answer, else which fields."""
    fields: set[str] = set()
    for one in found:
        if one.name != name:
            continue
        listed = [part.strip(" \t") for part in one.argument.split(",") if part.strip(" \t")]
        if one.form in {"none", "bad"} or not listed or not all(map(_TOKEN.fullmatch, listed)):
            return True, frozenset()
        fields |= {part.lower() for part in listed}
    return False, frozenset(fields)


_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_BARE = re.compile(
    r"(?P<number>-?[0-9]{1,15}(?:\.[0-9]{1,3})?)(?![0-9.])"
    r'|"(?P<text>(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"|\?(?P<truth>[01])|(?P<token>[A-Za-z*][!#$%&\'*+.^_`|~0-9A-Za-z:/-]*)'
)


def targeted(value: str) -> list[tuple[str, str, str]] | None:
    """The members of a Structured Fields dictionary (RFC 9651 section 4.2.2): key, type and value. None: it is none."""
    found: dict[str, tuple[str, str]] = {}
    rest = value.strip(" ")
    while rest:
        member = _item(rest)
        if member is None:
            return None
        key, item, rest = member
        found.pop(key, None)
        found[key] = item
        while rest.startswith(";"):
            parameter = _item(rest[1:].lstrip(" "))
            if parameter is None:
                return None
            rest = parameter[2]
        rest = rest.lstrip(" \t")
        if rest:
            behind = rest[1:].lstrip(" \t")
            if not rest.startswith(",") or not behind:
                return None
            rest = behind
    return [(name, *item) for name, item in found.items()]


def _item(text: str) -> tuple[str, tuple[str, str], str] | None:
    """A key, the type and value that it has, and what is behind it."""
    key = _KEY.match(text)
    if key is None:
        return None
    rest = text[key.end() :]
    if not rest.startswith("="):
        return key[0], ("truth", "1"), rest
    bare = _BARE.match(rest, 1)
    kind = "" if bare is None else bare.lastgroup or ""
    return None if bare is None else (key[0], (kind, bare[kind]), rest[bare.end() :])


def policies(fields: Fields) -> list[tuple[Policy, bool]]:
    """The ways in which an answer's directives may be read, and for each whether they are targeted (RFC 9213): then
    Expires does not count. More than one where a value has a type that its directive has not (2.1)."""
    plain = policy(directives(line(fields, "cache-control"))), False
    value = line(fields, "cdn-cache-control")
    found = targeted(value) if value is not None else None
    if not found:
        return [plain]
    read, is_clean = [], True
    for name, kind, text in found:
        fits = kind == "number" and text.isdigit() if name in _SECONDS else kind in {"truth", "text"}
        if name in _KNOWN and not fits:
            is_clean = False
        elif (kind, text) != ("truth", "0"):
            form = {"truth": "none", "text": "quoted"}.get(kind, "token")
            read.append(Directive(name, form, "" if kind == "truth" else re.sub(r"\\(.)", r"\1", text)))
    own = policy(read), True
    return [own] if is_clean else [own, plain]


_KNOWN = {
    *_SECONDS, "no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand",
}  # fmt: skip

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAY = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH = f"({'|'.join(_MONTHS)})"
_TIME = r"(\d\d):(\d\d):(\d\d)"
_FIXED = re.compile(rf"{_DAY}, (\d\d) {_MONTH} (\d{{4}}) {_TIME} gmt", re.IGNORECASE | re.ASCII)
_RFC850 = re.compile(rf"{_LONG_DAY}, (\d\d)-{_MONTH}-(\d\d) {_TIME} gmt", re.IGNORECASE | re.ASCII)
_ASCTIME = re.compile(rf"{_DAY} {_MONTH} ([ \d]\d) {_TIME} (\d{{4}})", re.IGNORECASE | re.ASCII)


def date(value: str, now: float) -> float | None:
    """Epoch seconds of an HTTP-date (RFC 9110 section 5.6.7), None where it is none of the three forms."""
    if found := _FIXED.fullmatch(value):
        day, month, year, *clock = found.groups()
    elif found := _RFC850.fullmatch(value):
        day, month, year, *clock = found.groups()
        this = datetime.fromtimestamp(now, UTC).year
        # More than 50 years ahead is the past century.
        year = str(max(y for y in range(this - 99, this + 51) if y % 100 == int(year)))
    elif found := _ASCTIME.fullmatch(value):
        month, day, *clock, year = found.groups()
    else:
        return None
    try:
        hour, minute, second = map(int, clock)
        at = datetime(int(year), _MONTHS.index(month.lower()) + 1, int(day), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return at.timestamp()


def first_age(fields: Fields) -> int:
    """RFC 9111 section 5.1: the first member counts, and what is no number is ignored."""
    first = next(iter((line(fields, "age") or "").split(",")), "").strip(" \t")
    return min(int(first), LARGEST) if re.fullmatch("[0-9]+", first) else 0


@dataclass(frozen=True)
class Wishes:
    """The directives of a request (section 5.2.1), those that can't be read left out."""

    no_cache: bool
    no_store: bool
    only_if_cached: bool
    max_age: float | None
    min_fresh: float | None
    max_stale: float | None
    if_error: float | None
    """`stale-if-error` of RFC 5861 section 4, which requests have, too."""


def wishes(fields: Fields) -> Wishes:
    found = directives(line(fields, "cache-control"))
    named = {one.name: one for one in reversed(found)}

    def seconds(name: str) -> float | None:
        one = named.get(name)
        return float(one.argument) if one is not None and re.fullmatch("[0-9]+", one.argument) else None

    is_any = "max-stale" in named and named["max-stale"].form == "none"
    pragma = not found and "no-cache" in members(line(fields, "pragma"))
    return Wishes(
        no_cache="no-cache" in named or pragma,
        no_store="no-store" in named,
        only_if_cached="only-if-cached" in named,
        max_age=seconds("max-age"),
        min_fresh=seconds("min-fresh"),
        max_stale=float("inf") if is_any else seconds("max-stale"),
        if_error=seconds("stale-if-error"),
    )


_SORTED = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language"})


def selecting(fields: Fields, name: str) -> list[str] | None:
    """A request's value of a field that Vary nominates, normalised as far as section 4.1 may go. None: absent."""
    value = line(fields, name)
    if value is None:
        return None
    parts = [part.strip(" \t") for part in value.split(",") if part.strip(" \t")]
    return sorted(re.sub("[ \t]", "", part).lower() for part in parts) if name in _SORTED else parts


@dataclass(frozen=True)
class Span:
    """What a Range asks for, or a Content-Range has: positions, both ends counted."""

    first: int
    last: int
    complete: int | None = None


def content_range(fields: Fields) -> Span | None:
    found = re.fullmatch(
        r"bytes ([0-9]{1,9})-([0-9]{1,9})/([0-9]{1,9}|\*)", line(fields, "content-range") or ""
    )
    if found is None:
        return None
    first, last, complete = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
    is_right = first <= last and (complete is None or last < complete)
    return Span(first, last, complete) if is_right else None


def asked_range(fields: Fields, length: int) -> Span | str | None:
    """What a Range selects of so many bytes (RFC 9110 section 14.1.2): a span, `ignored`, or None: unsatisfiable."""
    found = re.fullmatch(r"bytes=([0-9]{0,9})-([0-9]{0,9})", line(fields, "range") or "", re.IGNORECASE)
    if found is None or found[1] == found[2] == "":
        return "ignored"
    if not found[1]:
        suffix = min(int(found[2]), length)
        return Span(length - suffix, length - 1) if suffix else None
    first, last = int(found[1]), int(found[2] or length)
    if last < first:
        return "ignored" if found[2] else None
    return Span(first, min(last, length - 1)) if first < length else None
