"""An oracle of HTTP caching: may a shared cache have answered a request like this (RFC 9111, 9110, 5861, 9213)?

It is told all that the origin says and all that the client asks, and judges each answer that the client got. It says
only what is forbidden, section by section; to forward everything is never wrong.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, replace

from tests.properties.http_oracle_reading import Policy, Wishes, line, policies, values, wishes
from tests.properties.http_oracle_rules import fresh_for, is_relayed, rendered, storing, unwished, within
from tests.properties.http_oracle_stored import Possible, could_be_chosen
from tests.properties.http_oracle_told import Asked, Exchange, Got, Stored


@dataclass(frozen=True)
class Contract:
    """What the operator has allowed, in seconds (4.2.4: an out-of-band contract)."""

    stale_if_error: float = 0.0


@dataclass(frozen=True)
class _Case:
    """An answer to judge, with what there is to it."""

    got: Got
    own: list[Exchange]
    """The calls that were made for it."""
    has_failed: bool
    """Whether a call for its target has failed since it was asked for."""
    wanted: Wishes

    @property
    def number(self) -> int:
        return self.got.asked.number


class Oracle:
    """Knows one origin and its clients."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._possible = Possible()
        self._exchanges: list[Exchange] = []
        self._asked_after: dict[int, int] = {}
        """By request, how many exchanges there had been."""
        self._said_stored: set[int] = set()
        self.reused: str | None = None
        """How the last answer that was judged came out of the cache, if it did: for tests that count."""

    def asks(self, asked: Asked) -> None:
        """A client is about to ask."""
        self._asked_after[asked.number] = len(self._exchanges)
        self._possible.asked(asked)

    def answers(self, exchange: Exchange) -> None:
        """The origin has answered, or failed to."""
        self._exchanges.append(exchange)
        self._possible.learn(exchange)

    def judge(self, got: Got) -> list[str]:
        """What forbids this answer, each with its section; nothing: it is allowed."""
        self.reused = None
        own = [one for one in self._exchanges if one.asked.number == got.asked.number]
        case = _Case(got, own, self.has_failed(got.asked), wishes(got.asked.fields))
        reasons = always(case) + self._judged(case)
        note = line(got.fields, "cache-status") or ""
        if got.serial is not None and re.search(r";\s*stored\b", note):
            self._said_stored.add(got.serial)
        if re.search(r";\s*hit\b", note) and any(one.serial == got.serial for one in own):
            reasons.append("9211 2.1: no hit, for it was fetched for this request")
        return reasons

    def has_failed(self, asked: Asked) -> bool:
        """Whether a call for the target has failed since it was asked for, so that the answer may be cut off."""
        since = self._exchanges[self._asked_after[asked.number] :]
        return any(one.has_failed and one.target == asked.target for one in since)

    def _judged(self, case: _Case) -> list[str]:
        got = case.got
        if any(is_relayed(one, got) for one in case.own):
            return ["5.2.1.7: a call was made for it"] if case.wanted.only_if_cached else []
        if got.serial is None and got.status >= 500:
            return own_error(case)
        if got.asked.method not in {"GET", "HEAD"}:
            return ["4: a method other than GET and HEAD is written through"]
        verdicts = [
            (self._forbidden(one, case) + rendered(one, got, case.own), one)
            for one in self._possible.since(got.asked)
            if got.serial in {None, one.serial}
        ]
        if not verdicts:
            return ["4: no stored response of this target has been answered like this"]
        reasons, best = min(verdicts, key=lambda verdict: len(verdict[0]))
        how = "validated" if best.by == case.number else "stale" if is_stale(best, got.at) else "fresh"
        self.reused = f"{how} {got.asked.method} {got.status}"
        return reasons

    def _forbidden(self, one: Stored, case: _Case) -> list[str]:
        """What forbids to answer with this at all."""
        if one.only_for not in {None, case.number}:
            reasons = self._by_its_directives(one, case)
            return [*reasons, "3, 3.5, 5.2.1.5: it must not be stored"]
        if one.by == case.number and not one.is_invalid:  # fetched for this very request, or validated for it
            return ["5.2.1.7: a call was made for it"] if case.wanted.only_if_cached else []
        reasons = self._by_its_directives(one, case)
        if one.is_invalid:
            reasons.append("4.4, 4.3.5: it was made invalid")
        if not could_be_chosen(one, case.got.asked):
            reasons.append("4.1: selected by other fields")
        if not self._matches_latest_vary(one, case):
            reasons.append("4.1: a more recent response varies")
        if not reasons and (newer := self._newer(one, case)):
            reasons.append(f"4: {newer.serial} is more recent, and was stored")
        return reasons

    def _matches_latest_vary(self, one: Stored, case: _Case) -> bool:
        """Of responses that some have Vary and some have not, the most recent of those values selects from all."""
        there = [
            other for other in self._possible.before(case.got.asked) if other.serial in self._said_stored
        ]
        varied = [other for other in there if line(other.fields, "vary") and not other.is_invalid]
        latest = max(varied, key=lambda other: other.serial, default=None)
        # Of one serial they are what may have come of one answer, combined with this or with that.
        if line(one.fields, "vary") or latest is None or latest.serial <= one.serial:
            return True
        vary = ("Vary", line(latest.fields, "vary") or "")
        return could_be_chosen(replace(one, fields=(*one.fields, vary)), case.got.asked)

    def _newer(self, one: Stored, case: _Case) -> Stored | None:
        """A more recent response that the cache has said it stored, and that it could use as well, whatever it has made
        of it: one part may be stored alone, or with another one as a whole."""
        found: dict[int, list[Stored]] = defaultdict(list)
        for other in self._possible.before(case.got.asked):
            if other.serial > one.serial and other.serial in self._said_stored:
                found[other.serial].append(other)
        for others in found.values():
            if all(self._is_as_good(other, one, case) for other in others):
                return others[0]
        return None

    def _is_as_good(self, other: Stored, one: Stored, case: _Case) -> bool:
        """Whether another response, were it stored, would go before this one (section 4)."""
        is_there = not other.is_invalid and other.serial not in self._possible.may_be_gone
        is_newer = other.is_whole and other.made_at() > one.made_at()
        is_like = other.status == one.status and could_be_chosen(other, case.got.asked)
        return is_there and is_newer and is_like and not self._by_its_directives(other, case)

    def _by_its_directives(self, one: Stored, case: _Case) -> list[str]:
        """What forbids it, its directives read in the way that forbids least."""
        return min(
            (self._read(one, case, policy, targeted) for policy, targeted in policies(one.fields)), key=len
        )

    def _read(self, one: Stored, case: _Case, policy: Policy, is_targeted: bool) -> list[str]:
        reasons = storing(one, policy, has_expires=not is_targeted)
        if policy.no_cache:
            reasons.append("5.2.2.4: no-cache")
        lifetime, now = fresh_for(one, policy, has_expires=not is_targeted), case.got.asked.at
        if one.age(now) >= lifetime:
            reasons += self._stale(policy, case, one.age(now) - lifetime)
        # Who does not want it takes it when there is nothing else.
        return reasons if case.has_failed else reasons + unwished(one, case.wanted, lifetime, now)

    def _stale(self, policy: Policy, case: _Case, staleness: float) -> list[str]:
        """Section 4.2.4; `staleness` in seconds."""
        if policy.has("must-revalidate", "proxy-revalidate", "s-maxage"):
            return ["5.2.2.2, 5.2.2.8, 5.2.2.10: stale, and must be validated"]
        if case.wanted.max_stale is not None and staleness <= case.wanted.max_stale:
            return []
        if within(staleness, policy.seconds.get("stale-while-revalidate")):
            return []
        on_error = policy.seconds.get("stale-if-error", self._contract.stale_if_error)
        if case.has_failed and (within(staleness, on_error) or within(staleness, case.wanted.if_error)):
            return []
        return [f"4.2.4: stale for {staleness:g} s"]


