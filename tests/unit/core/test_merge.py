"""RFC 7396 on raw members: what comes of a patch, to the byte."""

import json

import pytest

from proxy.core.bulk import MAX_VALUES, TooComplex
from proxy.core.merge import NotAnObject, merge_patch

APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]
"""Those examples of the RFC that are of two objects."""


@pytest.mark.parametrize(("item", "patch", "merged"), APPENDIX_A)
def test_the_examples_of_the_rfc(item: str, patch: str, merged: str) -> None:
    assert merge_patch(item.encode(), patch.encode()) == merged.encode()


def test_the_example_of_section_3() -> None:
    item = {
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["example", "sample"],
        "content": "This will be unchanged",
    }
    patch = {
        "title": "Hello!",
        "phoneNumber": "+01-123-456-7890",
        "author": {"familyName": None},
        "tags": ["example"],
    }
    merged = merge_patch(json.dumps(item, indent=2).encode(), json.dumps(patch, indent=2).encode())
    assert json.loads(merged) == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["example"],
        "content": "This will be unchanged",
        "phoneNumber": "+01-123-456-7890",
    }


@pytest.mark.parametrize(
    ("item", "patch", "merged"),
    [
        # What is not named keeps its spelling, and white space within it.
        (r'{"\u0061" : [1.0, 1e2 ],"b":1}', '{"b":2}', r'{"\u0061" : [1.0, 1e2 ],"b":2}'),
        (r'{"a":"\/é\u00e9\ud800","b":1}', '{"b":2}', r'{"a":"\/é\u00e9\ud800","b":2}'),
        ('{"a":1e999,"b":-0}', '{"c":0.10}', '{"a":1e999,"b":-0,"c":0.10}'),
        (f'{{"a":{"1" * 5000}}}', '{"b":1}', f'{{"a":{"1" * 5000},"b":1}}'),
        # White space around members goes.
        (' { "a" : 1 , "b" : 2 } ', "{}", '{"a" : 1,"b" : 2}'),
        ('\t{\r\n"a":1\r\n}\n', '{ "b" : { "c" : null , "d" : 1 } }', '{"a":1,"b" : {"d" : 1}}'),
        ('{"a":{ "b" : 1 },"c":{ "d":1 }}', '{"c":{}}', '{"a":{ "b" : 1 },"c":{"d":1}}'),
        # The value is the patch's, the name and its place are the item's.
        (r'{"a":1,"\u0062" : 2,"c":3}', '{"b":[ 4 ]}', r'{"a":1,"\u0062" : [ 4 ],"c":3}'),
        ('{"b":1}', r'{"\u0062":2}', '{"b":2}'),
        ('{"b":1}', r'{"\u0062":null}', "{}"),
        ("{}", r'{"\u0062":2,"a":1}', r'{"\u0062":2,"a":1}'),
        (r'{"\ud83d\ude00":1}', '{"😀":2}', r'{"\ud83d\ude00":2}'),
        # Objects meet objects, and what is none.
        (
            '{"a":{"x":1,"y":{"z":1}}}',
            '{"a":{"y":{"w":2,"z":null},"v":3}}',
            '{"a":{"x":1,"y":{"w":2},"v":3}}',
        ),
        ('{"a":[{"b":1}]}', '{"a":{"b":null,"c":[null]}}', '{"a":{"c":[null]}}'),
        ('{"a":null}', '{"a":{"b":null}}', '{"a":{}}'),
        ('{"a":"{"}', '{"a":{"b":1}}', '{"a":{"b":1}}'),
        ('{"a":1}', '{"a":{"b":{"c":null},"d":null,"e":{"f":1}}}', '{"a":{"b":{},"e":{"f":1}}}'),
        ('{"a":{"b":1}}', '{"a":"null"}', '{"a":"null"}'),
        # A null within an array is a value (RFC 7396 section 1).
        ("{}", '{"a":[null,{"b":null}]}', '{"a":[null,{"b":null}]}'),
        # Of what stands twice the last counts.
        ('{"a":1,"b":2,"a":3}', '{"a":4}', '{"b":2,"a":4}'),
        ('{"a":1,"b":2,"a":3,"a":5}', '{"a":null}', '{"b":2}'),
        ('{"a":{"x":1},"a":{"y":1}}', '{"a":{"z":1}}', '{"a":{"y":1,"z":1}}'),
        ('{"a":{"x":1},"a":7}', '{"a":{"z":1}}', '{"a":{"z":1}}'),
        ('{"a":1,"a":2}', '{"b":1}', '{"a":1,"a":2,"b":1}'),
        ('{"a":1}', '{"a":null,"a":2}', '{"a":2}'),
        ('{"a":1}', '{"a":2,"a":null}', "{}"),
        ('{"a":{"x":1}}', '{"a":{"x":2},"a":{"y":2}}', '{"a":{"x":1,"y":2}}'),
        # Names of nothing and of signs.
        ('{"":1,"}":2,",":3}', '{"}":null,":":4}', '{"":1,",":3,":":4}'),
    ],
)
def test_what_comes_of_a_patch(item: str, patch: str, merged: str) -> None:
    assert merge_patch(item.encode(), patch.encode()) == merged.encode()


WRONG = [
    b"",
    b" ",
    b"null",
    b"1",
    b'"{}"',
    b"[]",
    b"[{}]",
    b"{",
    b"}",
    b"{}}",
    b"{}{}",
    b"{}\0",
    b"\xef\xbb\xbf{}",
    b"\x0c{}",
    b"\xc2\xa0{}",
    b'{"secret":1,}',
    b"{,}",
    b'{"secret":1 "b":2}',
    b'{"secret"}',
    b'{"secret":}',
    b'{"secret":1',
    b'{"secret":01}',
    b'{"secret":NaN}',
    b'{"secret":{"b":-Infinity}}',
    b"{1:2}",
    b"{null:2}",
    b'{["a"]:2}',
    b"{'a':2}",
    b'{"secret":"\xff"}',
    b'{"secret":"\xed\xa0\x80"}',
    b'{"secret":"\n"}',
    b'{"secret":"\\x"}',
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_object_is_refused_and_not_quoted(wrong: bytes) -> None:
    for item, patch in ((wrong, b"{}"), (wrong, b'{"secret":{"b":1}}'), (b"{}", wrong), (b'{"a":1}', wrong)):
        with pytest.raises(NotAnObject) as caught:
            merge_patch(item, patch)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert str(caught.value) in {"ValueError", "JSONDecodeError", "UnicodeDecodeError"}


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
MANY = b'{"a":[' + b"1," * MAX_VALUES + b"1]}"


@pytest.mark.parametrize("wrong", [DEEP, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", MANY])
def test_what_is_too_complex_for_an_answer_is_so_for_a_patch(wrong: bytes) -> None:
    for item, patch in ((wrong, b"{}"), (b"{}", wrong), (wrong, wrong)):
        with pytest.raises(TooComplex):
            merge_patch(item, patch)


def test_what_is_nested_as_deeply_as_anybody_needs_is_merged() -> None:
    item, patch = (b'{"a":' * 100 + leaf + b"}" * 100 for leaf in (b'{"b":1,"c":2}', b'{"b":null}'))
    assert merge_patch(item, patch) == b'{"a":' * 100 + b'{"c":2}' + b"}" * 100
