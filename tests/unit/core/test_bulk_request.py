"""Which bodies are bulk requests of ours, and which are for the upstream to judge."""

import json

import pytest

from proxy.core.bulk import MAX_ID_BYTES, RequestShape, chunked, is_valid_id

SHAPE = RequestShape("userIds")


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"userIds":["a"]}', ["a"]),
        (b'{"userIds":["a","b"]}', ["a", "b"]),
        (b'{"userIds":["a","a"]}', ["a", "a"]),
        (b'{"userIds":["b","a"]}', ["b", "a"]),
        (b'{"userIds":["1"]}', ["1"]),
        (b'{"userIds":[" "]}', [" "]),
        (b'{"userIds":["]}"]}', ["]}"]),
        (b'{"userIds":["},{\\"userIds\\":["]}', ['},{"userIds":[']),
        (b'{"userIds":["\\u0041\\n\\/"]}', ["A\n/"]),
        (b'{"userIds":["\\ud83d\\ude00"]}', ["\U0001f600"]),
        ('{"userIds":["é\U0001f600"]}'.encode(), ["é\U0001f600"]),
        (b'{"userIds":["\x7f"]}', ["\x7f"]),
        (b'{"userIds":["\\u0000"]}', ["\0"]),
    ],
)
def test_a_body_of_the_declared_shape_gives_its_ids_in_order(body: bytes, ids: list[str]) -> None:
    assert SHAPE.parse(body) == ids


@pytest.mark.parametrize("space", [b" ", b"\t", b"\r", b"\n", b" \t\r\n" * 3])
def test_white_space_is_allowed_wherever_json_allows_it(space: bytes) -> None:
    """RFC 8259 section 2."""
    parts = [b"", b"{", b'"userIds"', b":", b"[", b'"a"', b",", b'"b"', b"]", b"}", b""]
    assert SHAPE.parse(space.join(parts)) == ["a", "b"]


@pytest.mark.parametrize("space", [b"\x0b", b"\x0c", b"\xc2\xa0", b"\xe2\x80\xa8", b"\0", b"/**/", b"//\n"])
@pytest.mark.parametrize("place", range(11))
def test_nothing_else_is_white_space(space: bytes, place: int) -> None:
    """RFC 8259 section 2."""
    parts = [b"", b"{", b'"userIds"', b":", b"[", b'"a"', b",", b'"b"', b"]", b"}", b""]
    assert SHAPE.parse(b"".join(parts[:place]) + space + b"".join(parts[place:])) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"userIds"',
        b"{}",
        b'["a"]',
        b'{"userIds"}',
        b'{"userIds":}',
        b'{"userIds":"a"}',
        b'{"userIds":null}',
        b'{"userIds":{}}',
        b'{"userIds":{"0":"a"}}',
        b'{"userids":["a"]}',
        b'{"userIdsX":["a"]}',
        b'{"XuserIds":["a"]}',
        b"{'userIds':['a']}",
        b'{userIds:["a"]}',
        b'[{"userIds":["a"]}]',
        b'{"data":{"userIds":["a"]}}',
    ],
)
def test_another_document_is_not_ours(body: bytes) -> None:
    assert SHAPE.parse(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"userIds":["a"],"fields":["name"]}',
        b'{"userIds":["a"],"x":[]}',
        b'{"userIds":["a"],"x":null}',
        b'{"x":1,"userIds":["a"]}',
        b'{"x":["a"],"userIds":["a"]}',
        b'{"userIds":["a"],"userIds":["b"]}',
        b'{"userIds":["a"],"userIds":["a"]}',
        b'{"userIds":[],"userIds":["a"]}',
    ],
)
def test_a_further_or_repeated_member_is_not_ours(body: bytes) -> None:
    """RFC 8259 section 4: what a repeated name means is up to the reader."""
    assert SHAPE.parse(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"\\u0075serIds":["a"]}',
        b'{"user\\u0049ds":["a"]}',
        b'{"userIds":["a"],"\\u0075serIds":["b"]}',
    ],
)
def test_an_escaped_member_name_is_not_ours(body: bytes) -> None:
    assert SHAPE.parse(body) is None


@pytest.mark.parametrize(
    "element",
    [b"1", b"1.5", b"-0", b"true", b"null", b"{}", b"[]", b'["a"]', b'{"id":"a"}', b'[["a"]]', b"a"],
)
@pytest.mark.parametrize("template", [b'{"userIds":[%s]}', b'{"userIds":["a",%s]}', b'{"userIds":[%s,"a"]}'])
def test_an_id_that_is_no_string_is_not_ours(element: bytes, template: bytes) -> None:
    assert SHAPE.parse(template % element) is None


def test_an_empty_list_is_not_ours() -> None:
    assert SHAPE.parse(b'{"userIds":[]}') is None
    assert SHAPE.parse(b'{"userIds":[ ]}') is None


