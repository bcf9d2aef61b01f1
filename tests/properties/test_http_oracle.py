"""The oracle of HTTP caching, by hand-made answers: it must catch what is forbidden, and let pass what is not."""

from dataclasses import replace

import pytest

from tests.properties.http_oracle import Contract
from tests.properties.http_oracle_reading import directives, targeted
from tests.properties.http_oracle_told import Exchange, Got
from tests.properties.http_stories import (
    BODY,
    MINUTE,
    NOW,
    STRICT,
    Fetch,
    Reuse,
    Stage,
    Story,
    judged,
    on,
    said,
)

TAG = 'ETag: "a"'
PART = Fetch((MINUTE, TAG, "Content-Range: bytes 0-3/10"), ("Range: bytes=0-3",), 206, body=BODY[:4])
REST = Fetch((MINUTE, TAG, "Content-Range: bytes 4-9/10"), ("Range: bytes=4-9",), 206, body=BODY[4:])
AUTHORIZED = ("Authorization: Bearer a",)
LANGUAGE = (MINUTE, "Vary: Accept-Language")
GERMAN = ("Accept-Language: de",)
RENEWED = Fetch((MINUTE, TAG), ('If-None-Match: "a"',), 304)

FORBIDDEN: dict[str, tuple[str, Story]] = {
    "stale": ("4.2.4", (said(MINUTE), Reuse(after=61.0))),
    "stale at the very end": ("4.2.4", (said(MINUTE), Reuse(after=60.0))),
    "stale by its Age": ("4.2.4", (said(MINUTE, "Age: 59"), Reuse(age="60"))),
    "stale by the first of several Ages": ("4.2.4", (said(MINUTE, "Age: 60, 0"), Reuse(age="61"))),
    "stale by Date": ("4.2.4", ([Fetch((MINUTE, f"Date: {on(-60)}"), dated=False)], Reuse())),
    "stale by the delay of the answer": ("4.2.4", ([Fetch((MINUTE,), delay=60.0)], Reuse(age="61"))),
    "s-maxage before max-age": (
        "5.2.2.10", (said("Cache-Control: max-age=60, s-maxage=5"), Reuse(after=6.0)),
    ),
    "Expires over": ("4.2.4", (said(f"Expires: {on(5)}"), Reuse(after=6.0))),
    "Expires of another time zone": ("4.2.4", (said("Expires: Fri, 15 Jan 2050 08:00:00 PST"), Reuse())),
    "Expires that is no date": ("4.2.4", (said("Expires: 0"), Reuse())),
    "Expires beside max-age": (
        "4.2.4", (said("Cache-Control: max-age=5", f"Expires: {on(90)}"), Reuse(after=6.0)),
    ),
    "max-age that is no number": (
        "4.2.4", (said("Cache-Control: max-age=abc", f"Expires: {on(90)}"), Reuse()),
    ),
    "max-age behind a space": ("4.2.4", (said("Cache-Control: max-age =60"), Reuse())),
    "max-age in a quoted string": ("4.2.4", (said('Cache-Control: x="a, max-age=60, b"'), Reuse())),
    "the second of two max-age": ("4.2.4", (said("Cache-Control: max-age=5, max-age=60"), Reuse(after=6.0))),
    "heuristic freshness for too long": ("4.2.4", (said(f"Last-Modified: {on(-100)}"), Reuse(after=11.0))),
    "heuristic freshness without a time": ("4.2.4", (said(), Reuse())),
    "heuristic freshness of another status": (
        "3", ([Fetch((f"Last-Modified: {on(-1000)}",), status=299)], Reuse()),
    ),
    "heuristic freshness beside max-age": (
        "4.2.4", (said("Cache-Control: max-age=0", f"Last-Modified: {on(-1000)}"), Reuse()),
    ),
    "no-store": ("5.2.2.5", (said("Cache-Control: max-age=60, no-store"), Reuse())),
    "no-store in capitals": (
        "5.2.2.5", (said("Cache-Control: max-age=60", "Cache-Control: NO-STORE"), Reuse()),
    ),
    "private": ("5.2.2.7", (said("Cache-Control: max-age=60, private"), Reuse())),
    "private with a field name that is none": (
        "5.2.2.7", (said('Cache-Control: max-age=60, private="a b"'), Reuse()),
    ),
    "private in both forms": ("5.2.2.7", (said('Cache-Control: max-age=60, private="x", private'), Reuse())),
    "a field of private": (
        "5.2.2.7", (said('Cache-Control: max-age=60, private="x-secret"', "X-Secret: 1"), Reuse()),
    ),
    "no-cache": ("5.2.2.4", (said("Cache-Control: max-age=60, no-cache"), Reuse())),
    "no-cache without a name": ("5.2.2.4", (said('Cache-Control: max-age=60, no-cache=""'), Reuse())),
    "a field of no-cache": (
        "5.2.2.4", (said('Cache-Control: max-age=60, no-cache="X-Secret"', "X-Secret: 1"), Reuse()),
    ),
    "must-understand": (
        "5.2.2.3", ([Fetch(("Cache-Control: max-age=60, must-understand",), status=599)], Reuse()),
    ),
    "must-revalidate": (
        "5.2.2.2",
        (said("Cache-Control: max-age=5, must-revalidate"), Reuse(6.0, ("Cache-Control: max-stale",))),
    ),
    "proxy-revalidate": (
        "5.2.2.8", (said("Cache-Control: max-age=5, proxy-revalidate, stale-while-revalidate=60"), Reuse(after=6.0)),
    ),
    "must-revalidate when the origin fails": (
        "5.2.2.2",
        ([Fetch(("Cache-Control: max-age=5, must-revalidate, stale-if-error=60",)), 6.0], Reuse(fails=True)),
    ),
    "after stale-while-revalidate": (
        "4.2.4", (said("Cache-Control: max-age=5, stale-while-revalidate=10"), Reuse(after=16.0)),
    ),
    "stale-if-error without an error": (
        "4.2.4", (said("Cache-Control: max-age=5, stale-if-error=60"), Reuse(after=6.0)),
    ),
    "after stale-if-error": (
        "4.2.4", ([Fetch(("Cache-Control: max-age=5, stale-if-error=10",)), 15.0], Reuse(fails=True)),
    ),
    "after max-stale": (
        "4.2.4", (said("Cache-Control: max-age=5"), Reuse(10.0, ("Cache-Control: max-stale=4",))),
    ),
    "no-cache in the request": ("5.2.1.4", (said(MINUTE), Reuse(asked=("Cache-Control: no-cache",)))),
    "Pragma in the request": ("5.2.1.4", (said(MINUTE), Reuse(asked=("Pragma: no-cache",)))),
    "max-age in the request": ("5.2.1.1", (said(MINUTE), Reuse(6.0, ("Cache-Control: max-age=5",)))),
    "min-fresh in the request": ("5.2.1.3", (said(MINUTE), Reuse(31.0, ("Cache-Control: min-fresh=30",)))),
    "no-store in the first request": ("5.2.1.5", ([Fetch(asked=("Cache-Control: no-store",))], Reuse())),
    "Authorization in the first request": ("3.5", ([Fetch(asked=AUTHORIZED)], Reuse())),
    "Authorization in both": ("3.5", ([Fetch(asked=AUTHORIZED)], Reuse(asked=AUTHORIZED))),
    "Vary": ("4.1", ([Fetch(LANGUAGE, GERMAN)], Reuse(asked=("Accept-Language: en",)))),
    "Vary of a field that is absent": ("4.1", ([Fetch(LANGUAGE, GERMAN)], Reuse())),
    "Vary of a field that is empty": ("4.1", ([Fetch((MINUTE, "Vary: x"))], Reuse(asked=("X:",)))),
    "Vary *": ("4.1", (said(MINUTE, "Vary: x, *"), Reuse())),
    "without Vary before one that varies": (
        "4.1", ([Fetch(), 1.0, Fetch(LANGUAGE, GERMAN)], Reuse(asked=("Accept-Language: en",), of=1, age="2")),
    ),
    "another target": ("4", (said(MINUTE), Reuse(target="/x?q"))),
    "a write that was not passed on": ("4", (said(MINUTE), Reuse(method="POST"))),
    "after a POST": ("4.4", ([Fetch(), Fetch((), method="POST", stored=False)], Reuse(of=1))),
    "after an unknown method": (
        "4.4", ([Fetch(), Fetch((), method="M-SEARCH", status=303, stored=False)], Reuse(of=1)),
    ),
    "after the Location of a POST": (
        "4.4", ([Fetch(), Fetch(("Location: /x",), method="POST", target="/y", stored=False)], Reuse(of=1)),
    ),
    "after the Content-Location of a POST": (
        "4.4",
        ([Fetch(), Fetch(("Content-Location: //origin/x",), method="POST", target="/y", stored=False)], Reuse(of=1)),
    ),
    "an older one": ("4", ([Fetch(), 5.0, Fetch()], Reuse(of=1, age="6"))),
    "after a HEAD that tells of another": (
        "4.3.5", ([Fetch((MINUTE, TAG)), Fetch((MINUTE, 'ETag: "b"'), method="HEAD")], Reuse(of=1)),
    ),
    "after a HEAD of another length": (
        "4.3.5", ([Fetch(), Fetch((MINUTE, "Content-Length: 11"), method="HEAD")], Reuse(of=1)),
    ),
    "an older one of another Vary": (
        "4", ([Fetch((MINUTE, "Vary: X-Select")), 5.0, Fetch(LANGUAGE, ("X-Select: 1",))], Reuse(of=1, age="6")),
    ),
    "not updated by a 304": ("4", ([Fetch((MINUTE, TAG)), RENEWED], Reuse(of=1))),
    "freshened by a 304 about another": (
        "4",
        (
            [Fetch((MINUTE, TAG)), 61.0, Fetch((MINUTE, 'ETag: "b"'), ('If-None-Match: "b"',), 304)],
            Reuse(of=1, fields_of=2),
        ),
    ),
    "what was not to be stored, confirmed": (
        "3",
        ([Fetch(("Cache-Control: no-store", TAG)), RENEWED], Reuse(of=1, fields_of=2)),
    ),
    "what was told to another, confirmed to a client with credentials": (
        "3.5",
        (
            [Fetch((MINUTE, TAG)), 61.0, Fetch((MINUTE, TAG), ('If-None-Match: "a"', *AUTHORIZED), 304)],
            Reuse(of=1, fields_of=2),
        ),
    ),
    "a 304 with no-store": (
        "5.2.2.5",
        (
            [Fetch((MINUTE, TAG)), 61.0, Fetch(("Cache-Control: no-store", TAG), ('If-None-Match: "a"',), 304)],
            Reuse(of=1, fields_of=2),
        ),
    ),
    "Set-Cookie": ("decision", (said(MINUTE, "Set-Cookie: a"), Reuse(more=("Set-Cookie: a",)))),
    "a field of the connection": (
        "9110 7.6.1", (said(MINUTE, "Connection: x-conn"), Reuse(more=("X-Conn: 1",))),
    ),
    "no Age": ("4", (said(MINUTE), Reuse(age=None))),
    "the origin's Age": ("4.2.3", (said(MINUTE, "Age: 10"), Reuse(5.0, age="10"))),
    "another Date": ("4.2.3", (said(MINUTE), Reuse(without=frozenset({"date"}), more=(f"Date: {on(1)}",)))),
    "a field that is gone": ("3.2", (said(MINUTE, "X-Extra: 1"), Reuse(without=frozenset({"x-extra"})))),
    "another status": ("4", (said(MINUTE), Reuse(status=203))),
    "other bytes": ("4", (said(MINUTE), Reuse(body=b"012345678"))),
    "a HEAD with a body": ("9110 9.3.2", (said(MINUTE), Reuse(method="HEAD", body=BODY))),
    "a response that was cut": (
        "4", ([Fetch(), Fetch(target="/y", is_complete=False)], Reuse(of=2, target="/y")),
    ),
    "a 304 for no condition": ("4.3.2", (said(MINUTE, TAG), Reuse(status=304, body=b""))),
    "a 304 for another tag": (
        "4.3.2", (said(MINUTE, TAG), Reuse(asked=('If-None-Match: "b"',), status=304, body=b"")),
    ),
    "a 304 by a date beside another tag": (
        "4.3.2",
        (
            said(MINUTE, TAG, f"Last-Modified: {on(-10)}"),
            Reuse(asked=('If-None-Match: "b"', f"If-Modified-Since: {on(0)}"), status=304, body=b""),
        ),
    ),
    "a 304 by an earlier date": (
        "4.3.2",
        (
            said(MINUTE, f"Last-Modified: {on(-10)}"),
            Reuse(asked=(f"If-Modified-Since: {on(-11)}",), status=304, body=b""),
        ),
    ),
    "a part for the whole": ("3.3", ([PART], Reuse(status=200))),
    "more than the part": (
        "3.3",
        (
            [PART],
            Reuse(asked=("Range: bytes=2-5",), body=b"2345", without=frozenset({"content-range"}),
                  more=("Content-Range: bytes 2-5/10",)),
        ),
    ),
    "parts of two representations": (
        "3.3",
        (
            [PART, Fetch((MINUTE, 'ETag: "b"', "Content-Range: bytes 4-9/10"), status=206, body=BODY[4:])],
            Reuse(status=200, body=BODY, without=frozenset({"content-range"})),
        ),
    ),
    "other bytes of a range": (
        "9110 15.3.7",
        (
            said(MINUTE),
            Reuse(asked=("Range: bytes=0-1",), status=206, body=b"12", more=("Content-Range: bytes 0-1/10",)),
        ),
    ),
    "a range of a HEAD": (
        "9110 14.2",
        (
            said(MINUTE),
            Reuse(asked=("Range: bytes=0-1",), method="HEAD", status=206, more=("Content-Range: bytes 0-1/10",)),
        ),
    ),
    "a range whose If-Range does not match": (
        "9110 13.1.5",
        (
            said(MINUTE, 'ETag: W/"a"'),
            Reuse(asked=("Range: bytes=0-1", 'If-Range: W/"a"'), status=206, body=b"01",
                  more=("Content-Range: bytes 0-1/10",)),
        ),
    ),
    "a range that can be satisfied": (
        "9110 15.5.17", (said(MINUTE), Reuse(asked=("Range: bytes=0-1",), status=416, body=b"")),
    ),
    "a targeted lifetime is over": (
        "4.2.4", (said(MINUTE, "CDN-Cache-Control: max-age=5", f"Expires: {on(99)}"), Reuse(after=6.0)),
    ),
    "targeted no-store": ("5.2.2.5", (said(MINUTE, "CDN-Cache-Control: no-store"), Reuse())),
    "a targeted field that is no dictionary": (
        "5.2.2.5", (said("Cache-Control: no-store", "CDN-Cache-Control: max-age=60,"), Reuse()),
    ),
    "a targeted field in capitals": (
        "5.2.2.5", (said("Cache-Control: no-store", "CDN-Cache-Control: Max-Age=60"), Reuse()),
    ),
    "an error that nobody made": (
        "4.2.4", (said(MINUTE), Reuse(status=502, without=frozenset({"x-serial"}))),
    ),
}  # fmt: skip

