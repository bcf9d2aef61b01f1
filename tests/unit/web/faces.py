"""A resource as the handshake calls see it, with no proxy behind it."""

from typing import cast

from config.json_pointer import Pointer
from config.load import load
from proxy.attributes import LOCAL_ATTRIBUTES
from proxy.core.bulk import AnswerShape
from proxy.entities import Entities
from proxy.web.handshake.face import Face
from proxy.web.handshake.shape import EntityShape
from store.entry import Entry, Key

NOW = 1_700_000_000.0
INTERNAL = "0b9f3a6e-7f0b-5d53-9c0c-2f5a3c1de0a7"


def shape(name: str = "user", **columns: str) -> EntityShape:
    """A built-in resource, with other columns if there are any."""
    config = load(None, {"HANDSHAKE_UPSTREAMS__MAIN__URL": "http://127.0.0.1:1"}).resources[name]
    if columns:
        pointers = {column: Pointer.parse(pointer) for column, pointer in columns.items()}
        config = config.model_copy(update={"columns": pointers})
    answer = AnswerShape(items=f"{name}s", count="count", id_pointer=Pointer.parse("/id"))
    return EntityShape.of(name, config, answer, LOCAL_ATTRIBUTES.get(name, ()))


def face(entities: object) -> Face:
    """Users, with these in place of the real entities, at `NOW`."""
    return Face.of(shape(), cast("Entities", entities), lambda: NOW)


def entry(item: bytes | None = b'{"id":"a"}', *, lifetime: float = 60.0, absent: bool = False) -> Entry:
    """What is held of user `a`."""
    return Entry(
        key=Key("user", "a"),
        item=item,
        received_at=NOW,
        lifetime=lifetime,
        internal_id=INTERNAL,
        last_synced_at=NOW,
        absent=absent,
    )
