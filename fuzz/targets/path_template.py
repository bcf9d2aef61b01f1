"""Path templates: which paths are claimed, and by which id; two templates and a path, a line each."""

from urllib.parse import unquote_to_bytes

from config.path_template import MAX_ID_BYTES, PathTemplate

TOKENS = (
    b"/users/{id}\n", b"/files/{name*}\n", b"/users/bulk\n", b"/{id}/card\n", b"/", b"//", b"/../", b"/./", b"%2F",
    b"%2e", b"%2E%2e", b"%25", b"%C3%A9", b"%c3%28", b"%00", b"%7f", b"%C2%85", b"?", b"#", b"{", b"}", b"*",
    b"\xc3\xa9",
)  # fmt: skip
_HEX = frozenset(b"0123456789abcdefABCDEF")


def fuzz_one(data: bytes) -> None:
    """Compare with a reading segment by segment; what is matched is spelled again, and who overlaps admits it."""
    lines = data.split(b"\n", 2)
    path = lines[-1]
    templates = []
    for text in lines[:-1]:
        try:
            template = PathTemplate.parse(text.decode())
        except ValueError:  # UnicodeDecodeError is one
            continue
        assert PathTemplate.parse(str(template)) == template
        assert template.overlaps(template) or not _claims_anything(template)
        _check_match(template, path)
        templates.append(template)
    if len(templates) > 1:
        one, other = templates
        assert one.overlaps(other) == other.overlaps(one)
        if one.match(path) is not None and other.match(path) is not None:
            assert one.overlaps(other)


def _check_match(template: PathTemplate, path: bytes) -> None:
    found = template.match(path)
    assert found == _obvious(str(template), path)
    assert template.claims(path) == (found is not None or _is_under(str(template), path))
    if found is None:
        return
    spelled = template.expand(found).encode()
    assert template.match(spelled) == found
    assert template.expand(found).encode() == spelled
    if template.has_placeholder:
        assert 0 < len(found.encode()) <= MAX_ID_BYTES


def _claims_anything(template: PathTemplate) -> bool:
    """Whether there is an id that has a path: none is too long for a template of a usual length."""
    return template.match(template.expand("a").encode()) is not None


def _obvious(template: str, path: bytes) -> str | None:
    head, brace, tail = template.partition("{")
    if not brace:
        return "" if path == template.encode() else None
    name, _, suffix = tail.partition("}")
    prefix = head.encode()
    if not path.startswith(prefix):
        return None
    rest = path[len(prefix) :]
    if name.endswith("*"):
        return _rest(rest)
    segment, slash, after = rest.partition(b"/")
    return _segment(segment) if slash + after == suffix.encode() else None


def _is_under(template: str, path: bytes) -> bool:
    """Whether a path is one of those below a `{name*}`, with no segment that leads elsewhere, be it spelled or not."""
    head, brace, tail = template.partition("{")
    dots = {
        segment.lower().replace(b"%2e", b".")
        for segment in path.split(b"/")
        if set(segment.lower().replace(b"%2e", b".")) == {ord(".")}
    }
    return bool(brace) and tail.endswith("*}") and path.startswith(head.encode()) and not dots & {b".", b".."}


def _is_spelled_well(raw: bytes) -> bool:
    """Whether each percent sign has two hex digits, and no byte is one that ends a path or can't be seen."""
    at = 0
    while at < len(raw):
        if raw[at] <= 0x20 or raw[at] in b"?#\x7f":
            return False
        if raw[at] == ord("%"):
            if len(raw) < at + 3 or not set(raw[at + 1 : at + 3]) <= _HEX:
                return False
            at += 2
        at += 1
    return True


def _segment(raw: bytes) -> str | None:
    value = unquote_to_bytes(raw)
    if not _is_spelled_well(raw) or not 0 < len(value) <= MAX_ID_BYTES:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    has_control = any(ord(sign) < 0x20 or 0x7F <= ord(sign) <= 0x9F for sign in text)
    return None if text in {".", ".."} or has_control else text


def _rest(raw: bytes) -> str | None:
    if not 0 < len(raw) <= MAX_ID_BYTES or not _is_spelled_well(raw) or not raw.isascii():
        return None
    dots = {unquote_to_bytes(part) for part in raw.split(b"/") if set(unquote_to_bytes(part)) <= set(b".")}
    return None if dots & {b".", b".."} else raw.decode()
