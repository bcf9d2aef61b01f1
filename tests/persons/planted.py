"""What is planted, and an owner of users that says it in every way that an answer can go wrong."""

import asyncio
import base64
import json
from pathlib import Path

from tests.integration.harness import Seen
from tests.persons.search import Planted

USER = "usr/Planted Ünique-7f3a91"
"""An id that a path, a query and JSON spell in three ways."""
BUSINESS = "biz-Planted+Own-55c0e2"
EMAIL = "zoë.planted+tag@example.org"
NAME = 'Zoë "Planted" Surname'
PHONE = "+977 98-5550-4471"
DEPARTMENT = "dept-planted-99a1"
QUERY = "planted-query-1f00d"
MESSAGE = "msg_planted-6d20b7e1"

PERSONS = Planted(
    {
        "user": USER,
        "business": BUSINESS,
        "email": EMAIL,
        "name": NAME,
        "phone": PHONE,
        "department": DEPARTMENT,
        "query": QUERY,
        "message": MESSAGE,
    }
)
SECRETS = Planted(
    {
        "client token": "client-Tk.planted~3b1c77",
        "client cookie": "cookie-planted-77aa31",
        "upstream credential": "credential-planted-0c9d",
        "handshake token": "handshake-planted-84be",
        "egress password": "egress-p4ss-planted",
        "sharing key": "sharing-key-planted-d00f",
        "webhook key": "webhook-key-planted-b40f5e21c7a9",
    }
)
AUTHORIZATION = f"Authorization: Bearer {SECRETS.values['client token']}"
COOKIE = f"Cookie: session={SECRETS.values['client cookie']}"
WEBHOOKS = f"whsec_{base64.b64encode(SECRETS.values['webhook key'].encode()).decode()}"
HANDSHAKE = f"Authorization: Bearer {SECRETS.values['handshake token']}"

ITEM = {"id": USER, "name": NAME, "email": EMAIL, "phone": PHONE, "kahaId": "K-1", "version": 1}
_USERS = {"users": [ITEM], "count": 1}
_BUSINESSES = {"businesses": [{"id": BUSINESS, "name": NAME}], "count": 1}


def write_secrets(directory: Path) -> dict[str, str]:
    """The files of the secrets, and the settings that name them."""
    directory.mkdir(exist_ok=True)
    settings = {
        "upstream credential": "HANDSHAKE_UPSTREAMS__MAIN__CREDENTIAL_FILE",
        "handshake token": "HANDSHAKE_HANDSHAKE__TOKEN_FILE",
        "sharing key": "HANDSHAKE_SHARING__KEY_FILE",
        "webhook key": "HANDSHAKE_WEBHOOKS__SECRET_FILE",
    }
    for name, setting in settings.items():
        (directory / setting).write_text(SECRETS.values[name] + "\n")
    (directory / settings["webhook key"]).write_text(f"{WEBHOOKS}\n")
    return {setting: str(directory / setting) for setting in settings.values()}


def _head(status: str, length: int, *fields: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {length}",
        "Content-Type: application/json",
        *fields,
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


class Owner:
    """An upstream whose answers all speak of persons; `mode` says what is wrong with them."""

    MODES = (
        "500",
        "429",
        "401",
        "html",
        "no json",
        "another shape",
        "wider",
        "half",
        "twice",
        "bad head",
        "bad chunk",
        "cookie",
        "coded",
        "reset",
        "hang",
        "good",
    )
    """`good` comes last: until then there is no copy that could stand in for an answer."""

    def __init__(self) -> None:
        self.mode = "good"
        self.asked = 0

    def _good(self, seen: Seen) -> bytes:
        if b"/businesses/" in seen.line:
            return json.dumps(_BUSINESSES).encode()
        if b"/bulk" in seen.line:
            return json.dumps(_USERS).encode()
        return json.dumps(ITEM).encode()

    async def script(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        good = self._good(seen)
        told = json.dumps({"message": f"{USER} {EMAIL} {NAME}"}).encode()
        odd = {
            "500": _head(f"500 {USER}", len(told), f"X-Error: {EMAIL}") + told,
            "429": _head("429 Slow", len(told), f"Retry-After: {EMAIL}", f"X-User: {USER}") + told,
            "401": _head("401 No", len(told), f'WWW-Authenticate: Bearer realm="{EMAIL}"') + told,
            "html": _head("200 OK", 60) + f"<html>{USER} {EMAIL}".encode().ljust(60)[:60],
            "no json": _head("200 OK", len(good) - 3) + good[:-3],
            "another shape": _head("200 OK", len(told)) + told,
            "wider": _head("200 OK", len(good) + 12) + good[:-1] + b',"next":null' + good[-1:],
            "half": _head("200 OK", len(good) + 100) + good,
            "twice": _head("200 OK", len(good))
            + good
            + b"HTTP/1.1 200 OK\r\nX: "
            + USER.encode()
            + b"\r\n\r\n",
            "bad head": f"HTTP/1.1 200 OK\r\n{EMAIL} {USER}\r\n\r\n".encode(),
            "bad chunk": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{USER}\r\n".encode(),
            "cookie": _head("200 OK", len(good), f"Set-Cookie: u={EMAIL}", f"Vary: {USER}") + good,
            "coded": _head("200 OK", len(good), f"Content-Encoding: {USER}") + good,
        }
        if self.mode == "hang":
            await reader.read()  # until the proxy has had enough
            return
        writer.write(odd.get(self.mode, _head("200 OK", len(good)) + good) if self.mode != "reset" else b"")
        if self.mode in {"reset", "half", "bad head", "bad chunk"}:
            await writer.drain()
            writer.close()
