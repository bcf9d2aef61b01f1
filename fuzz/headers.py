"""Header fields out of fuzzed bytes, and slow readings of what stands in them."""

from proxy.core.http.fields import RawField

TOKENS = (
    b"cache-control: ", b"pragma: no-cache", b"vary: ", b"set-cookie: a", b"expires: ", b"date: ", b"age: ", b"etag: ",
    b"last-modified: ", b"if-none-match: ", b"if-modified-since: ", b"connection: ", b"via: ", b"host: ", b"\n", b", ",
    b"max-age=", b"s-maxage=", b"no-store", b"private", b"no-cache", b"must-revalidate", b'="', b'"', b'W/"',
    b"stale-while-revalidate=", b"stale-if-error=", b"max-stale", b"min-fresh=", b"only-if-cached",
    b"proxy-revalidate", b"public",
    b"Thu, 01 Jan 2026 00:00:00 GMT", b"99999999999999999999", b"\\", b"*", b"accept-encoding", b"origin",
)  # fmt: skip


def fields_of(data: bytes) -> list[RawField]:
    """A field for each line: what stands before the first colon, and after it without a space."""
    lines = (line.partition(b":") for line in data.split(b"\n") if line)
    return [(name, value.removeprefix(b" ")) for name, _, value in lines]


def list_members(value: bytes) -> list[bytes]:
    """The members of a list, sign by sign (RFC 9110 section 5.6.1): a comma inside a quoted string is none.

    Outside of quotes a backslash is a sign like any other.
    """
    found = [b""]
    at, quoted = 0, False
    while at < len(value):
        sign = value[at : at + 1]
        if quoted and sign == b"\\":
            sign = value[at : at + 2]
        elif sign == b'"':
            quoted = not quoted
        if sign == b"," and not quoted:
            found.append(b"")
        else:
            found[-1] += sign
        at += len(sign)
    return [member for member in found if member.strip()]


def directives(fields: list[RawField], name: bytes) -> dict[bytes, bytes | None]:
    """Cache directives by name in lower case. A bare one is stronger than one with an argument, then the first."""
    every = [
        member.partition(b"=")
        for field, value in fields
        if field.lower() == name
        for member in list_members(value)
    ]
    found: dict[bytes, bytes | None] = {}
    for key, equals, argument in every:
        found.setdefault(key.strip(b" \t").lower(), argument.strip(b" \t").strip(b'"') if equals else None)
    for key, equals, _ in every:
        if not equals:
            found[key.strip(b" \t").lower()] = None
    return found


def seconds(argument: bytes | None) -> int:
    """Delta-seconds (RFC 9111 section 1.2.2): 0 for what is none, 2^31 for what is more than that."""
    if not argument or set(argument) - set(b"0123456789"):
        return 0
    digits = argument.lstrip(b"0")
    return 2**31 if len(digits) > 10 else min(int(digits or b"0"), 2**31)
