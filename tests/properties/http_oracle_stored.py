"""What a cache may have stored, as the oracle reckons it from what the origin has said: all that it could be, no less.

A stored answer is never taken for certain, but what RFC 9111 makes of it is: a 304 or a HEAD that is about it replaces
its fields (3.2), an unsafe request makes it invalid (4.4).
"""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from tests.properties.http_oracle_reading import (
    Fields,
    content_range,
    line,
    members,
    policies,
    selecting,
    values,
    wishes,
    without_hop,
)
from tests.properties.http_oracle_rules import storing
from tests.properties.http_oracle_told import Asked, Exchange, Stored, opaque_tag, strong_etag

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
NOT_UPDATED = frozenset({"content-length", "content-encoding", "content-range", "content-md5"})
"""They are about the body (3.2)."""


def is_about(stored: Stored, fields: Fields, sent: Fields) -> bool | None:
    """Whether a 304 with these fields, the answer to a request with those, identifies this (4.3.4). None: caches may
    see it either way."""
    tag, changed = line(fields, "etag"), line(fields, "last-modified")
    own_tag, own_changed = line(stored.fields, "etag"), line(stored.fields, "last-modified")
    if tag is None and changed is None:
        if own_tag is None and own_changed is None:
            return True
        # The origin forgets what it must send (RFC 9110 section 15.4.5), but it was asked about this one alone.
        return None if asks_about(stored, sent) else False
    is_strong = strong_etag(fields) is not None
    by_tag = None if tag is None else own_tag == tag if is_strong else opaque_tag(own_tag) == opaque_tag(tag)
    by_date = None if changed is None else own_changed == changed
    told = {verdict for verdict in (by_tag, by_date) if verdict is not None}
    return told.pop() if len(told) == 1 else None


def asks_about(stored: Stored, sent: Fields) -> bool:
    """Whether a request is conditional on the validator of this and of nothing else."""
    tag, changed = line(stored.fields, "etag"), line(stored.fields, "last-modified")
    wanted, since = line(sent, "if-none-match"), line(sent, "if-modified-since")
    return wanted == tag if wanted is not None else since is not None and since == changed


def could_be_chosen(stored: Stored, asked: Asked) -> bool:
    """Whether the fields that Vary nominates match (4.1)."""
    names = members(line(stored.fields, "vary"))
    return "*" not in names and all(
        selecting(stored.asked.fields, name) == selecting(asked.fields, name) for name in names
    )


def kept(fields: Fields) -> Fields:
    """The fields that may be stored (3.1, 5.2.2.7), where one reading says so; Set-Cookie never is, by decision."""
    withheld = frozenset.intersection(*(policy.withheld for policy, _ in policies(fields)))
    return tuple(one for one in without_hop(fields) if one[0].lower() not in withheld | {"set-cookie"})


def updated(old: Fields, new: Fields) -> Fields:
    """Section 3.2."""
    news = tuple(one for one in kept(new) if one[0].lower() not in NOT_UPDATED)
    replaced = {name.lower() for name, _ in news}
    # Age and Date are of an answer: without them it has just been made (RFC 9110 section 6.6.1).
    return (*(one for one in old if one[0].lower() not in replaced | {"age", "date"}), *news)


def must_not_update(exchange: Exchange) -> bool:
    """Whether what is stored may stay as it was in spite of an answer that is about it: that must not be stored itself,
    it could not have been chosen for that request: whose credentials set it apart by configuration, or whose conditions
    are not for caches (RFC 9110 section 13.2.1)."""
    says_so = any(policy.no_store or policy.private for policy, _ in policies(exchange.fields))
    fields = exchange.asked.fields
    is_special = any(
        line(fields, name) for name in ("authorization", "cookie", "if-match", "if-unmodified-since")
    )
    return says_so or wishes(fields).no_store or is_special


