"""What a face keeps as JSON."""

from typing import Any, cast

import pytest
from msgspec.structs import replace

from proxy.entities import Entities, Present
from proxy.web.handshake import face as module
from proxy.web.handshake.face import Face
from store.entry import Entry, Key
from tests.unit.web.faces import shape


def entry(number: int = 1, **members: Any) -> Entry:
    item = b'{"id":"%d","name":"Name %d"}' % (number, number)
    made = Entry(key=Key("user", str(number)), item=item, received_at=0.0, lifetime=1.0, internal_id="i")
    return replace(made, **members)


class Held:
    """Entities that are all in memory, but for those that were erased."""

    def __init__(self) -> None:
        self.erased: set[str] = set()

    def holds(self, entry: Entry) -> bool:
        return entry.key.id not in self.erased


def face(held: Held | None = None) -> Face:
    return Face.of(shape(), cast("Entities", held or Held()), lambda: 0.0)


def test_what_was_rendered_is_given_again_for_that_very_entry_alone() -> None:
    one = face()
    first, changed = entry(), entry(version=2)
    rendered = one.render(Present(first, "hit"), data=False)
    assert one.render(Present(first, "miss"), data=False) is rendered
    assert b'"source":"stale"' in one.render(Present(first, "stale"), data=False)
    assert b'"data":{"id":"1"' in one.render(Present(first, "hit"), data=True)
    assert b'"version":2' in one.render(Present(changed, "hit"), data=False)
    assert one.render(Present(first, "hit"), data=False) == rendered


def test_it_is_bounded_and_can_be_told_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHOWN", 3)
    one = face()
    for number in range(10):
        one.render(Present(entry(number), "hit"), data=False)
    assert list(one._shown) == ["7", "8", "9"]
    one.forget("8")
    one.forget("8")
    assert list(one._shown) == ["7", "9"]
    one = face(held := Held())
    held.erased.add("5")
    for number in range(4, 8):
        one.render(Present(entry(number), "hit"), data=False)
    assert list(one._shown) == ["4", "6", "7"]
    large = entry(7, item=b'{"id":"7","name":"%s"}' % (b"x" * 5000))
    assert len(one.render(Present(large, "hit"), data=False)) > 5000
    assert list(one._shown) == ["4", "6"]
