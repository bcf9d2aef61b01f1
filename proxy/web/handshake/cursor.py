"""The cursor of a listing: where the page before has ended, as text that means nothing to its bearer."""

import base64
import binascii

from proxy.core.problem import Fault
from proxy.web.handshake.said import Invalid
from store.base import Position
from store.times import rfc3339


def encode(position: Position) -> str:
    """A position as a cursor."""
    text = f"{position.last_synced_at!r} {position.internal_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str) -> Position:
    """The position in a cursor. Raises Invalid."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        at, _, internal_id = text.partition(" ")
        position = Position(float(at), internal_id)
        rfc3339(position.last_synced_at)  # what is no date is none of ours, and no store can compare with it
    except (binascii.Error, ValueError, OverflowError):
        position = Position(0.0, "")
    if not position.internal_id:
        raise Invalid(Fault("cursor", "must be the `next` of the page before"))
    return position