def always(case: _Case) -> list[str]:
    """What no answer may be, whatever it is made of."""
    got = case.got
    reasons = [f"9110 7.6.1: {name} is of one hop" for name, _ in got.fields if name.lower() == "x-conn"]
    if not {value for one in case.own for value in values(one.fields, "set-cookie")} >= set(
        values(got.fields, "set-cookie")
    ):
        reasons.append("decision: Set-Cookie of a stored response")
    if got.asked.method == "HEAD" and got.body:
        reasons.append("9110 9.3.2: the answer to a HEAD has no body")
    if len(values(got.fields, "age")) > 1 or len(values(got.fields, "date")) > 1:
        reasons.append("9110 5.3: a field twice that is no list")
    return reasons


def own_error(case: _Case) -> list[str]:
    """Of an error that the proxy has made itself."""
    if case.got.status == 504 and case.wanted.only_if_cached:
        return ["5.2.1.7: a call was made for it"] if case.own else []
    is_told = case.has_failed and case.got.status in {502, 503, 504}
    return [] if is_told else ["4.2.4: an error though nothing has failed"]


def is_stale(one: Stored, now: float) -> bool:
    ways = policies(one.fields)
    return all(one.age(now) >= fresh_for(one, way, has_expires=not is_targeted) for way, is_targeted in ways)
