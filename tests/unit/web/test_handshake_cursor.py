"""The cursor of a listing."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.web.handshake.cursor import decode, encode
from proxy.web.handshake.said import Invalid
from store.base import Position

TIMES = st.floats(-6e10, 2.5e11)
"""The dates that there are, in epoch seconds."""
IDS = st.text(st.characters(codec="utf-8"), min_size=1)


@given(TIMES, IDS)
def test_a_position_comes_back_and_its_cursor_needs_no_escape(at: float, internal_id: str) -> None:
    cursor = encode(Position(at, internal_id))
    assert decode(cursor) == Position(at, internal_id)
    assert cursor.isascii()
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_whatever_else_is_read_as_a_position_or_refused(cursor: str) -> None:
    position = None
    with suppress(Invalid):
        position = decode(cursor)
    assert position is None or decode(encode(position)) == position


@pytest.mark.parametrize("text", ["", " ", "1", "1 ", "nan a", "inf a", "-inf a", "1e300 a", "x a", " a"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        decode(base64.urlsafe_b64encode(text.encode()).decode().rstrip("="))
