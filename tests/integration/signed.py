"""An owner that sends its events, signed, as the tests have it."""

import base64
import itertools
import json
from pathlib import Path
from typing import Any

from proxy.signatures import sign
from tests.integration.harness import Client, Proxy, Response

SECRET = f"whsec_{base64.b64encode(b's' * 32).decode()}"
_numbers = itertools.count(1)


def webhooks(directory: Path) -> dict[str, Any]:
    """The section of a configuration that takes them."""
    file = directory / "webhook-secrets"
    file.write_text(f"{SECRET}\n")
    return {"listen": "127.0.0.1:0", "secret_file": str(file)}


def signed(body: bytes, at: float, *, secret: str = SECRET, message: str = "") -> list[str]:
    """The field lines of a message."""
    fields = sign(secret, message or f"msg_{next(_numbers)}", int(at), body.decode())
    return [f"{name}: {value}" for name, value in fields.items()]


def event(
    entity: str, version: int | str | None = None, data: bytes | None = None, kind: str = "user.updated"
) -> bytes:
    """The body of one."""
    said = {"type": kind, "id": entity} | ({} if version is None else {"version": version})
    body = json.dumps(said).encode()
    return body if data is None else b'%b,"data":%b}' % (body[:-1], data)


async def send(client: Client, body: bytes, at: float, **how: Any) -> Response:
    """Send it on a connection to the webhook listener."""
    return await client.post("/v1/events", body, *signed(body, at, **how))


async def tell(proxy: Proxy, body: bytes, **how: Any) -> int:
    """Send it on a connection of its own; the status of the answer."""
    async with proxy.client("webhooks") as client:
        return (await send(client, body, proxy.clock(), **how)).status
