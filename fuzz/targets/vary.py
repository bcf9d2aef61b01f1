"""Which requests an answer's Vary takes for the same.

The input is three heads with an empty line between them: of the answer, and of two requests.
"""

from fuzz import headers
from proxy.core.http.fields import RawField
from proxy.core.http.vary import nominated, selecting

TOKENS = (
    b"vary: ", b"accept", b"accept-language", b"accept-encoding", b"x-y", b"ACCEPT: ", b"Accept-Language: ", b"X-Y: ",
    b"*", b", ", b",", b" ;q=0.5", b"text/html;a=", b"gzip", b"GZIP", b'"a, B"', b'"', b"\\", b"\t", b"\n", b"\n\n",
    b"vary: accept, x-y\n\nx-y: ",
)  # fmt: skip
_CASELESS = (b"accept-charset", b"accept-encoding", b"accept-language")


def fuzz_one(data: bytes) -> None:
    """Two requests select the same if, and only if, the fields that Vary names have the same members in order."""
    answer, one, other = headers.heads_of(data, 3)
    names = nominated(answer)
    assert names == obvious(answer)
    assert nominated([*answer, (b"Vary", b"x ,*")]) is None
    if names is None:
        return
    first, second = selecting(one, names), selecting(other, names)
    assert (first == second) == (_selected(one, names) == _selected(other, names))
    assert (first == "") == (not names)
    assert first.isascii()
    assert "\n" not in first
    assert selecting([(b"not one of these", b"x"), *one], names) == first or b"not one of these" in names
    assert selecting([(name.swapcase(), value) for name, value in one], names) == first
    _check_lines(one, names)


def obvious(answer: list[RawField]) -> tuple[bytes, ...] | None:
    """The names in Vary; None for a star among them, and for more than 32 names or a kilobyte of them."""
    lines = [value for name, value in answer if name.lower() == b"vary"]
    listed = {part.strip(b" \t").lower() for part in b",".join(lines).split(b",")} - {b""}
    return (
        None if b"*" in listed or len(listed) > 32 or len(b"".join(listed)) > 1024 else tuple(sorted(listed))
    )


def _check_lines(fields: list[RawField], names: tuple[bytes, ...]) -> None:
    """Lines of one field are one list, and there may be space around its commas; but not in a quoted string."""
    for name in names:
        lines = [value for field, value in fields if field.lower() == name]
        if len(lines) > 1 and not any(b'"' in line for line in lines):
            rest = [field for field in fields if field[0].lower() != name]
            assert selecting([(name, b" ,\t".join(lines)), *rest], names) == selecting(fields, names)


def _selected(fields: list[RawField], names: tuple[bytes, ...]) -> list[list[bytes] | None]:
    """The members of each field, None where it is not there, without what makes no difference."""
    found: list[list[bytes] | None] = []
    for name in names:
        lines = [value for field, value in fields if field.lower() == name]
        members = [one.strip(b" \t") for one in headers.list_members(b",".join(lines))]
        if name in _CASELESS:
            members = [one.lower() for one in members]
        if name == b"accept":
            # Of a media range the type, but not its parameters.
            parts = [(one + b";").index(b";") for one in members]
            members = [one[:at].lower() + one[at:] for one, at in zip(members, parts, strict=True)]
        found.append(members if lines else None)
    return found
