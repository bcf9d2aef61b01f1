"""CDN-Cache-Control, and whether it stands for Cache-Control and Expires."""

from fuzz import headers, structured
from proxy.core.http.directives import parse
from proxy.core.http.fields import RawField
from proxy.core.http.targeted import response_directives

TOKENS = (
    b"cdn-cache-control: ", b"cache-control: ", b"max-age=", b"s-maxage=", b"stale-if-error=", b"no-store", b"private",
    b'no-cache="a, b"', b"must-understand", b"public", b"?0", b"?1", b"=?0", b", ", b"; ", b";a=", b"=(", b" )", b"(",
    b":YQ==:", b"=1.5", b"@1767225600", b'%"%c3%a9"', b'"', b"\\", b"=tok/en", b"-1", b"999999999999999", b"*", b"\t",
    b"\n", b"A",
)  # fmt: skip
_NAME = b"CDN-Cache-Control"
_ODD = (
    b"max-age=-1",
    b"s-maxage=?1",
    b"stale-if-error=1.0",
    b"no-store=1",
    b"private=a",
    b"no-cache=(a)",
    b"public=a",
)
"""Of another type than they have."""


def fuzz_one(data: bytes) -> None:
    """Compare with a reading form by form; where one sign is wrong, all of it is ignored. What is of a wrong type never
    allows anything."""
    fields = headers.fields_of(data)
    found, is_targeted = response_directives(fields)
    said = structured.targeted(fields)
    assert is_targeted == (said is not None)
    if said is None:
        assert found == parse(fields)
    else:
        assert found == said
    if any(name.lower() == _NAME.lower() for name, _ in fields):
        _check_another_line(fields, is_targeted=is_targeted)


def _check_another_line(fields: list[RawField], *, is_targeted: bool) -> None:
    """What another line does to all of them."""
    lines = {
        line: response_directives([*fields, (_NAME, line)])[0]
        for line in (b"max-age=60", b"max-age=60, max-age=?0", *_ODD)
    }
    if is_targeted:
        assert lines[b"max-age=60"][b"max-age"] == b"60"
        assert b"max-age" not in lines[b"max-age=60, max-age=?0"]
        assert b"public" not in lines[b"public=a"]
        for odd in _ODD:
            name = odd.partition(b"=")[0]
            assert name == b"public" or not lines[odd][name]
    for broken in (b"Max-Age=60", b",", b"a="):
        assert response_directives([*fields, (_NAME, broken)]) == (parse(fields), False)
