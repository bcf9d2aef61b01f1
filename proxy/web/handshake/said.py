"""What a call of the handshake API is given, what it gives back, and what is wrong with it if something is."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
from msgspec import Struct

from proxy.core import json_split
from proxy.core.bulk import MAX_ID_BYTES, is_valid_id
from proxy.core.http.fields import TRACE_CONTEXT, RawField
from proxy.core.problem import Fault
from proxy.metrics import Cache
from proxy.web.served import About

BATCH_IDS = 10_000
"""Ids in one batch: each may cost a write, and the answer stays in the order of megabytes."""

_decoder = msgspec.json.Decoder(dict[str, Any])
_MAX_QUERY_FIELDS = 16
# What a member or a parameter that was misspelled looks like.
_TELLABLE = re.compile(r"[A-Za-z_]{1,40}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_FAULTS = 16
# No call has as many; a repeated one is looked for among these, and whoever sends more is told so.
_MAX_MEMBERS = 64


class Invalid(Exception):
    """The call itself is wrong; `faults` say which member of it, and what to change. They quote nothing."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self.faults = faults


class Asked(Struct, frozen=True):
    """One call. Raises Invalid from its methods."""

    body: bytes = b""
    query: bytes = b""
    place: str = ""
    """What stands for `{id}` in the path."""
    head: tuple[RawField, ...] = ()
    """The fields of the request."""

    @property
    def fields(self) -> tuple[RawField, ...]:
        """What goes with a fetch that the call causes: its trace context."""
        return tuple(field for field in self.head if field[0].lower() in TRACE_CONTEXT)

    def members(self, known: Collection[str], required: Collection[str] = ()) -> Mapping[str, Any]:
        """The members of the body, which has no others."""
        document = _object(self.body)
        unknown = [name for name in document if name not in known]
        faults = [
            Fault(_pointer(name), "is no member of this call") for name in unknown if _is_tellable(name)
        ]
        if len(faults) < len(unknown):
            faults.append(Fault("#", "has a member that is none of this call"))
        faults += [Fault(_pointer(name), "is required") for name in required if name not in document]
        if faults:
            raise Invalid(*faults[:_MAX_FAULTS])
        return document

    def ids(self, *names: str) -> list[str]:
        """The external ids of a body that is exactly those members, in that order."""
        document = self.members(names, names)
        ids = [document[name] for name in names]
        wrong = [(name, fault) for name, value in zip(names, ids, strict=True) if (fault := _id_fault(value))]
        if wrong:
            raise Invalid(*(Fault(_pointer(name), fault) for name, fault in wrong))
        return ids

    def id_list(self, name: str) -> list[str]:
        """The external ids of a body that is exactly `{name: [ids]}`, each once."""
        listed = self.members([name], [name])[name]
        if not isinstance(listed, list):
            raise Invalid(Fault(_pointer(name), "must be a list of strings"))
        if len(listed) > BATCH_IDS:
            raise Invalid(Fault(_pointer(name), f"must list at most {BATCH_IDS} ids"))
        for at, one in enumerate(listed):
            fault = _id_fault(one)
            if fault:
                raise Invalid(Fault(f"{_pointer(name)}/{at}", fault))
        return list(dict.fromkeys(listed))

    def has(self, name: str) -> bool:
        """Whether the body has that member."""
        return name in _object(self.body)

    def internal_id(self) -> str:
        """The internal id in the path, in lower case."""
        internal_id = self.place.lower()
        if not _UUID.fullmatch(internal_id):
            raise Invalid(Fault("id", "must be an internal id, a UUID; external ids travel in bodies"))
        return internal_id

    def internal_id_in(self, name: str) -> str:
        """The internal id of a body that is exactly that member, in lower case."""
        value = self.members([name], [name])[name]
        if not isinstance(value, str) or not _UUID.fullmatch(value.lower()):
            raise Invalid(Fault(_pointer(name), "must be an internal id, a UUID"))
        return value.lower()

    def parameters(self, *known: str) -> Mapping[str, str]:
        """The query parameters, each once and none but those that are known."""
        if not self.query:
            return {}
        try:
            listed = parse_qsl(
                self.query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS
            )
        except ValueError:
            raise Invalid(Fault("query", "must be UTF-8 text of at most 16 parameters")) from None
        found = dict(listed)
        allowed = ", ".join(known) or "none"
        names = [name for name, _ in listed]
        unknown = [name for name in found if name not in known]
        faults = [
            Fault(name, f"is no parameter of this call; known here: {allowed}")
            for name in unknown
            if _is_tellable(name)
        ]
        if len(faults) < len(unknown):
            faults.append(Fault("query", f"has a parameter that is none of this call; known here: {allowed}"))
        faults += [Fault(name, "must be given once") for name in known if names.count(name) > 1]
        if faults:
            raise Invalid(*faults)
        return found

    def wants_data(self, *others: str) -> bool:
        """Whether the items are wanted too; `others` are the parameters that the call has besides."""
        included = self.parameters("include", *others).get("include")
        if included not in {None, "data"}:
            raise Invalid(Fault("include", "must be data"))
        return included is not None


class Said(Struct, frozen=True):
    """The answer of a call, and the words for metrics and log."""

    body: bytes = b""
    status: int = 200
    cache: Cache = "none"
    about: About = ()
    """The entities that it is about, for the log."""
    retry_after: int | None = None
    """Seconds."""


Answer = Callable[[Asked], Awaitable[Said]]


def _object(body: bytes) -> dict[str, Any]:
    document = _decoded(body)
    # Each member has a colon: where there are no more of them, no member is hidden behind another of its name.
    if body.count(b":") > len(document):
        _refuse_repeated(body)
    return document


def _refuse_repeated(body: bytes) -> None:
    """Of a member that is there twice one parser takes the first, another one the last: neither is ours to choose."""
    try:
        names = Counter(name for name, _ in json_split.members(body, _MAX_MEMBERS))
    except json_split.TooManyMembers:
        raise Invalid(Fault("#", "has more members than any call")) from None
    except (ValueError, RecursionError):
        raise Invalid(Fault("#", "must be JSON: an object")) from None
    repeated = [name for name, times in names.items() if times > 1]
    if repeated:
        told = [Fault(_pointer(name), "must be given once") for name in repeated if _is_tellable(name)]
        raise Invalid(*(told[:_MAX_FAULTS] or [Fault("#", "has a member more than once")]))


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    try:  # the library's parser takes lone surrogates, which an id then may not have
        document = json_split.decode(body)
    except (ValueError, RecursionError):
        raise Invalid(Fault("#", "must be JSON: an object")) from None
    if not isinstance(document, dict):
        raise Invalid(Fault("#", "must be a JSON object"))
    return document


def _id_fault(value: object) -> str | None:
    """What is wrong with an external id, if anything is."""
    if not isinstance(value, str):
        return "must be a string"
    return None if is_valid_id(value) else f"must be 1 to {MAX_ID_BYTES} bytes of UTF-8"


def _is_tellable(name: str) -> bool:
    """Whether an unknown name may stand in an answer: another one could be an id or an address that is out of place."""
    return _TELLABLE.fullmatch(name) is not None


def _pointer(name: str) -> str:
    """A JSON pointer to a member of the body, as a URI fragment (RFC 6901 section 6)."""
    escaped = name.replace("~", "~0").replace("/", "~1")
    return "#/" + quote(escaped, safe="~!$&'()*+,;=:@", errors="replace")