ALLOWED: dict[str, Story] = {
    "fresh": (said(MINUTE), Reuse(after=59.0)),
    "fresh by s-maxage": (said("Cache-Control: max-age=0, s-maxage=60"), Reuse()),
    "fresh by a quoted number": (said('Cache-Control: max-age="60"'), Reuse()),
    "fresh by Expires": (said(f"Expires: {on(60)}"), Reuse()),
    "fresh by Expires of RFC 850": (said("Expires: Friday, 15-Jan-60 08:00:00 GMT"), Reuse()),
    "fresh by a tenth": (said(f"Last-Modified: {on(-100)}"), Reuse(after=9.0)),
    "an Age that is none": (said(MINUTE, "Age: abc"), Reuse()),
    "any status that is fresh": ([Fetch(status=599)], Reuse()),
    "unknown directives": (said("Cache-Control: x=1, max-age=60, y"), Reuse()),
    "must-understand": (said("Cache-Control: max-age=60, must-understand, no-store"), Reuse()),
    "max-stale": (said("Cache-Control: max-age=5"), Reuse(50.0, ("Cache-Control: max-stale",))),
    "stale-while-revalidate": (
        said("Cache-Control: max-age=5, stale-while-revalidate=10"), Reuse(after=14.0),
    ),
    "stale-if-error": ([Fetch(("Cache-Control: max-age=5, stale-if-error=60",)), 6.0], Reuse(fails=True)),
    "fresh for who wants no copy, when the origin fails": (
        [Fetch()], Reuse(asked=("Cache-Control: no-cache",), fails=True),
    ),
    "Authorization and public": ([Fetch(("Cache-Control: max-age=60, public",), AUTHORIZED)], Reuse()),
    "Authorization in the second request": (said(MINUTE), Reuse(asked=AUTHORIZED)),
    "Vary, normalised": (
        [Fetch(LANGUAGE, ("Accept-Language: de,EN",))], Reuse(asked=("Accept-Language: en , de",)),
    ),
    "Vary of a field that both have not": ([Fetch(LANGUAGE)], Reuse()),
    "after a POST that failed": ([Fetch(), Fetch((), method="POST", status=404, stored=False)], Reuse(of=1)),
    "after the Location of another origin": (
        [Fetch(), Fetch(("Location: http://elsewhere/x",), method="POST", target="/y", stored=False)], Reuse(of=1),
    ),
    "freshened by a 304": (
        [Fetch((MINUTE, TAG)), 61.0, RENEWED], Reuse(of=1, fields_of=2, age="1"),
    ),
    "a whole beside a part of another Vary that is newer": (
        [Fetch((MINUTE, TAG, "Vary: X-Select")), 5.0, replace(PART, said=(*PART.said, "Vary: Accept-Language"))],
        Reuse(of=1, age="6"),
    ),
    "updated by a HEAD": (
        [Fetch((MINUTE, TAG)), 61.0, Fetch((MINUTE, TAG, "Content-Length: 10"), method="HEAD")],
        Reuse(of=1, fields_of=2, age="1"),
    ),
    "a HEAD": (said(MINUTE), Reuse(method="HEAD")),
    "a 304 by a weak tag": (
        said(MINUTE, 'ETag: W/"a"'), Reuse(asked=('If-None-Match: "b", "a"',), status=304, body=b""),
    ),
    "a 304 by a date": (
        said(MINUTE, f"Last-Modified: {on(-10)}"),
        Reuse(asked=(f"If-Modified-Since: {on(-10)}",), status=304, body=b""),
    ),
    "a range": (
        said(MINUTE, TAG),
        Reuse(asked=("Range: bytes=-2", 'If-Range: "a"'), status=206, body=b"89",
              more=("Content-Range: bytes 8-9/10",)),
    ),
    "a range that can't be satisfied": (
        said(MINUTE), Reuse(asked=("Range: bytes=10-",), status=416, body=b"", more=("Content-Range: bytes */10",)),
    ),
    "within a part": (
        [PART],
        Reuse(asked=("Range: bytes=1-2",), body=b"12", without=frozenset({"content-range"}),
              more=("Content-Range: bytes 1-2/10",)),
    ),
    "two parts that are the whole": (
        [PART, REST], Reuse(status=200, body=BODY, without=frozenset({"content-range"})),
    ),
    "a targeted lifetime": (said("Cache-Control: no-store", "CDN-Cache-Control: max-age=60"), Reuse()),
    "a targeted field that is none": (said(MINUTE, "CDN-Cache-Control: NO-STORE"), Reuse()),
    "without a field of no-cache": (
        said('Cache-Control: max-age=60, no-cache="x-secret"', "X-Secret: 1"), Reuse(without=frozenset({"x-secret"})),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_catches(name: str) -> None:
    section, story = FORBIDDEN[name]
    reasons = judged(story)
    assert section in {one for reason in reasons for one in reason.partition(":")[0].split(", ")}, reasons


@pytest.mark.parametrize("name", ALLOWED)
def test_lets_pass(name: str) -> None:
    assert judged(ALLOWED[name]) == []


def test_goes_by_the_operators_word_when_the_origin_fails() -> None:
    """Section 4.2.4: configuration in accordance with an out-of-band contract."""
    story: Story = ([Fetch(("Cache-Control: max-age=5",)), 6.0], Reuse(fails=True))
    assert judged(story) != []
    assert judged(story, Contract(stale_if_error=10.0)) == []


def test_only_if_cached_causes_no_call() -> None:
    """Section 5.2.1.7."""
    stage = Stage(STRICT)
    asked = stage.asks("GET", "/x", ("Cache-Control: only-if-cached",))
    refused = Got(asked, 504, (), b"", NOW)
    assert stage.oracle.judge(refused) == []
    stage.oracle.answers(Exchange(1, asked, "GET", asked.fields, 200, (), BODY, NOW, NOW))
    assert stage.oracle.judge(refused) != []


def test_reads_directives_by_their_grammar() -> None:
    found = directives('A=1, b = 2,, c="x, y\\"", d="open, e=5')
    assert [(one.name, one.form, one.argument) for one in found] == [
        ("a", "token", "1"),
        ("b", "bad", ""),
        ("c", "quoted", 'x, y"'),
        ("d", "bad", ""),
    ]


def test_reads_structured_dictionaries() -> None:
    assert targeted('a=1;x;y=2, b, c="q\\"", b=?0') == [
        ("a", "number", "1"),
        ("c", "text", 'q\\"'),
        ("b", "truth", "0"),
    ]
    assert [targeted(one) for one in ("A=1", "a=1,", "a b", "a=", "a=1.2.3", "a==")] == [None] * 6
