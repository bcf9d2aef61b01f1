"""The rules of the oracle, one by one: what may be stored, for how long it is fresh, and what an answer is made of."""

import re

from tests.properties.http_oracle_reading import (
    Fields,
    Policy,
    Span,
    Wishes,
    asked_range,
    content_range,
    date,
    line,
    members,
    policies,
    values,
)
from tests.properties.http_oracle_told import SERIAL, Exchange, Got, Stored, opaque_tag, strong_etag

HEURISTIC = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""RFC 9110 section 15.1."""
UNDERSTANDABLE = frozenset(
    {*range(200, 207), *range(300, 309), *range(400, 418), 421, 422, 426, *range(500, 506)}
)
"""RFC 9110 section 15: no cache can know more of a status than that."""
FRACTION = 0.1
"""Of the time since Last-Modified, for heuristic freshness (4.2.2)."""
SECRET = "x-secret"
TRACKED = (
    SERIAL, SECRET, "cache-control", "cdn-cache-control", "expires", "etag", "last-modified", "vary", "content-type",
    "x-extra",
)  # fmt: skip
EITHER = frozenset({"etag", "content-type"})
"""Those that a 304 may change, and a cache may leave alone (3.2)."""
WITH_304 = frozenset({"cache-control", "etag", "expires", "last-modified", "vary"})


def within(staleness: float, window: float | None) -> bool:
    """RFC 5861: up to so many seconds after the end of freshness, which 0 seconds are not."""
    return window is not None and window > 0 and staleness <= window


def is_relayed(exchange: Exchange, got: Got) -> bool:
    """Whether an answer is the origin's to this very request, passed on."""
    if got.serial != exchange.serial or got.status != exchange.status:
        return False
    if exchange.status == 304:  # it answers the client's condition, not one of the proxy's
        names = ("if-none-match", "if-modified-since")
        asked = [line(got.asked.fields, name) for name in names]
        return asked != [None, None] and asked == [line(exchange.sent, name) for name in names]
    body = b"" if got.asked.method == "HEAD" or got.status in {204, 304} else exchange.body
    return got.body == body and all(
        line(got.fields, name) == line(exchange.fields, name) for name in TRACKED if name != SERIAL
    )


def storing(one: Stored, policy: Policy, *, has_expires: bool) -> list[str]:
    """What forbids to store it (section 3, 3.5)."""
    reasons = []
    is_understood = one.status in UNDERSTANDABLE
    if policy.has("must-understand") and not is_understood:
        reasons.append(f"5.2.2.3: the status {one.status} is not understood")
    if policy.no_store and not (policy.has("must-understand") and is_understood):
        reasons.append("5.2.2.5: no-store")
    if policy.private:
        reasons.append("5.2.2.7: private")
    if one.is_for_credential and not policy.has("public", "s-maxage", "must-revalidate"):
        reasons.append("3.5: the answer to a request with Authorization")
    is_explicit = policy.has("max-age", "s-maxage") or (
        has_expires and line(one.fields, "expires") is not None
    )
    if not is_explicit and not policy.has("public") and one.status not in HEURISTIC:
        reasons.append(f"3: nothing allows to store a {one.status}")
    if one.status in {304, 412, 416}:
        reasons.append("9110 15: it is about conditions of a request that this one has not")
    return reasons


def fresh_for(one: Stored, policy: Policy, *, has_expires: bool) -> float:
    """The freshness lifetime in seconds, at the most (4.2.1, 4.2.2)."""
    for name in ("s-maxage", "max-age"):
        if name in policy.seconds:
            return policy.seconds[name] or 0
    expires = values(one.fields, "expires") if has_expires else []
    if expires:
        until = date(expires[0], one.received_at)
        return 0.0 if until is None else max(0.0, until - one.made_at())
    if one.status not in HEURISTIC and not policy.has("public"):
        return 0.0
    changed = date(line(one.fields, "last-modified") or "", one.received_at)
    return 0.0 if changed is None else max(0.0, FRACTION * (one.made_at() - changed))


def unwished(one: Stored, wanted: Wishes, lifetime: float, now: float) -> list[str]:
    """What the client does not want (5.2.1), who takes it when the origin fails."""
    reasons, age = [], one.age(now)
    if wanted.no_cache:
        reasons.append("5.2.1.4: no-cache in the request")
    if wanted.max_age is not None and age > wanted.max_age:
        reasons.append("5.2.1.1: older than max-age in the request")
    if (
        wanted.max_stale is None
        and age >= lifetime
        and (wanted.max_age is not None or wanted.min_fresh is not None)
    ):
        reasons.append("5.2.1.1, 5.2.1.3: stale")
    if wanted.min_fresh is not None and age < lifetime and lifetime - age < wanted.min_fresh:
        reasons.append("5.2.1.3: not fresh for long enough")
    return reasons


def rendered(one: Stored, got: Got, own: list[Exchange]) -> list[str]:
    """What is wrong with the answer itself, if it is made of this."""
    secret = line(got.fields, SECRET)
    known = {None, line(one.fields, SECRET), *(line(exchange.fields, SECRET) for exchange in own)}
    return (
        shape(one, got)
        + told(one, got)
        + ([] if secret in known else ["5.2.2.7: a field that must not be stored"])
    )


