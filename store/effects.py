"""What a message of the owner does to the row of an entity: decided, done and remembered in one transaction."""

from collections.abc import Callable

from msgspec import Struct

from store.entry import Entry, Write


class Delivery(Struct, frozen=True):
    """A message, as it is remembered so that it counts once."""

    id: str
    """What its sender calls it."""
    at: float
    """When it arrived, in epoch seconds."""
    remembered_for: float
    """Seconds."""


class Keep(Struct, frozen=True):
    """Nothing changes: what is held is as new, or newer."""


class Forget(Struct, frozen=True):
    """The representation goes; row, ids and local attributes stay."""

    source_version: str | None = None
    """The version that the message names: what is older does not count any more. None: what was known stays."""


class Replace(Struct, frozen=True):
    """Another representation stands there from now on."""

    write: Write


Effect = Keep | Forget | Replace

Decide = Callable[[Entry | None], Effect]
"""What happens to an entity of which that is held, None for nothing. Pure: a transaction may be tried again."""


class Applied(Struct, frozen=True):
    """What came of a message."""

    effect: Effect | None
    """None: the message had been delivered before."""
    before: Entry | None = None
    """What was held; a husk, too."""
    entry: Entry | None = None
    """What is held now."""
