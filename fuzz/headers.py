"""Header fields out of fuzzed bytes, and slow readings of what stands in them."""

from string import ascii_letters, digits

from proxy.core.http.fields import RawField

_TOKEN = frozenset((ascii_letters + digits + "!#$%&'*+-.^_`|~").encode())
"""The signs of a token (RFC 9110 section 5.6.2)."""
TOKENS = (
    b"cache-control: ", b"pragma: no-cache", b"vary: ", b"set-cookie: a", b"expires: ", b"date: ", b"age: ", b"etag: ",
    b"last-modified: ", b"if-none-match: ", b"if-modified-since: ", b"connection: ", b"via: ", b"host: ", b"\n", b", ",
    b"max-age=", b"s-maxage=", b"no-store", b"private", b"no-cache", b"must-revalidate", b'="', b'"', b'W/"',
    b"stale-while-revalidate=", b"stale-if-error=", b"max-stale", b"min-fresh=", b"only-if-cached",
    b"proxy-revalidate", b"public", b"must-understand", b'no-cache="etag', b'private="x', b"cdn-cache-control: ",
    b"Thu, 01 Jan 2026 00:00:00 GMT", b"99999999999999999999", b"\\", b"*", b"accept-encoding", b"origin",
)  # fmt: skip


def fields_of(data: bytes) -> list[RawField]:
    """A field for each line: what stands before the first colon, and after it without a space."""
    lines = (line.partition(b":") for line in data.split(b"\n") if line)
    return [(name, value.removeprefix(b" ")) for name, _, value in lines]


def heads_of(data: bytes, count: int) -> list[list[RawField]]:
    """The fields of so many heads, with an empty line between them; those that are not there are empty."""
    heads = data.split(b"\n\n", count - 1)
    return [fields_of(head) for head in [*heads, *[b""] * (count - len(heads))]]


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


_BLANKS = {b" ", b"\t"}


def directives(fields: list[RawField], name: bytes) -> dict[bytes, list[bytes | None]]:
    """Cache directives by name in lower case, each with all arguments it has in their order; None where it is bare.

    All lines are one list. Where a quote stands anywhere but around a whole argument, each comma ends a member. What
    has a blank beside its `=` has said nothing.
    """
    whole = b", ".join(value for field, value in fields if field.lower() == name)
    members = list_members(whole)
    if any(map(_has_odd_quotes, members)):
        members = [member for member in whole.split(b",") if member.strip()]
    found: dict[bytes, list[bytes | None]] = {}
    for key, equals, said in (member.strip(b" \t").partition(b"=") for member in members):
        is_apart = key[-1:] in _BLANKS or said[:1] in _BLANKS
        found.setdefault(key.strip(b" \t").lower(), []).append(
            None if not equals else b"" if is_apart else unquoted(said)
        )
    return found


def _has_odd_quotes(member: bytes) -> bool:
    key, _, said = member.partition(b"=")
    bare = said.strip(b" \t")
    return b'"' in key or (b'"' in bare and unquoted(bare) == bare)


def unquoted(value: bytes) -> bytes:
    """Without the quotes of a quoted string (RFC 9110 section 5.6.4), if it is one from its first sign to its last."""
    if value[:1] != b'"':
        return value
    at = 1
    while at < len(value) and value[at : at + 1] != b'"':
        at += 2 if value[at : at + 1] == b"\\" else 1
    return value[1:-1] if at == len(value) - 1 else value


def argument(said: list[bytes | None]) -> bytes | None:
    """What counts of a directive that is repeated: a bare one is stronger than any argument, then the first."""
    return None if None in said else said[0]


def named(said: list[bytes | None]) -> frozenset[bytes] | None:
    """The fields that a `no-cache` or `private` is about, in lower case: all that any of them names. None: it is about
    the whole answer, for one of them names nothing, or what is no token (RFC 9111 sections 5.2.2.4 and 5.2.2.7)."""
    found: set[bytes] = set()
    for one in said:
        names = {part.strip(b" \t").lower() for part in (one or b"").split(b",")} - {b""}
        if not names or any(set(name) - _TOKEN for name in names):
            return None
        found |= names
    return frozenset(found)


def seconds(argument: bytes | None) -> int:
    """Delta-seconds (RFC 9111 section 1.2.2): 0 for what is none, 2^31 for what is more than that."""
    if not argument or set(argument) - set(b"0123456789"):
        return 0
    number = argument.lstrip(b"0")
    return 2**31 if len(number) > 10 else min(int(number or b"0"), 2**31)
