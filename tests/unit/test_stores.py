"""What of a representation goes into its table."""

import pytest

from config.json_pointer import Pointer
from proxy.core.bulk import AnswerShape
from proxy.core.json_lines import RowShape
from proxy.stores import as_write
from store.entry import Write
from tests.unit.store.samples import entry, user

DEEP = 100_000
SHAPES = {
    "user": RowShape(
        AnswerShape(items="", count=None, id_pointer=Pointer.parse("/id")),
        lambda document: {"name": document["name"]},
        ttl=60.0,
        jitter=0.0,
    )
}


def test_an_item_gets_its_columns() -> None:
    kept = entry(user("a"), b'{"id":"a","name":"Ann"}')
    assert as_write(SHAPES, kept) == Write(kept, {"name": "Ann"})


@pytest.mark.parametrize(
    "item", [b'{"id":"a","name":' + b"[" * DEEP + b"]" * DEEP + b"}", b"nothing"], ids=["deep", "no item"]
)
def test_what_can_not_be_read_has_none_and_is_no_failure(item: bytes) -> None:
    assert as_write(SHAPES, entry(user("a"), item)) is None


def test_what_is_no_representation_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="only a representation"):
        as_write(SHAPES, entry(user("a"), None))
