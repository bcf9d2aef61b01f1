"""Signatures of webhooks (Standard Webhooks 1.0.0, https://www.standardwebhooks.com), made and verified.

The library makes the signatures. Its own `verify` goes by the wall clock, and lets what is malformed end in errors of
many kinds: what it does around `sign` is done here. Tests of time need a clock that is handed in.
"""

import hmac
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from config.errors import SecretUnreadable
from config.secret_file import SecretFile
from config.webhook_secrets import parse
from proxy.core.http.fields import RawField, values
from proxy.log import logger

if TYPE_CHECKING:
    from standardwebhooks import Webhook

TOLERANCE: Final = 300
"""Seconds that a message's time may be away from ours, either way: the standard's five minutes."""

Reason = Literal["missing", "malformed", "time", "signature"]

_ID: Final = b"webhook-id"
_TIMESTAMP: Final = b"webhook-timestamp"
_SIGNATURE: Final = b"webhook-signature"
# It may have a full stop, which also separates what is signed. So one signature is of several messages (the standard,
# "Signature scheme"), but of one that is an event: what another cut leaves for a body is no JSON object.
_ID_FORM: Final = re.compile(rb"[ -~]{1,256}")
# As it is signed: without sign, leading zero or fraction.
_TIMESTAMP_FORM: Final = re.compile(rb"[1-9][0-9]{0,15}")
# HMAC-SHA256 in base64: 32 bytes are 43 signs and a filler.
_V1_FORM: Final = re.compile(rb"v1,[A-Za-z0-9+/]{43}=")
# A signature for each secret of a sender, while it replaces them: each is compared with each of ours.
_MOST_SIGNATURES: Final = 16


class Claims(Struct, frozen=True):
    """What the fields of a message say, before anybody has looked whether it is true."""

    message_id: str
    timestamp: int
    """Epoch seconds."""
    signatures: tuple[bytes, ...]
    """Those of a version that is known, `v1,` included."""


class Refusal(Exception):
    """A message is not from whom it should be, or not from now."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def is_message_id(text: str) -> bool:
    """Whether that may be the id of a message: 1 to 256 printable ASCII characters."""
    return _ID_FORM.fullmatch(text.encode(errors="surrogatepass")) is not None


def sign(secret: str, message_id: str, timestamp: int, body: str) -> dict[str, str]:
    """The fields that sign a message; `timestamp` is in epoch seconds."""
    return {
        _ID.decode(): message_id,
        _TIMESTAMP.decode(): str(timestamp),
        _SIGNATURE.decode(): _signer(secret).sign(message_id, _time(timestamp), body),
    }


def claims_of(fields: Sequence[RawField]) -> Claims:
    """What the fields of a message say. Raises Refusal: missing or malformed."""
    message_id, timestamp, listed = (_only(fields, name) for name in (_ID, _TIMESTAMP, _SIGNATURE))
    # Other versions, such as v1a, are signatures to others (the standard, "Webhook headers").
    signatures = tuple(one for one in listed.split(b" ") if one.startswith(b"v1,"))
    if (
        not _ID_FORM.fullmatch(message_id)
        or not _TIMESTAMP_FORM.fullmatch(timestamp)
        or not 1 <= len(signatures) <= _MOST_SIGNATURES
        or not all(map(_V1_FORM.fullmatch, signatures))
    ):
        raise Refusal("malformed")
    return Claims(message_id.decode(), int(timestamp), signatures)


class Verifier:
    """Says which messages are signed with a secret of a file, and sent now. `clock` gives epoch seconds.

    The file is looked at with each message. A secret that is no longer in it counts no longer, nor does any while the
    file can't be read; whatever of it is malformed is logged once.
    """

    def __init__(self, secret_file: Path, clock: Callable[[], float]) -> None:
        self._file = SecretFile(secret_file, serves_on=False)
        self._clock = clock
        self._text: str | None = None
        self._signers: tuple[Webhook, ...] = ()

    def verify(self, fields: Sequence[RawField], body: bytes) -> str:
        """The id of a message that is what it seems to be. Raises Refusal."""
        claims = claims_of(fields)
        if abs(self._clock() - claims.timestamp) > TOLERANCE:
            raise Refusal("time")
        try:
            text = body.decode()
        except UnicodeDecodeError:  # the library signs text
            raise Refusal("signature") from None
        time = _time(claims.timestamp)
        expected = [signer.sign(claims.message_id, time, text).encode() for signer in self._current()]
        # All of them, each in constant time: how long it takes tells nothing.
        matches = [hmac.compare_digest(one, other) for one in expected for other in claims.signatures]
        if not any(matches):
            raise Refusal("signature")
        return claims.message_id

    def _current(self) -> "tuple[Webhook, ...]":
        """One for each secret that the file holds now."""
        try:
            text, why = self._file.read(), "has none"
        except SecretUnreadable as error:
            text, why = "", error.problems[0].message
        if text != self._text:
            listed = parse(text)
            for line, message in listed.malformed:
                logger().warning("webhook_secret_malformed", line=line, why=message)
            if not listed.secrets:
                logger().error("webhook_secrets_missing", why=why)
            self._text, self._signers = text, tuple(map(_signer, listed.secrets))
        return self._signers


def _only(fields: Sequence[RawField], name: bytes) -> bytes:
    found = values(fields, name)
    if not found:
        raise Refusal("missing")
    if len(found) > 1:
        raise Refusal("malformed")
    return found[0]


def _signer(secret: str) -> "Webhook":
    # It takes a start some milliseconds, which a configuration without webhooks has no use for.
    from standardwebhooks import Webhook  # noqa: PLC0415

    return Webhook(secret)


def _time(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
