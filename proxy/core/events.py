"""What an owner tells of an entity, and what it means for what is held of that: pure.

An event changes nothing, makes what is held outdated, or brings what is newer. By these rules, the first that fits:

| event | is | because |
|---|---|---|
| its version is the held one, or older | unchanged | it came twice, or late: what is held has it already |
| `deleted` | outdated | what is held is no more |
| `updated` without `data` | outdated | it tells that something is new, not what |
| without a version | outdated | it may be older than what is held |
| nothing is held, or of a version that is not known | outdated | a patch needs the very item that it was made for |
| its version is the next integer, or a later time | merged | nothing is known to be between it and what is held |
| its version is a later integer than the next | outdated | what is between them was lost, or comes later |
| neither version is known to be the newer | outdated | it may be older than what is held |

Outdated is what an event is in doubt: it costs a fetch, and is right whatever has happened. What is outdated keeps the
event's version, where it has one, so that an older event or answer is known to be older.

The version is the event's, or else the one that `data` has where the resource's `source_version` points. If both are
there and differ, the event's counts: `data` may be a patch that leaves the version of the item alone. A deletion has a
version of its own: one of the version that is held is taken for a repetition.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final, Literal

from msgspec import Struct

from config.json_pointer import Pointer
from proxy.core import json_split
from proxy.core.bulk import MAX_ID_BYTES, MAX_VALUES, AnswerShape, NotUnderstood, TooComplex, is_valid_id
from proxy.core.merge import NotAnObject, merge_patch
from proxy.core.problem import Fault
from proxy.core.versions import MAX_CHARACTERS, as_version, compare

Kind = Literal["updated", "deleted"]

_KINDS: Final[Mapping[str, Kind]] = {"updated": "updated", "deleted": "deleted"}
_MEMBERS: Final = ("type", "id", "version", "data")
# Standard Webhooks has `timestamp`, and a sender may have a few of its own.
_MAX_MEMBERS: Final = 64


class Invalid(Exception):
    """The event itself is wrong; `faults` say which member of it, and what it must be. They quote nothing."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self.faults = faults


class Event(Struct, frozen=True):
    """What an owner tells of one entity."""

    resource: str
    id: str
    """What the owner calls it."""
    kind: Kind
    version: str | None = None
    data: bytes | None = None
    """The item, or a patch of it (RFC 7396): a JSON object as it was sent. None with a deletion."""


class Held(Struct, frozen=True):
    """What is held of an entity."""

    item: bytes | None
    """None: forgotten, but the version is still known."""
    version: str | None
    """The owner's."""


class Unchanged(Struct, frozen=True):
    """What is held stays."""


class Outdated(Struct, frozen=True):
    """What is held is not to be served any more."""

    version: str | None
    """None: the event has none."""


class Merged(Struct, frozen=True):
    """This is what is held from now on."""

    item: bytes
    version: str


Decision = Unchanged | Outdated | Merged


def parse(body: bytes, resources: Collection[str]) -> Event:
    """The event that a body is, about one of `resources`. Members that are not an event's are ignored.

    Raises Invalid.
    """
    members = _members(body)
    faults: list[Fault] = []
    values = {name: _scalar(raw) for name, raw in members.items() if name != "data"}
    resource, kind = _type(values, resources, faults)
    entity = _id(values, faults)
    version = None if values.get("version") is None else as_version(values["version"])
    if version is None and values.get("version") is not None:
        faults.append(
            Fault("#/version", f"must be an integer, or text of 1 to {MAX_CHARACTERS} characters, or null")
        )
    data = members.get("data", b"null")
    is_object = data.startswith(b"{")
    if kind != "deleted" and not is_object and data != b"null":
        faults.append(Fault("#/data", "must be an object or null"))
    if faults:
        raise Invalid(*faults)
    return Event(resource, entity, kind, version, data if is_object and kind == "updated" else None)


def decide(event: Event, held: Held | None, *, version_at: Pointer | None, id_at: Pointer) -> Decision:
    """What an event means for what is held, None for nothing; `version_at`, `id_at`: where an item has its version and
    its id.

    Raises Invalid if the item that `data` makes is another entity's, or too complex to be read.
    """
    version = event.version
    if version is None and event.data is not None and version_at is not None:
        version = _version_in(event.data, version_at)
    if version is None or held is None or held.version is None:
        return Outdated(version)
    order = compare(version, held.version)
    if order in {"same", "older"}:
        return Unchanged()
    if order != "next" or event.kind == "deleted" or event.data is None or held.item is None:
        return Outdated(version)
    try:
        item = merge_patch(held.item, event.data)
    except (NotAnObject, TooComplex):
        # What is held can't be taken apart, or it takes more than one look at each does: not the sender's fault.
        return Outdated(version)
    _check(item, event.id, id_at)
    return Merged(item, version)


def _members(body: bytes) -> dict[str, bytes]:
    """The members of an event, those that it knows, as they stand in the body."""
    # Each is decoded to find its end.
    if body.count(b",") + body.count(b"{") + body.count(b"[") > MAX_VALUES:
        raise Invalid(Fault("#", "is of too many values"))
    try:
        listed = json_split.members(body, _MAX_MEMBERS)
    except json_split.TooManyMembers:
        raise Invalid(Fault("#", f"must have at most {_MAX_MEMBERS} members")) from None
    except RecursionError:
        raise Invalid(Fault("#", "is nested too deeply")) from None
    except ValueError:
        raise Invalid(Fault("#", "must be JSON: an object")) from None
    # Of one that is there twice one parser takes the first, another one the last.
    times = Counter(name for name, _ in listed)
    repeated = [name for name in _MEMBERS if times[name] > 1]
    if repeated:
        raise Invalid(*(Fault(f"#/{name}", "must be given once") for name in repeated))
    return {name: raw for name, raw in listed if name in _MEMBERS}


def _type(values: Mapping[str, object], resources: Collection[str], faults: list[Fault]) -> tuple[str, Kind]:
    value = values.get("type")
    resource, _, kind = value.rpartition(".") if isinstance(value, str) else ("", "", "")
    if resource in resources and kind in _KINDS:
        return resource, _KINDS[kind]
    known = ", ".join(sorted(resources)) or "there is none"
    must = f"must be <resource>.updated or <resource>.deleted of a resource that has events ({known})"
    faults.append(Fault("#/type", must if "type" in values else "is required"))
    return "", "updated"


def _id(values: Mapping[str, object], faults: list[Fault]) -> str:
    value = values.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # an integer id equals its decimal string
    if isinstance(value, str) and is_valid_id(value):
        return value
    must = f"must be a string of 1 to {MAX_ID_BYTES} bytes of UTF-8, or an integer"
    faults.append(Fault("#/id", must if "id" in values else "is required"))
    return ""


def _scalar(raw: bytes) -> object:
    """What is spelled there. An object or array is as good as any: it is wrong wherever this is asked."""
    return [] if raw.startswith((b"{", b"[")) else json_split.decode(raw)


def _version_in(data: bytes, version_at: Pointer) -> str | None:
    try:
        return as_version(version_at.resolve(json_split.decode(data)))
    except RecursionError:  # deeper in the stack than `parse` was
        return None


def _check(item: bytes, entity: str, id_at: Pointer) -> None:
    """Whether a merged item can be read, and is still the same entity's."""
    try:
        is_same = AnswerShape(items="", count=None, id_pointer=id_at).item(item).id == entity
    except NotUnderstood:
        is_same = False
    except TooComplex:
        raise Invalid(Fault("#/data", "makes an item that is too complex to be read")) from None
    if not is_same:
        raise Invalid(Fault("#/data", "must leave the item the id of the event"))
