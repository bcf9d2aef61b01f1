"""`handshake-proxy send-event`: signs an event as its owner would, and sends it to a webhook listener."""

import http.client
import secrets
import sys
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from config.errors import ConfigError, Problem
from config.webhook_secrets import load
from proxy.core.json_split import decode
from proxy.core.problem import CONTENT_TYPE
from proxy.signatures import is_message_id, sign

_PATH: Final = "/v1/events"
# What the listener takes (proxy/web/json_body.py).
_MOST_BYTES: Final = 1024 * 1024
# Of an answer that says what is wrong: more is none of ours.
_MOST_SAID: Final = 16 * 1024
# Seconds: the least that the standard recommends ("Request timeouts").
_TIMEOUT: Final = 15.0


class _Target:
    """Where to send it. Raises ConfigError for what is no URL of a listener."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, self.port = parts.hostname, parts.port
        except ValueError:
            host = None
        # A password on the command line would be seen by others, and a fragment goes nowhere.
        if host is None or parts.scheme not in {"http", "https"} or parts.username or parts.fragment:
            raise ConfigError([Problem("--to", "must be a URL such as http://127.0.0.1:8090")])
        self.host: str = host
        self.is_secure = parts.scheme == "https"
        path = parts.path if parts.path not in {"", "/"} else _PATH
        self.path = f"{path}?{parts.query}" if parts.query else path

    def connect(self) -> http.client.HTTPConnection:
        """A connection to there, which opens with the request."""
        kind = http.client.HTTPSConnection if self.is_secure else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=_TIMEOUT)


def send(file: Path | None, *, to: str, secret_file: Path, message_id: str | None = None) -> int:
    """Send the event that a file holds (None: standard input), and say in a line what became of it.

    The exit status: 0 when it was taken, 1 when not. Raises ConfigError for what is wrong with the other arguments.
    """
    target = _Target(to)
    secret = load(secret_file)[0]
    if message_id is None:
        message_id = f"msg_{secrets.token_urlsafe(18)}"
    elif not is_message_id(message_id):
        raise ConfigError([Problem("--message-id", "must be 1 to 256 printable ASCII characters")])
    try:
        body = _event(file)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        sys.stderr.write(f"not sent: {why}\n")
        return 1
    try:
        status, why_not = _post(target, sign(secret, message_id, int(time.time()), body), body.encode())
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"not delivered: {type(error).__name__} {message_id}\n")
        return 1
    sys.stdout.write(f"{status} {message_id}\n")
    if why_not:
        sys.stderr.write(f"not taken: {why_not}\n")
    return 0 if http.client.OK <= status < http.client.MULTIPLE_CHOICES else 1


def _event(file: Path | None) -> str:
    """One event, as it stands in the file. Raises OSError, and ValueError without any of it in the message."""
    if file is None:
        body = sys.stdin.buffer.read(_MOST_BYTES + 1)
    else:
        with file.open("rb") as opened:
            body = opened.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise ValueError("the event is larger than 1 MiB")
    try:
        is_object = isinstance(decode(body), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise ValueError("the event must be a JSON object in UTF-8")
    return body.decode()


def _post(target: _Target, fields: dict[str, str], body: bytes) -> tuple[int, str]:
    """The status of the answer, and what it says is wrong, in one line: it quotes nothing of the event (RFC 9457)."""
    connection = target.connect()
    try:
        connection.request("POST", target.path, body, {"Content-Type": "application/json", **fields})
        response = connection.getresponse()
        said = response.read(_MOST_SAID)
    finally:
        connection.close()
    if response.getheader("content-type") != CONTENT_TYPE.decode():
        return response.status, ""
    try:
        problem = decode(said)
    except (ValueError, RecursionError):
        return response.status, ""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return response.status, detail if isinstance(detail, str) and detail.isprintable() else ""