def shape(one: Stored, got: Got) -> list[str]:
    """Status and bytes."""
    if got.status == 304:
        return [] if matches(one, got) else ["4.3.2: no validator of the request matches"]
    if got.status == 416:
        is_asked = got.asked.method == "GET" and one.status == 200 and one.complete is not None
        if is_asked and asked_range(got.asked.fields, one.complete or 0) is None and range_applies(one, got):
            is_right = line(got.fields, "content-range") in {None, f"bytes */{one.complete}"}
            return [] if is_right else ["9110 15.5.17: another length"]
        if one.status != 416:
            return ["9110 15.5.17: the range can be satisfied"]
    if got.status == 206:
        return partial(one, got)
    if not one.is_whole:
        return ["3.3: an incomplete response"]
    if got.status != one.status:
        return [f"4: the status was {one.status}"]
    if got.asked.method == "HEAD":
        length = line(got.fields, "content-length")
        return (
            [] if length in {None, str(one.complete)} else ["9110 9.3.2: Content-Length is that of the GET"]
        )
    return [] if got.body == one.body else ["4: other bytes"]


def partial(one: Stored, got: Got) -> list[str]:
    """Of a 206 (RFC 9110 sections 14.4 and 15.3.7, RFC 9111 section 3.3)."""
    if got.asked.method == "HEAD":
        return (
            ["9110 14.2: Range is for GET"]
            if got.asked.method == "HEAD" and one.by != got.asked.number
            else []
        )
    span = content_range(got.fields)
    if span is None:
        return ["9110 14.4: no Content-Range that says what it is"]
    if span.complete is not None and span.complete != one.complete:
        return ["9110 14.4: another length"]
    wanted = (
        asked_range(got.asked.fields, one.complete)
        if one.complete is not None
        else open_range(got.asked.fields)
    )
    if not isinstance(wanted, Span) or (wanted.first, wanted.last) != (span.first, span.last):
        return ["9110 14.2: another range than was asked for"]
    if not range_applies(one, got):
        return ["9110 13.1.5: If-Range does not match"]
    places = range(span.first, span.last + 1)
    if not all(place in one.content for place in places):
        return ["3.3: not wholly within what is stored"]
    return [] if got.body == bytes(one.content[place] for place in places) else ["9110 15.3.7: other bytes"]


def open_range(fields: Fields) -> Span | str | None:
    """What a Range asks for if nobody knows the length: a first and a last position, or it can't be told."""
    found = asked_range(fields, 10**9)
    return found if isinstance(found, Span) and found.last < 10**9 - 1 else "ignored"


def range_applies(one: Stored, got: Got) -> bool:
    """If-Range by strong comparison (RFC 9110 section 13.1.5)."""
    condition = line(got.asked.fields, "if-range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == strong_etag(one.fields)
    changed = line(one.fields, "last-modified")
    at = date(changed or "", one.received_at)
    return condition == changed and at is not None and one.made_at() - at >= 1


def matches(one: Stored, got: Got) -> bool:
    """Whether a condition of the request makes a 304 of this (4.3.2; RFC 9110 section 13.2.2)."""
    if not 200 <= one.status < 300:
        return False
    wanted = line(got.asked.fields, "if-none-match")
    if wanted is not None:
        tags = re.findall(r'(?:W/)?"[^"]*"', wanted)
        return "*" in members(wanted) or opaque_tag(line(one.fields, "etag")) in {
            opaque_tag(tag) for tag in tags
        }
    since = date(line(got.asked.fields, "if-modified-since") or "", got.at)
    changed = date(line(one.fields, "last-modified") or "", one.received_at)
    return since is not None and (one.made_at() if changed is None else changed) <= since


def told(one: Stored, got: Got) -> list[str]:
    """Fields of the answer that are not those of what it is made of."""
    if got.status == 416:
        return []
    reasons = []
    is_own = one.by == got.asked.number
    names = WITH_304 if got.status == 304 else TRACKED
    for name in names:
        value, right = line(got.fields, name), line(one.fields, name)
        if value == right or (name in EITHER and value is not None) or (got.status == 304 and value is None):
            continue
        if name == SECRET and (value is None or is_own):
            continue  # `rendered` looks at it
        reasons.append(f"3.2: {name} is {value!r}, and not {right!r}")
    if not is_own:
        confirmed = frozenset.intersection(*(way.confirmed for way, _ in policies(one.fields)))
        names_there = {name.lower() for name, _ in got.fields} - {"cache-control", "date"}
        reasons += [f"5.2.2.4: {name} must be validated" for name in confirmed & names_there]
    made = line(one.fields, "date")
    if made is not None and date(made, one.received_at) is not None and line(got.fields, "date") != made:
        reasons.append("4.2.3: another Date")
    return reasons + aged(one, got)


def aged(one: Stored, got: Got) -> list[str]:
    """Section 4: what is reused without validation tells its age (5.1)."""
    value = line(got.fields, "age")
    if value is None:
        return [] if one.by == got.asked.number else ["4: no Age"]
    if one.by == got.asked.number and value == line(one.fields, "age"):
        return []
    youngest, oldest = one.age(got.asked.at), one.age(got.at) + one.underway
    if not re.fullmatch("[0-9]+", value) or not youngest - 1 <= int(value) <= oldest + 1:
        return [f"4.2.3: Age is {value}, and not {oldest:g}"]
    return []