@pytest.mark.parametrize("body", [b'{"userIds":[""]}', b'{"userIds":["a",""]}'])
def test_an_empty_id_is_not_ours(body: bytes) -> None:
    assert SHAPE.parse(body) is None


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("", False),
        ("a", True),
        ("a" * 1024, True),
        ("a" * 1025, False),
        ("é" * 512, True),
        ("é" * 512 + "a", False),
        ("a" + "é" * 512, False),
        ("\U0001f600" * 256, True),
        ("\U0001f600" * 256 + "a", False),
        ("é" * 1025, False),
    ],
)
def test_an_id_is_of_1_to_1024_bytes_of_utf_8(value: str, *, valid: bool) -> None:
    assert MAX_ID_BYTES == 1024
    assert is_valid_id(value) is valid
    spelled = json.dumps({"userIds": [value]}, ensure_ascii=False).encode()
    escaped = json.dumps({"userIds": [value]}).encode()
    for body in (spelled, escaped):
        assert SHAPE.parse(body) == ([value] if valid else None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"userIds":["a"]}x',
        b'{"userIds":["a"]}}',
        b'{"userIds":["a"]]}',
        b'{"userIds":["a"]}{}',
        b'{"userIds":["a"]}{"userIds":["b"]}',
        b'{"userIds":["a"]}\0',
        b'{"userIds":["a"]},',
        b'{"userIds":["a",]}',
        b'{"userIds":[,"a"]}',
        b'{"userIds":["a" "b"]}',
        b'{"userIds":["a"],}',
        b'{,"userIds":["a"]}',
        b'{"userIds":["a"]',
        b'{"userIds":["a"',
        b'{"userIds":["a',
        b'{"userIds":["a"}',
        b'{"userIds":[}',
        b'{"userIds":[',
        b'{"userIds":["a\\"]}',
        b'{"userIds":["\\x"]}',
        b'{"userIds":["\\u00g0"]}',
        b'{"userIds":["\\u00"]}',
    ],
)
def test_what_is_not_json_is_not_ours(body: bytes) -> None:
    assert SHAPE.parse(body) is None


@pytest.mark.parametrize("control", [b"\x00", b"\x01", b"\t", b"\n", b"\r", b"\x1f"])
def test_a_raw_control_character_in_an_id_is_not_ours(control: bytes) -> None:
    """RFC 8259 section 7."""
    assert SHAPE.parse(b'{"userIds":["a%sb"]}' % control) is None


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_byte_order_mark_is_not_ours(mark: bytes) -> None:
    """RFC 8259 section 8.1."""
    assert SHAPE.parse(mark + b'{"userIds":["a"]}') is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_not_ours(encoding: str) -> None:
    """RFC 8259 section 8.1."""
    assert SHAPE.parse('{"userIds":["a"]}'.encode(encoding)) is None


@pytest.mark.parametrize(
    "octets", [b"\xff", b"\x80", b"\xc3", b"\xc0\xaf", b"\xf8\x88\x80\x80\x80", b"\xe9t"]
)
def test_invalid_utf_8_is_not_ours(octets: bytes) -> None:
    """RFC 8259 section 8.1."""
    assert SHAPE.parse(b'{"userIds":["%s"]}' % octets) is None


@pytest.mark.parametrize(
    "spelled",
    [b"\\ud800", b"\\udc00", b"\\ud83d", b"\\ude00\\ud83d", b"\\ud83dx", b"\xed\xa0\x80", b"a\\udfff"],
)
def test_a_lone_surrogate_is_not_ours(spelled: bytes) -> None:
    """RFC 8259 section 8.2."""
    assert SHAPE.parse(b'{"userIds":["%s"]}' % spelled) is None


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_not_ours_and_breaks_nothing(opening: bytes) -> None:
    depth = 100_000
    closing = b"]" if opening == b"[" else b"}"
    assert SHAPE.parse(b'{"userIds":' + opening * depth) is None
    assert SHAPE.parse(b'{"userIds":[' + opening * depth + b"1" + closing * depth + b"]}") is None


@pytest.mark.parametrize("member", ["userIds", "a.b", "a b", "é", 'quo"te', "back\\slash", "$(x)*", "\n"])
def test_any_member_name_is_read_as_it_is_rendered(member: str) -> None:
    shape = RequestShape(member)
    assert shape.parse(shape.render(["x", "y"])) == ["x", "y"]
    assert json.loads(shape.render(["x", "y"])) == {member: ["x", "y"]}


def test_a_member_name_is_no_pattern() -> None:
    assert RequestShape("a.b").parse(b'{"axb":["1"]}') is None


def test_a_request_is_rendered_without_white_space() -> None:
    assert SHAPE.render(["a", 'q"', "é"]) == '{"userIds":["a","q\\"","é"]}'.encode()


@pytest.mark.parametrize(
    ("count", "size", "runs"),
    [(0, 3, []), (1, 3, [1]), (3, 3, [3]), (4, 3, [3, 1]), (7, 3, [3, 3, 1]), (2, 1, [1, 1])],
)
def test_ids_are_cut_into_runs_of_at_most_the_size(count: int, size: int, runs: list[int]) -> None:
    ids = [str(number) for number in range(count)]
    pieces = [list(piece) for piece in chunked(ids, size)]
    assert [len(piece) for piece in pieces] == runs
    assert [value for piece in pieces for value in piece] == ids
