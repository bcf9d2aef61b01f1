"""What a wish for an entity can come to."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from proxy.core.http.fields import RawField
from proxy.exchange import Fetched
from store.entry import Entry
from store.generation import Watch


class Loaded(Struct, frozen=True):
    """The upstream has the entity."""

    entry: Entry
    stored: bool
    collapsed: bool = False
    validated: bool = False
    """It said 304: the copy that we hold is still good."""


class Missing(Struct, frozen=True):
    """The upstream has no such entity."""

    entry: Entry
    stored: bool
    collapsed: bool = False


class Refused(Struct, frozen=True):
    """The upstream's word to the caller (401, 403, a redirect, …): passed on, and no failure of the upstream."""

    response: Fetched


class Failure(Struct, frozen=True):
    """There is no usable answer; `response` is what the upstream said, if it spoke HTTP."""

    reason: str
    response: Fetched | None = None
    retry_after: float | None = None
    """Seconds after which it is worth asking again, if that is known."""


class PassOn(Struct, frozen=True):
    """The answer is valid, but not one that this cache can hold or put together: ask for yourself."""

    answer: Loaded | Missing | None = None
    """What it said of the entity, as far as we could tell: good for who wants the entity and not the response."""


Result = Loaded | Missing | Refused | Failure | PassOn


def for_waiter(result: Result, *, is_same_caller: bool) -> Result:
    """What a flight means for somebody who joined it.

    An answer that may not be stored is not shared either, and a refusal was meant for who caused the flight.
    """
    match result:
        case Loaded(entry, stored):
            if not stored:
                return PassOn(result if is_same_caller else None)
            return Loaded(entry, stored, collapsed=True, validated=result.validated)
        case Missing(entry, stored):
            if not stored:
                return PassOn(result if is_same_caller else None)
            return Missing(entry, stored, collapsed=True)
        case PassOn() if not is_same_caller:
            return PassOn()
        case Refused() if not is_same_caller:
            return PassOn()
        case Failure(reason, _, retry_after) if not is_same_caller:
            return Failure(reason, retry_after=retry_after)
        case _:
            return result


class Wish(Struct, frozen=True):
    """What one upstream call is to bring."""

    ids: Sequence[str]
    variant: str
    held: Mapping[str, Entry]
    """Representations that we hold of some of them, however old."""
    seen: Watch
    """What is not current in it any more is not stored."""
    fields: tuple[RawField, ...]
    """What the causing request adds to the proxy's own fields (key fields, trace context, credential)."""
    lease: int | None = None
    """Under which it is stored, where replicas share the store (`store.entry.Write.lease`)."""
    named: Mapping[str, str] = {}
    """Versions that the owner has named of some of them a moment ago, as far as another replica was told."""
