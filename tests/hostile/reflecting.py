"""An upstream that believes every header and every spelling of a path, and puts all of it into what it answers."""

import asyncio
import json
import re

from tests.integration.harness import ScriptedUpstream, Seen

EVIL = "evil.example"
"""What an attacker wants others to be shown."""

RESOURCES = {
    "user": {
        "id": "/id",
        "single": {"path": "/users/{id}"},
        "bulk": {"path": "/users/bulk", "ids": "/userIds", "items": "/users", "count": "/count"},
    }
}


def _user(entity: str, seen: Seen) -> dict[str, object]:
    """A user with all that was said of it in the request."""
    target = seen.line.split(b" ")[1].decode("latin-1")
    return {"id": entity, "target": target, "head": seen.head.decode("latin-1")}


async def _answer(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    method, target = seen.line.split(b" ")[:2]
    if EVIL.encode() in seen.head and b"X-Break" in seen.head:
        writer.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 4\r\n\r\nevil")
        return
    if target.endswith(b"/bulk") and method == b"POST":
        items = [_user(one, seen) for one in json.loads(seen.body)["userIds"]]
        said = json.dumps({"users": items, "count": len(items)}).encode()
    else:
        # The first number in it, wherever that stands: suffixes, dots and parameters are all the same to it.
        found = re.search(r"users\D*(\d+)", target.decode("latin-1"))
        said = json.dumps(_user(found[1] if found else "none", seen)).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said)
    writer.write(head if method == b"HEAD" else head + said)


def reflecting() -> ScriptedUpstream:
    """One that answers so."""
    return ScriptedUpstream(_answer)
