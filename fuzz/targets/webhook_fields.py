"""The fields of a webhook: who says to have sent it, and when."""

import base64
import binascii

from fuzz import headers
from proxy.core.http.fields import RawField
from proxy.signatures import Claims, Refusal, claims_of

_NAMES = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
_V1 = b"v1," + base64.b64encode(bytes(32))
TOKENS = (
    b"webhook-id: ", b"webhook-timestamp: ", b"webhook-signature: ", b"msg_1", b"1800000000", b"v1,", b"v1a,", _V1,
    b" ", b".", b"\n", b"webhook-id: m\nwebhook-timestamp: 1\nwebhook-signature: " + _V1,
)  # fmt: skip


def fuzz_one(data: bytes) -> None:
    """Compare with a reading sign by sign; another field changes nothing, and one that is there twice is refused."""
    fields = headers.fields_of(data)
    found = read(fields)
    assert found == obvious(fields)
    assert read([(b"x", b"v1,"), *fields]) == found
    if isinstance(found, Claims):
        assert all(read([*fields, field]) == "malformed" for field in fields if field[0].lower() in _NAMES)


def read(fields: list[RawField]) -> Claims | str:
    """What the program makes of them."""
    try:
        return claims_of(fields)
    except Refusal as refusal:
        return refusal.reason


def obvious(fields: list[RawField]) -> Claims | str:
    """What they say, or why they are refused."""
    said: list[bytes] = []
    for name in _NAMES:
        found = [value for field, value in fields if field.lower() == name]
        if not found:
            return "missing"
        if len(found) > 1:
            return "malformed"
        said += found
    message_id, timestamp, listed = said
    signatures = [one for one in listed.split(b" ") if one[:3] == b"v1,"]
    is_well_formed = (
        0 < len(message_id) < 257
        and all(32 <= sign < 127 for sign in message_id)
        and 0 < len(timestamp) < 17
        and all(sign in b"0123456789" for sign in timestamp)
        and not timestamp.startswith(b"0")
        and 0 < len(signatures) < 17
        and all(map(_is_digest, signatures))
    )
    return Claims(message_id.decode(), int(timestamp), tuple(signatures)) if is_well_formed else "malformed"


def _is_digest(signature: bytes) -> bool:
    """Whether it is 32 bytes in base64, whatever the bits are that count for nothing."""
    try:
        return len(signature) == 47 and len(base64.b64decode(signature[3:], validate=True)) == 32
    except binascii.Error:
        return False
