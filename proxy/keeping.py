"""What becomes of an origin's answer to a GET or HEAD of an opaque resource: kept, or put together with the held."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from proxy.core.http import ranges, validation
from proxy.core.http.fields import RawField, values
from proxy.core.http.freshness import Freshness, Rules, assess, withheld
from proxy.core.http.storing import stored_fields
from proxy.core.http.vary import nominated
from proxy.exchange import ResponseHead
from proxy.fill import Confirmed
from proxy.representations import Representations
from store.entry import Entry, Key, RawHeaders
from store.generation import Watch

_OK, _PARTIAL_CONTENT, _NOT_MODIFIED, _UNSATISFIABLE, _TOO_MANY = 200, 206, 304, 416, 429
# Fields of a response that is put together of several answers, and their bytes: each 304 may bring new ones.
_MAX_FIELDS, _MAX_FIELDS_SIZE = 512, 64 * 1024
# Answers to a range; and one that has no content (RFC 9110 section 15.3.6), whatever comes with it.
_NOT_OF_THE_WHOLE = frozenset({205, _PARTIAL_CONTENT, _UNSATISFIABLE})


class Request(Struct, frozen=True):
    """What was asked for, as far as it matters to what becomes of the answer."""

    method: str
    target: str
    """The raw target, byte for byte a character."""
    fields: tuple[RawField, ...]
    """Of the request that has caused the call."""
    scope: str
    """What sets its caller apart from others, as a digest; empty: nothing does."""
    is_authorized: bool
    """Whether it bears a credential that sets nobody apart (RFC 9111 section 3.5)."""
    is_ranged: bool
    """Whether a range is asked for."""
    held: Entry | None
    """The response, or the part of one, that the call has conditions about."""
    has_fallback: bool
    """Whether the response that is held answers instead of a failure."""


class Clocks(Struct, frozen=True):
    """`now` gives epoch seconds that never step back, `wall` those of the plain clock, which other hosts have too,
    `rng` a number in [0, 1)."""

    now: Callable[[], float]
    wall: Callable[[], float]
    rng: Callable[[], float]


class Deposit:
    """What is done with the answer to one call (`proxy.fill.Keeping`). `seen` watches the target since it began;
    `bound` says how long what is one caller's own may be used."""

    def __init__(
        self,
        shelf: Representations,
        rules: Rules,
        request: Request,
        clocks: Clocks,
        *,
        max_body: int,
        bound: Callable[[Freshness], Freshness],
        seen: Watch,
    ) -> None:
        self._shelf = shelf
        self._rules = rules
        self._request = request
        self._clocks = clocks
        self._max_body = max_body
        self._bound = bound
        self._seen = seen
        self._asked_at = self._came_at = clocks.now()
        self._head: ResponseHead | None = None
        self._fresh: Freshness | None = None

    def asked(self) -> None:
        """The request whose answer it is goes out now (`request_time` of section 4.2.3)."""
        self._asked_at = self._clocks.now()

    def is_kept(self, head: ResponseHead) -> bool:
        """Whether the answer with this head, which has just come, may be kept; what it says of what is held is done."""
        self._head, self._came_at = head, self._clocks.now()
        request = self._request
        if request.method == "HEAD":
            self._after_head(head)
            return False
        is_failure = is_of_the_server(head.status)
        self._fresh = None if is_failure and request.has_fallback else self._assess(head.fields, head.status)
        is_kept = self._fresh is not None and self._fits(head)
        if not (is_kept or is_failure):
            self.give_up()
        return is_kept

    def _fits(self, head: ResponseHead) -> bool:
        """Whether an answer is one to what was asked for, and not too large as far as that is known."""
        if self._request.is_ranged:
            # Anything else is an answer to the range, and none to others.
            is_fitting = head.status == _OK or _is_part(head)
        else:
            is_fitting = head.status not in _NOT_OF_THE_WHOLE
        return is_fitting and _declared_length(head) <= self._max_body

    def give_up(self) -> None:
        """There is an answer that can't be kept, and it is newer than all that the request selects."""
        held = self._request.held
        if held is not None and not self._request.is_ranged:
            self._drop_others(held)
            self._drop_held()

    def keep(self, body: bytes) -> Entry | None:
        """Keep the answer of which `is_kept` was told, now that it is whole."""
        if self._head is None or self._fresh is None:
            raise RuntimeError("it may not be kept")
        head, fresh = self._head, self._fresh
        if head.status != _PARTIAL_CONTENT:
            return self._put(head.status, head.fields, body, fresh)
        part = ranges.content_range(head.fields)
        if part is None or part.length != len(body):
            return None
        held = self._shelf.select(self._request.target, self._request.fields, self._request.scope).part
        return self._joined(held, part, head, body) or self._put(head.status, head.fields, body, fresh)

    def is_about_held(self, head: ResponseHead) -> bool:
        """Whether an answer to a call with conditions is about what is held: that it is good, or more of it, or that
        there is no more."""
        held = self._request.held
        if held is None:
            return False
        if held.status != _PARTIAL_CONTENT:
            return head.status == _NOT_MODIFIED
        # What else may be said of a range that the client has not asked for is not for him.
        return head.status == _PARTIAL_CONTENT or 300 <= head.status < 500  # noqa: PLR2004

    def confirm(self, head: ResponseHead, body: bytes) -> Confirmed | None:
        """What is held, as it is after such an answer; None if that is about something else."""
        self._came_at = self._clocks.now()
        held = self._request.held
        if held is None or held.item is None:
            raise RuntimeError("nothing was asked about")
        if held.status == _PARTIAL_CONTENT:
            return self._completed(held, head, body)
        merged = validation.freshened(held.headers, head.fields)
        if not validation.is_about(held.headers, head.fields) or _is_too_long(merged):
            return None
        self._drop_others(held)
        fresh = self._assess_updated(merged, held.status, head)
        if fresh is None:
            self._drop_held()
            entry = self._entry(held.key, held.status, stored_fields(merged), held.item, Freshness(0.0))
            return Confirmed(entry, _to_the_causer(merged, head), head.status, is_kept=False)
        # What has taken its place meanwhile is newer than what the origin was asked about.
        is_newest = not self._shelf.was_replaced(held)
        kept = self._put(held.status, merged, held.item, fresh) if is_newest else None
        if kept is not None and kept.key != held.key:
            self._drop_held()  # it varies with other fields now
        entry = kept or self._entry(
            held.key, held.status, stored_fields(merged, fresh.omitted), held.item, fresh
        )
        return Confirmed(entry, _to_the_causer(merged, head), head.status, is_kept=kept is not None)

    def close(self) -> None:
        """The call is over."""
        self._seen.close()

    def _completed(self, held: Entry, head: ResponseHead, body: bytes) -> Confirmed | None:
        part = ranges.content_range(head.fields) if head.status == _PARTIAL_CONTENT else None
        entry = None
        if part is not None and part.length == len(body):
            entry = self._joined(held, part, head, body)
        if entry is None or entry.status != _OK:
            self._drop_held()
            return None
        return Confirmed(entry, entry.headers, head.status, is_kept=True)

    def _joined(self, held: Entry | None, part: ranges.Part, head: ResponseHead, body: bytes) -> Entry | None:
        """A part that was held and one that came as one, if they are of one representation (section 3.4)."""
        held_part = None if held is None else ranges.content_range(held.headers)
        if held is None or held.item is None or held_part is None or self._shelf.was_replaced(held):
            return None
        joined = ranges.combined(held_part, held.item, held.headers, part, body, head.fields)
        if joined is None or len(joined[1]) > self._max_body:
            return None
        whole, item = joined
        # What the newer one does not say again the older one has said of all of it.
        merged = validation.freshened(held.headers, head.fields)
        fields = tuple(field for field in merged if field[0].lower() != b"content-range")
        status = _OK if whole.is_whole else _PARTIAL_CONTENT
        if status == _PARTIAL_CONTENT:
            fields = (*fields, (b"Content-Range", whole.render()))
        fresh = None if _is_too_long(fields) else self._assess_updated(fields, status, head)
        return None if fresh is None else self._put(status, fields, item, fresh)

    def _after_head(self, head: ResponseHead) -> None:
        """Section 4.3.5: what a HEAD says of the response that is held."""
        held = self._request.held
        if (
            held is None
            or held.item is None
            or head.status != _OK
            or held.status not in {_OK, _PARTIAL_CONTENT}
            or self._shelf.was_replaced(held)
        ):
            return
        self._drop_others(held)
        part = ranges.content_range(held.headers) if held.status == _PARTIAL_CONTENT else None
        length = len(held.item) if part is None else part.complete
        if validation.after_head(held.headers, length, head.fields) == "invalidate":
            self._drop_held()
            return
        merged = validation.freshened(held.headers, head.fields)
        # What its own request had in fields that are named only now nobody knows, and it counts (section 4.1).
        is_selected_alike = nominated(merged) == nominated(held.headers)
        is_good = is_selected_alike and not _is_too_long(merged)
        fresh = self._assess_updated(merged, held.status, head) if is_good else None
        if fresh is None:
            self._drop_held()
        else:
            self._put(held.status, merged, held.item, fresh)

    def _assess(self, fields: RawHeaders, status: int) -> Freshness | None:
        received_at = self._clocks.wall()  # Date and Expires are compared with it
        fresh = assess(
            fields,
            self._rules,
            status=status,
            is_authorized=self._request.is_authorized,
            requested_at=received_at - (self._clocks.now() - self._asked_at),
            received_at=received_at,
            rng=self._clocks.rng,
        )
        return self._bound(fresh) if fresh is not None and self._request.scope else fresh

    def _assess_updated(self, merged: RawHeaders, status: int, head: ResponseHead) -> Freshness | None:
        """Of what is held with the fields of this head. What the head withholds is not stored, even if a targeted field
        that it does not say again still rules over all of it (RFC 9213 section 2.2)."""
        fresh = self._assess(merged, status)
        return fresh and replace(fresh, omitted=fresh.omitted | withheld(head.fields, self._rules))

    def _put(self, status: int, fields: RawHeaders, body: bytes, fresh: Freshness) -> Entry | None:
        """Keep what came with these fields, as far as they may be stored."""
        request, stored = self._request, stored_fields(fields, fresh.omitted)
        key = self._shelf.key_of(request.target, request.fields, stored, status, request.scope)
        if key is None:
            return None
        entry = self._entry(key, status, stored, body, fresh)
        return entry if self._shelf.put(entry, seen=self._seen) else None

    def _entry(self, key: Key, status: int, fields: RawHeaders, body: bytes, fresh: Freshness) -> Entry:
        return Entry(
            key=key,
            item=body,
            received_at=self._came_at,
            lifetime=fresh.lifetime,
            initial_age=fresh.initial_age,
            stale_while_revalidate=fresh.stale_while_revalidate,
            stale_if_error=fresh.stale_if_error,
            must_revalidate=fresh.must_revalidate,
            shareable=fresh.shareable,
            status=status,
            headers=fields,
            last_synced_at=self._came_at,
        )

    def _drop_others(self, held: Entry) -> None:
        """What else the request could have selected would have to be updated like what is held, or made invalid
        (sections 4.3.4 and 4.3.5), and must not come in place of what is newer (section 4). It is there only where an
        origin has changed its Vary, so it is let go."""
        self._shelf.drop_others(held.key, self._request.fields, until=self._came_at)

    def _drop_held(self) -> None:
        held = self._request.held
        is_current = held is not None and self._seen.is_current(held.key._replace(variant=""))
        if held is not None and is_current and not self._shelf.was_replaced(held):
            self._shelf.drop(held.key)


def is_of_the_server(status: int) -> bool:
    """Whether an answer is a failure of the origin, instead of which a stale response may be used (RFC 5861 section 4);
    429 is one that comes of too many asking."""
    return status >= 500 or status == _TOO_MANY  # noqa: PLR2004 - RFC 9110 section 15.6


def _to_the_causer(merged: RawHeaders, head: ResponseHead) -> RawHeaders:
    """The fields of a response that was confirmed for who has caused that: with the cookies that came for him, without
    its age, which is told where they are written."""
    cookies = [field for field in head.fields if field[0].lower() == b"set-cookie"]
    return (*(field for field in merged if field[0].lower() != b"age"), *cookies)


def _is_too_long(fields: RawHeaders) -> bool:
    """Whether fields that came with several answers are more than one may have."""
    size = sum(len(name) + len(value) for name, value in fields)
    return len(fields) > _MAX_FIELDS or size > _MAX_FIELDS_SIZE


def _is_part(head: ResponseHead) -> bool:
    return head.status == _PARTIAL_CONTENT and ranges.content_range(head.fields) is not None


def _declared_length(head: ResponseHead) -> int:
    declared = values(head.fields, b"content-length")
    return int(declared[0]) if declared and declared[0].isdigit() else 0