def with_fields(one: Stored, exchange: Exchange) -> Stored:
    """The same with the fields of an answer that is about it, which others must not see if it was for one alone.

    What an origin confirms to a client without credentials is as good as told to that client.
    """
    fields, asked = updated(one.fields, exchange.fields), exchange.asked
    is_public = any(policy.has("public", "s-maxage", "must-revalidate") for policy, _ in policies(fields))
    has_credential = line(asked.fields, "authorization") is not None
    is_for_one = has_credential and not is_public
    return replace(
        one, serial=exchange.serial, by=asked.number, fields=fields, requested_at=exchange.requested_at,
        received_at=exchange.received_at, underway=exchange.underway, is_invalid=False,
        is_for_credential=has_credential and one.is_for_credential,
        only_for=asked.number if is_for_one or wishes(asked.fields).no_store else one.only_for,
    )  # fmt: skip


def head_alone(exchange: Exchange) -> Stored:
    """What may answer a condition of the very request for which it came, whatever becomes of its body."""
    number = exchange.asked.number
    return Stored(
        exchange.serial, exchange.asked, number, exchange.status, kept(exchange.fields), only_for=number,
        requested_at=exchange.requested_at, received_at=exchange.received_at, underway=exchange.underway,
    )  # fmt: skip


class Possible:
    """All that may be stored, by target."""

    def __init__(self) -> None:
        self._stored: dict[str, list[Stored]] = {}
        self.ever: list[tuple[str, Stored]] = []
        """All that there ever was, with its target, in the order in which it came."""
        self.may_be_gone: set[int] = set()
        """Serial numbers of what a cache may have let go for something newer, be that kept or not."""
        self._asked: dict[int, tuple[list[Stored], int]] = {}

    def asked(self, asked: Asked) -> None:
        """A client asks."""
        self._asked[asked.number] = self.of(asked.target), len(self.ever)

    def before(self, asked: Asked) -> list[Stored]:
        """What there may have been when a request came."""
        return self._asked[asked.number][0]

    def since(self, asked: Asked) -> list[Stored]:
        """The same, and what has come since."""
        before, then = self._asked[asked.number]
        return before + [one for target, one in self.ever[then:] if target == asked.target]

    def of(self, target: str) -> list[Stored]:
        return list(self._stored.get(target, ()))

    def learn(self, exchange: Exchange) -> None:
        """The origin has answered."""
        before = {id(one) for held in self._stored.values() for one in held}
        if 200 <= exchange.status < 300:
            self.ever.append((exchange.target, head_alone(exchange)))
        self._learn(exchange)
        self.ever += [(at, one) for at, held in self._stored.items() for one in held if id(one) not in before]

    def _learn(self, exchange: Exchange) -> None:
        if exchange.method not in SAFE:
            self._invalidate(exchange)
        elif not exchange.status or not exchange.is_complete:
            return
        elif exchange.status == 304:
            self._update(exchange)
        elif exchange.method == "HEAD" and exchange.status == 200:
            self._after_head(exchange)
        elif exchange.method == "GET":
            self._add(exchange)

    def _add(self, exchange: Exchange) -> None:
        span = content_range(exchange.fields) if exchange.status == 206 else None
        start, complete = (span.first, span.complete) if span is not None else (0, len(exchange.body))
        one = Stored(
            exchange.serial, exchange.asked, exchange.asked.number, exchange.status, kept(exchange.fields),
            dict(enumerate(exchange.body, start)), complete, exchange.requested_at, exchange.received_at,
            exchange.underway,
            None, line(exchange.asked.fields, "authorization") is not None,
        )  # fmt: skip
        ways = policies(one.fields)
        is_never_stored = all(storing(one, policy, has_expires=not targeted) for policy, targeted in ways)
        if is_never_stored or wishes(exchange.asked.fields).no_store:
            one = replace(one, only_for=one.by)
        held = self.of(exchange.target)
        self.may_be_gone |= {old.serial for old in held if could_be_chosen(old, exchange.asked)}
        joined = [] if span is None else self._combined(held, one)
        self._keep(exchange.target, [*held, *joined, one])

    def _combined(self, held: Iterable[Stored], new: Stored) -> Iterable[Stored]:
        """Section 3.4: with what has the same strong validator, the fields of the new answer replacing the others."""
        tag = strong_etag(new.fields)
        for old in held:
            is_like = strong_etag(old.fields) == tag and old.complete == new.complete
            if tag is None or not is_like or old.only_for not in {None, new.by}:
                continue
            content = {**old.content, **new.content}
            if sorted(content) == list(range(min(content), max(content) + 1)):
                is_whole = len(content) == new.complete
                fields = tuple(
                    one for one in updated(old.fields, new.fields) if one[0].lower() != "content-range"
                )
                yield replace(new, content=content, status=200 if is_whole else 206, fields=fields)

    def _update(self, exchange: Exchange) -> None:
        """Sections 3.2 and 4.3.4: the old fields are no more, unless this answer must not be stored."""
        held, after = self.of(exchange.target), []
        gone = [one for one in self.since(exchange.asked) if not any(one is other for other in held)]
        for one in [*held, *gone]:
            about = could_be_chosen(one, exchange.asked) and is_about(one, exchange.fields, exchange.sent)
            if one in held and (not about or must_not_update(exchange) or self._is_new(one, exchange)):
                after.append(one)
                self.may_be_gone |= set() if about is False else {one.serial}
            if about is not False:
                new = with_fields(one, exchange)
                # Whose request the origin has confirmed it for may be the one that selects it from now on.
                after += [new, replace(new, asked=exchange.asked)]
        self._keep(exchange.target, after)

    def _is_new(self, one: Stored, exchange: Exchange) -> bool:
        """Whether it has come while this answer was under way: nobody knows which of the two is the later one."""
        return not any(one is other for other in self.before(exchange.asked))

    def _after_head(self, exchange: Exchange) -> None:
        """Section 4.3.5: updated where validators and length agree, else stale."""
        after: list[Stored] = []
        for one in self.of(exchange.target):
            if not could_be_chosen(one, exchange.asked) or one.status not in {200, 206}:
                after.append(one)
                continue
            length = line(exchange.fields, "content-length")
            agrees = length is None or one.complete == int(length)
            for name in ("etag", "last-modified"):
                told = line(exchange.fields, name)
                agrees = agrees and (told is None or told == line(one.fields, name))
            # A part could not have been chosen. And a cache may take all the same for stale what it could update.
            may_stay = must_not_update(exchange) or one.status == 206 or self._is_new(one, exchange)
            after.append(one if may_stay else replace(one, is_invalid=True))
            self.may_be_gone.add(one.serial)
            if agrees:
                after.append(with_fields(one, exchange))
        self._keep(exchange.target, after)

    def _keep(self, target: str, found: list[Stored]) -> None:
        """Of those that nobody could tell from each other one is enough."""
        told = {
            (
                tuple(one.content.items()),
                one.complete,
                one.status,
                one.fields,
                one.asked.number,
                one.by,
                one.is_invalid,
                one.only_for,
            ): one
            for one in reversed(found)
        }
        self._stored[target] = list(reversed(told.values()))

    def _invalidate(self, exchange: Exchange) -> None:
        """Section 4.4, with the URIs that the answer names if they are of this origin."""
        if not 200 <= exchange.status < 400:
            return
        # By the name that the origin has on either hop.
        hosts = [
            host.lower() for host in (*values(exchange.sent, "host"), *values(exchange.asked.fields, "host"))
        ]
        named = [*values(exchange.fields, "location"), *values(exchange.fields, "content-location")]
        targets = {exchange.target}
        for one in named:
            try:
                parts = urlsplit(urljoin(f"http://{hosts[0]}{exchange.target}", one))
            except ValueError:
                continue
            if parts.scheme == "http" and parts.netloc.lower() in hosts:
                targets.add(parts.path + (f"?{parts.query}" if parts.query else ""))
        for target in targets:
            self._stored[target] = [replace(one, is_invalid=True) for one in self.of(target)]
