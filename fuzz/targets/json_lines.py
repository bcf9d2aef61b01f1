"""A line of an export that somebody imports: what is taken comes out again as it was, what is not is never quoted."""

import re
from uuid import UUID

from config.json_pointer import Pointer
from fuzz import plain_json
from proxy.attributes import LOCAL_ATTRIBUTES
from proxy.core.bulk import AnswerShape
from proxy.core.json_lines import BadLine, RowShape, parse, render
from store.entry import Column

TOKENS = (
    b'{"resource":"user","externalId":"a"', b',"item":{"id":"a"}', b',"itemBase64":"', b',"id":"', b',"local":{', b"}",
    b'"departmentId":', b'"isFieldWorker":', b',"lastSyncedAt":"2026-01-02T03:04:05.678Z"', b',"receivedAt":', b"null",
    b',"lifetime":', b',"initialAge":', b',"staleWhileRevalidate":', b',"staleIfError":', b',"mustRevalidate":', b"1e3",
    b',"shareable":', b',"version":', b',"sourceVersion":"', b',"headers":[["etag","', b'"]]', b"true", b"\\ud800",
    b"0b9f3a6e-7f0b-4d53-9c0c-2f5a3c1de0a7",
)  # fmt: skip
_NOW = 1_700_000_000.0
_ATTRIBUTES = LOCAL_ATTRIBUTES["user"]


def _columns(document: dict[str, object]) -> dict[str, Column]:
    name = document.get("name")
    return {"name": name if isinstance(name, str) else None}


_ANSWER = AnswerShape(items="", count=None, id_pointer=Pointer.parse("/id"))
_SHAPES = {
    "user": RowShape(_ANSWER, _columns, ttl=100.0, jitter=0.1, attributes=_ATTRIBUTES),
    "team": RowShape(_ANSWER, _columns, ttl=50.0, jitter=0.0),
}
_UNKNOWN = re.compile(r"[A-Za-z_]{1,40}: is not known|a member: is not known")


def fuzz_one(data: bytes) -> None:
    """What is taken is written and read again to the same; an error is in words of ours alone."""
    try:
        write = parse(data, _SHAPES, now=_NOW, rng=lambda: 0.5)
    except BadLine as bad:
        _check_error(bad)
        return
    entry = write.entry
    document = plain_json.read(data)
    assert isinstance(document, plain_json.Members)
    assert document.last()["externalId"] == entry.key.id
    assert min(entry.lifetime, entry.initial_age) >= 0
    assert entry.version >= 1
    assert entry.internal_id is None or entry.internal_id == str(UUID(entry.internal_id))
    attributes = _SHAPES[entry.key.resource].attributes
    line = render(entry, attributes)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    again = parse(line, _SHAPES, now=_NOW + 1, rng=lambda: 0.0)
    assert again.columns == write.columns
    assert again.entry.item == entry.item
    assert render(again.entry, attributes) == line


def _check_error(bad: BadLine) -> None:
    """It hides what the parser said, and has nothing that only the line can have brought."""
    assert bad.__cause__ is None
    assert bad.__suppress_context__ or bad.__context__ is None
    assert _UNKNOWN.fullmatch(str(bad)) or not re.search(r"[0-9]{6}|@|\\", str(bad))
