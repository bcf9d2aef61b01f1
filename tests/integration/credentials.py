"""A service that answers each credential by itself, and remembers what it has said to whom."""

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.core.http.fields import RawField
from tests.integration.harness import Client, Proxy, Response, ScriptedUpstream, Seen, running
from tests.integration.people import BULK

USER: dict[str, Any] = {
    "id": "/id",
    "sharing": "per_credential",
    "single": {"path": "/users/{id}"},
    "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
    "freshness": {"ttl": "60s", "jitter": 0},
}
A, B, NOBODY = "Authorization: Bearer a", "Authorization: Bearer b", ""
_CREDENTIALS = frozenset({b"authorization", b"cookie", b"x-api-key"})


def who(fields: Iterable[RawField]) -> str:
    """Who asks, as far as this service can tell: the credential fields, names in lower case, values byte by byte."""
    known = sorted(
        (name.lower(), place, value)
        for place, (name, value) in enumerate(fields)
        if name.lower() in _CREDENTIALS
    )
    return "\n".join(f"{name.decode()}: {value.decode('latin-1')}" for name, _, value in known)


def caller(line: str) -> str:
    """`who` of a request with this field line, or with none."""
    return who([tuple(line.encode("latin-1").split(b": ", 1))] if line else [])  # type: ignore[list-item]


def user(freshness: dict[str, Any] | None = None, **over: Any) -> dict[str, Any]:
    """The resources: one, with these keys laid over `USER`."""
    return {"user": USER | over | {"freshness": USER["freshness"] | (freshness or {})}}


class Guarded:
    """The service. What it says of an entity names the caller; the test sets how it answers, and to whom."""

    def __init__(self) -> None:
        self.upstream = ScriptedUpstream(self._script)
        self.versions: Counter[str] = Counter()
        self.fields = b""
        """Further field lines of its good answers, each with its line end."""
        self.status: dict[str, int] = {}
        """How it answers callers that it has no good answer for."""
        self.hidden: set[tuple[str, str]] = set()
        """Who is told that which entity does not exist."""
        self.names_callers = True
        self.held_back: set[str] = set()
        """Who is answered no sooner than the gate is open."""
        self.gate = asyncio.Event()

    @property
    def calls(self) -> list[str]:
        """Who has asked, in order."""
        return [who(seen.fields) for seen in self.upstream.seen]

    def item(self, asker: str, entity: str) -> dict[str, object]:
        """What it says of an entity to that caller now."""
        return {"id": entity, "who": asker if self.names_callers else "", "v": self.versions[entity]}

    def etag(self, asker: str, entity: str) -> str:
        """The validator of that."""
        return f'"{zlib.crc32(json.dumps(self.item(asker, entity)).encode()):08x}"'

    def said(self, _asker: str, _entity: str, _item: dict[str, object] | None) -> None:
        """It tells that caller this of the entity; None: that there is none. For a test that keeps account."""

    def refused(self, _asker: str, _ids: Iterable[str], _status: int) -> None:
        """It answers a fill in that caller's name by no more than a status."""

    def changed(self, _entity: str) -> None:
        """Somebody has changed the entity by way of the proxy."""

    async def _script(self, seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asker, method = who(seen.fields), seen.line.split()[0].decode()
        is_bulk = seen.line.split()[1] == BULK.encode()
        entity = seen.line.split()[1].partition(b"?")[0].rsplit(b"/", 1)[1].decode()
        ids = json.loads(seen.body)["userIds"] if is_bulk else [entity]
        if asker in self.held_back:
            await self.gate.wait()
        status = self.status.get(asker, 200)
        if status != 200:
            if (b"Accept-Encoding", b"identity") in seen.fields:  # none of the callers here sends that
                self.refused(asker, ids, status)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
        elif is_bulk:
            self._answer_bulk(asker, ids, writer)
        elif method in {"GET", "HEAD"}:
            self._answer_single(asker, entity, seen, writer)
        else:
            self.versions[entity] += 1
            self.changed(entity)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def _answer_bulk(self, asker: str, ids: list[str], writer: asyncio.StreamWriter) -> None:
        listed = [None if (asker, entity) in self.hidden else self.item(asker, entity) for entity in ids]
        for entity, item in zip(ids, listed, strict=True):
            self.said(asker, entity, item)
        body = json.dumps({"users": [item for item in listed if item is not None]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (self.fields, len(body), body))

    def _answer_single(self, asker: str, entity: str, seen: Seen, writer: asyncio.StreamWriter) -> None:
        if (asker, entity) in self.hidden:
            self.said(asker, entity, None)
            writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
            return
        item, etag = self.item(asker, entity), self.etag(asker, entity).encode()
        self.said(asker, entity, item)
        asked = {name.lower(): value for name, value in seen.fields}
        body = json.dumps(item).encode()
        if asked.get(b"if-none-match") == etag:
            writer.write(b"HTTP/1.1 304 X\r\n%bETag: %b\r\n\r\n" % (self.fields, etag))
            return
        head = b"HTTP/1.1 200 OK\r\n%bETag: %b\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (self.fields, etag, len(body)))
        writer.write(b"" if seen.line.startswith(b"HEAD") else body)


@asynccontextmanager
async def guarded(
    directory: Path,
    freshness: dict[str, Any] | None = None,
    *,
    over: dict[str, Any] | None = None,
    **sections: Any,
) -> AsyncIterator[tuple[Guarded, Proxy]]:
    """The service and a proxy before it; `freshness` and `over` go over the resource, `sections` over the rest."""
    service = Guarded()
    resources = user(freshness, **(over or {}))
    async with service.upstream as upstream:
        async with running(upstream.url, directory, resources=resources, **sections) as proxy:
            yield service, proxy


async def bulk(proxy: Proxy, ids: Iterable[str], *lines: str) -> Response:
    """A bulk call with these field lines, those that are not empty."""
    async with proxy.client() as client:
        return await post(client, ids, *lines)


async def post(client: Client, ids: Iterable[str], *lines: str) -> Response:
    """The same on a connection that is there."""
    body = json.dumps({"userIds": list(ids)}).encode()
    return await client.post(BULK, body, *(line for line in lines if line))


async def single(proxy: Proxy, entity: str, *lines: str, method: str = "GET") -> Response:
    """A single call with these field lines, those that are not empty."""
    async with proxy.client() as client:
        return await one(client, entity, *lines, method=method)


async def one(client: Client, entity: str, *lines: str, method: str = "GET") -> Response:
    """The same on a connection that is there."""
    told = "".join(f"{line}\r\n" for line in lines if line)
    request = f"{method} /users/{entity} HTTP/1.1\r\nHost: a\r\n{told}\r\n".encode("latin-1")
    return await client.request(request, head_only=method == "HEAD")


def copies(proxy: Proxy) -> int:
    """How many representations memory has, of all callers."""
    return proxy.app._storage.tiers.memory.count("user")
