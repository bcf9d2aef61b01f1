"""Where a body begins and ends: Content-Length, Transfer-Encoding, chunks, trailers (RFC 9112 sections 6 and 7)."""

from tests.hostile.corpus import (
    AT_MOST,
    BROKEN,
    GOT,
    LAST,
    ONE,
    REFUSED,
    SMUGGLED,
    TWO,
    UNFINISHED,
    Sample,
    chunked,
    get,
    post,
    saw,
)

# Ends a chunked body; what follows is the next request to whoever believes in chunks, and body to whoever does not.
_END = b"0\r\n\r\n"
_TAIL = _END + SMUGGLED

LENGTHS = [
    Sample("cl zero", post(b"Content-Length: 0"), ONE, saw()),
    Sample("cl plain", post(b"Content-Length: 3", body=b"abc"), ONE, saw(b"abc")),
    Sample("cl on a get", get(b"Content-Length: 3", after=b"abc"), ONE, saw(b"abc", method=b"GET")),
    Sample("cl leading zeros", post(b"Content-Length: 0003", body=b"abc"), ONE, saw(b"abc")),
    Sample("cl white space around", post(b"Content-Length: \t 3 \t", body=b"abc"), ONE, saw(b"abc")),
    Sample("cl twice the same", post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), REFUSED),
    Sample("cl twice", post(b"Content-Length: 0", b"Content-Length: 35", body=SMUGGLED), REFUSED),
    Sample(
        "cl twice, other order", post(b"Content-Length: 35", b"Content-Length: 0", body=SMUGGLED), REFUSED
    ),
    Sample("cl twice, other case", post(b"Content-Length: 3", b"CONTENT-LENGTH: 4", body=b"abcd"), REFUSED),
    Sample("cl list", post(b"Content-Length: 3, 3", body=b"abc"), REFUSED),
    Sample("cl list of others", post(b"Content-Length: 3,4", body=b"abcd"), REFUSED),
    Sample("cl plus", post(b"Content-Length: +3", body=b"abc"), REFUSED),
    Sample("cl minus", post(b"Content-Length: -3", body=b"abc"), REFUSED),
    Sample("cl minus zero", post(b"Content-Length: -0", body=SMUGGLED), REFUSED),
    Sample("cl hex", post(b"Content-Length: 0x3", body=b"abc"), REFUSED),
    Sample("cl underscore", post(b"Content-Length: 1_0", body=b"abcdefghij"), REFUSED),
    Sample("cl space inside", post(b"Content-Length: 1 0", body=b"abcdefghij"), REFUSED),
    Sample("cl decimal point", post(b"Content-Length: 3.0", body=b"abc"), REFUSED),
    Sample("cl exponent", post(b"Content-Length: 1e1", body=b"abcdefghij"), REFUSED),
    Sample("cl empty", post(b"Content-Length:", body=SMUGGLED), REFUSED),
    Sample("cl space only", post(b"Content-Length:  ", body=SMUGGLED), REFUSED),
    Sample("cl quoted", post(b'Content-Length: "3"', body=b"abc"), REFUSED),
    Sample("cl trailing junk", post(b"Content-Length: 3;x", body=b"abc"), REFUSED),
    Sample("cl words", post(b"Content-Length: three", body=b"abc"), REFUSED),
    Sample("cl vertical tab", post(b"Content-Length: \x0b3", body=b"abc"), REFUSED),
    Sample("cl form feed", post(b"Content-Length: 3\x0c", body=b"abc"), REFUSED),
    Sample("cl no-break space", post(b"Content-Length: \xa03", body=b"abc"), REFUSED),
    Sample("cl nul", post(b"Content-Length: 3\x00", body=b"abc"), REFUSED),
    Sample("cl arabic digits", post("Content-Length: \u0663".encode(), body=b"abc"), REFUSED),
    Sample("cl full-width digits", post("Content-Length: \uff13".encode(), body=b"abc"), REFUSED),
    Sample("cl superscript digit", post(b"Content-Length: \xb3", body=b"abc"), REFUSED),
    Sample("cl folded", post(b"Content-Length:\r\n 3", body=b"abc"), REFUSED),
    Sample("cl folded digits", post(b"Content-Length: 1\r\n 0", body=b"abcdefghij"), REFUSED),
    Sample("cl space before colon", post(b"Content-Length : 3", body=b"abc"), REFUSED),
    Sample("cl tab before colon", post(b"Content-Length\t: 3", body=b"abc"), REFUSED),
    Sample("cl space before name", post(b" Content-Length: 3", body=b"abc"), REFUSED),
    Sample("cl 2^63", post(b"Content-Length: 9223372036854775808", body=b"abc"), REFUSED),
    Sample("cl 2^63 - 1", post(b"Content-Length: 9223372036854775807", body=b"abc"), UNFINISHED),
    Sample("cl 2^64 - 1", post(b"Content-Length: 18446744073709551615", body=b"abc"), REFUSED),
    Sample("cl 2^64", post(b"Content-Length: 18446744073709551616", body=SMUGGLED), REFUSED),
    Sample("cl 2^64 + 3", post(b"Content-Length: 18446744073709551619", body=b"abc" + SMUGGLED), REFUSED),
    Sample("cl 200 digits", post(b"Content-Length: " + b"9" * 200, body=b"abc"), REFUSED),
    Sample("cl too long", post(b"Content-Length: 4", body=b"abc"), UNFINISHED),
    Sample("cl of a second request", post(b"Content-Length: 35", body=SMUGGLED), ONE, saw(SMUGGLED)),
]

_SPELLED = {
    "vertical tab before": b" \x0bchunked",
    "form feed before": b" \x0cchunked",
    "vertical tab behind": b" chunked\x0b",
    "nul before": b" \x00chunked",
    "nul behind": b" chunked\x00",
    "no-break space": b" \xa0chunked",
    "x before": b" xchunked",
    "x behind": b" chunkedx",
    "identity": b" identity",
    "chunked, identity": b" chunked, identity",
    "identity, chunked": b" identity, chunked",
    "chunked twice": b" chunked, chunked",
    "gzip, chunked": b" gzip, chunked",
    "chunked, gzip": b" chunked, gzip",
    "parameter": b" chunked;q=1",
    "parameter with space": b" chunked ; a=b",
    "quoted": b' "chunked"',
    "single quotes": b" 'chunked'",
    "comma before": b" ,chunked",
    "comma behind": b" chunked,",
    "commas": b" , ,chunked",
    "tabs": b"\tchunked\t",
    "empty": b"",
    "a word": b" cow",
    "zero-width space": " chun\u200bked".encode(),
    "kelvin sign": " chun\u212aed".encode(),
    "folded behind": b" chunked\r\n ",
    "folded before": b"\r\n chunked",
    "folded by tab": b"\r\n\tchunked",
    "folded list": b" identity,\r\n chunked",
    "bare lf behind": b" chunked\nX: y",
    "bare cr behind": b" chunked\rX: y",
    "bare cr before": b" \rchunked",
    "backslash": b" chunked\\",
}

_NAMED = {
    "space before colon": b"Transfer-Encoding : chunked",
    "tab before colon": b"Transfer-Encoding\t: chunked",
    "space before name": b" Transfer-Encoding: chunked",
    "tab before name": b"\tTransfer-Encoding: chunked",
    "nul in name": b"Transfer\x00-Encoding: chunked",
    "space in name": b"Transfer Encoding: chunked",
    "behind a bare lf": b"X: y\nTransfer-Encoding: chunked",
    "behind a bare cr": b"X: y\rTransfer-Encoding: chunked",
    "bare lf in name": b"Transfer-\nEncoding: chunked",
    "no colon": b"Transfer-Encoding chunked",
    "colon before": b":Transfer-Encoding: chunked",
    "non-ascii hyphen": "Transfer\u2010Encoding: chunked".encode(),
}

# The value is chunked, spelled as it may be.
_CHUNKED = {
    "plain": b"Transfer-Encoding: chunked",
    "upper case": b"TRANSFER-ENCODING: CHUNKED",
    "mixed case": b"tRANSFER-eNCODING: cHuNkEd",
    "no space": b"Transfer-Encoding:chunked",
    "spaces": b"Transfer-Encoding:   chunked   ",
}

CODINGS = [
    *(
        Sample(f"te {name}", post(line, body=b"3\r\nabc\r\n" + _END), LAST, saw(b"abc"))
        for name, line in _CHUNKED.items()
    ),
    # CL.TE and TE.CL: the length says one thing, the chunks another.
    *(
        Sample(f"cl.te {name}", post(b"Content-Length: 40", line, body=_TAIL), REFUSED)
        for name, line in _CHUNKED.items()
    ),
    *(
        Sample(
            f"te.cl {name}",
            post(line, b"Content-Length: 4", body=b"23\r\n" + SMUGGLED + b"\r\n" + _END),
            REFUSED,
        )
        for name, line in _CHUNKED.items()
    ),
    *(
        Sample(f"te {name}", post(b"Transfer-Encoding:" + value, body=_TAIL), REFUSED)
        for name, value in _SPELLED.items()
    ),
    *(
        Sample(
            f"cl.te {name}", post(b"Content-Length: 40", b"Transfer-Encoding:" + value, body=_TAIL), REFUSED
        )
        for name, value in _SPELLED.items()
    ),
    # TE.TE: one plain, one that only one of two servers knows for what it is.
    *(
        Sample(
            f"te.te {name}",
            post(b"Transfer-Encoding: chunked", b"Transfer-Encoding:" + value, body=_TAIL),
            REFUSED,
        )
        for name, value in _SPELLED.items()
    ),
    *(
        Sample(
            f"te.te {name} first",
            post(b"Transfer-Encoding:" + value, b"Transfer-Encoding: chunked", body=_TAIL),
            REFUSED,
        )
        for name, value in _SPELLED.items()
    ),
    Sample(
        "te.te the same",
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=_TAIL),
        REFUSED,
    ),
    *(
        Sample(f"te {name}", post(b"Content-Length: 40", line, body=_TAIL), REFUSED)
        for name, line in _NAMED.items()
    ),
    # To a backend that takes an underscore for a hyphen these would be framing; here they are fields like any other.
    Sample(
        "te with an underscore",
        post(b"Content-Length: 40", b"Transfer_Encoding: chunked", body=_TAIL),
        ONE,
        saw(_TAIL),
    ),
    Sample("te of a get", get(b"Transfer-Encoding: chunked", after=_END), LAST, saw(method=b"GET")),
    Sample("te of http/1.0", post(b"Transfer-Encoding: chunked", version=b"HTTP/1.0", body=_TAIL), REFUSED),
    Sample(
        "cl.te of http/1.0",
        post(b"Content-Length: 40", b"Transfer-Encoding: chunked", version=b"HTTP/1.0", body=_TAIL),
        REFUSED,
    ),
    Sample(
        "te of http/1.0, keep-alive",
        post(b"Connection: keep-alive", b"Transfer-Encoding: chunked", version=b"HTTP/1.0", body=_TAIL),
        REFUSED,
    ),
]

CHUNKS = [
    Sample(
        "chunk sizes in both cases",
        chunked(b"a\r\n0123456789\r\nA\r\n0123456789\r\n" + _END),
        LAST,
        saw(b"0123456789" * 2),
    ),
    Sample("chunk leading zeros", chunked(b"0003\r\nabc\r\n" + _END), LAST, saw(b"abc")),
    Sample("last chunk of many zeros", chunked(b"000\r\n\r\n"), LAST, saw()),
    Sample("something behind a chunked request", chunked(b"3\r\nabc\r\n" + _TAIL), LAST, saw(b"abc")),
    Sample("chunk extension", chunked(b"3;a=b\r\nabc\r\n" + _END), LAST, saw(b"abc")),
    Sample("chunk extension without value", chunked(b"3;a\r\nabc\r\n" + _END), LAST, saw(b"abc")),
    Sample("chunk extension quoted", chunked(b'3;a="b;c"\r\nabc\r\n' + _END), LAST, saw(b"abc")),
    Sample("chunk extension on the last", chunked(b"3\r\nabc\r\n0;a=b\r\n\r\n"), LAST, saw(b"abc")),
    Sample("chunk extension with crlf in quotes", chunked(b'3;a="\r\n"\r\nabc\r\n' + _END), BROKEN),
    Sample("chunk extension with lf", chunked(b"3;a\nabc\r\n" + _END), BROKEN),
    Sample(
        "chunk extension with lf and a chunk in it",
        chunked(b"2;\nxx\r\n23\r\n" + SMUGGLED + b"\r\n" + _END),
        BROKEN,
    ),
    Sample("chunk extension with cr", chunked(b"3;a\rb\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk extension with nul", chunked(b"3;a\x00\r\nabc\r\n" + _END), BROKEN),
    Sample(
        "chunk extension of 70,000 bytes",
        chunked(b"3;" + b"a" * 70_000 + b"\r\nabc\r\n" + _END),
        LAST,
        saw(b"abc"),
    ),
    Sample("chunk size space behind", chunked(b"3 \r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size space before", chunked(b" 3\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size space before extension", chunked(b"3 ;a=b\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size tab", chunked(b"3\t\r\nabc\r\n" + _END), BROKEN),
    Sample("last chunk space behind", chunked(b"3\r\nabc\r\n0 \r\n\r\n"), BROKEN),
    Sample("chunk size plus", chunked(b"+3\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size minus", chunked(b"-3\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size 0x", chunked(b"0x3\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size underscore", chunked(b"1_0\r\n0123456789abcdef\r\n" + _END), BROKEN),
    Sample("chunk size empty", chunked(b"\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size only an extension", chunked(b";a=b\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size 2^64", chunked(b"10000000000000000\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size 2^64 + 3", chunked(b"10000000000000003\r\nabc\r\n" + _TAIL), BROKEN),
    Sample("chunk size 2^32 + 3", chunked(b"100000003\r\nabc\r\n" + _TAIL), UNFINISHED),
    Sample("chunk size of 100 digits", chunked(b"f" * 100 + b"\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk size non-ascii", chunked("\uff13\r\nabc\r\n".encode() + _END), BROKEN),
    Sample("chunk bare lf behind size", chunked(b"3\nabc\r\n" + _END), BROKEN),
    Sample("chunk bare lf behind data", chunked(b"3\r\nabc\n" + _END), BROKEN),
    Sample("chunk bare cr behind size", chunked(b"3\rabc\r\n" + _END), BROKEN),
    Sample("chunk nothing behind data", chunked(b"3\r\nabc" + _END), BROKEN),
    Sample("chunk data longer than said", chunked(b"2\r\nabc\r\n" + _END), BROKEN),
    Sample("chunk data shorter than said", chunked(b"4\r\nabc\r\n" + _END), BROKEN),
    Sample("last chunk with bare lfs", chunked(b"3\r\nabc\r\n0\n\n"), BROKEN),
    Sample("last chunk without its blank line", chunked(b"3\r\nabc\r\n0\r\n"), UNFINISHED),
    Sample("no last chunk", chunked(b"3\r\nabc\r\n"), UNFINISHED),
    Sample("last chunk and a request", chunked(b"0\r\n" + SMUGGLED), BROKEN),
    Sample("trailer", chunked(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), LAST, saw(b"abc")),
    *(
        Sample(
            f"trailer {name}",
            chunked(b"3\r\nabc\r\n0\r\n" + line + b"\r\n\r\n" + SMUGGLED),
            LAST,
            saw(b"abc"),
        )
        for name, line in {
            "authorization": b"Authorization: Bearer evil",
            "cookie": b"Cookie: evil",
            "via": b"Via: 1.1 evil",
        }.items()
    ),
    *(
        Sample(f"trailer {name}", chunked(b"3\r\nabc\r\n0\r\n" + line + b"\r\n\r\n" + SMUGGLED), BROKEN)
        for name, line in {
            "content-length": b"Content-Length: 35",
            "transfer-encoding": b"Transfer-Encoding: chunked",
        }.items()
    ),
    Sample("trailer host", chunked(b"3\r\nabc\r\n0\r\nHost: evil\r\n\r\n" + SMUGGLED), AT_MOST, saw(b"abc")),
    Sample("trailer announced", chunked(b"0\r\nX: 1\r\n\r\n", b"Trailer: X"), LAST, saw()),
    Sample("trailer with bare lf", chunked(b"0\r\nX: 1\n\r\n"), BROKEN),
    Sample("trailer without colon", chunked(b"0\r\nX\r\n\r\n"), BROKEN),
    Sample("trailer folded", chunked(b"0\r\nX: 1\r\n 2\r\n\r\n"), BROKEN),
    Sample("trailers many", chunked(b"0\r\n" + b"X: 1\r\n" * 1000 + b"\r\n"), BROKEN),
    Sample("trailer endless", chunked(b"0\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"), BROKEN),
]

PIPELINES = [
    Sample("two in one segment", get() + get(target=b"/y"), TWO, GOT + saw(method=b"GET", target=b"/y")),
    Sample("a body and another", post(b"Content-Length: 3", body=b"abc") + get(), TWO, saw(b"abc") + GOT),
    Sample("blank line before", b"\r\n" + get(), ONE, GOT),
    Sample("blank line between", get() + b"\r\n" + get(), TWO, GOT + GOT),
    Sample("second one is bad", get(b"Connection: close") + b"\x00\x01", AT_MOST, GOT),
    Sample("second one behind a close", get(b"Connection: close") + SMUGGLED, AT_MOST, GOT),
    Sample("second one behind http/1.0", get(version=b"HTTP/1.0") + SMUGGLED, AT_MOST, GOT),
    Sample(
        "second one in a body of http/1.0",
        post(b"Content-Length: 35", version=b"HTTP/1.0", body=SMUGGLED),
        LAST,
        saw(SMUGGLED),
    ),
    Sample(
        "second one behind an upgrade",
        get(b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAAA", after=SMUGGLED),
        LAST,
        GOT,
    ),
    Sample(
        "body of an upgrade",
        get(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 35", after=SMUGGLED),
        LAST,
        saw(SMUGGLED, method=b"GET"),
    ),
    Sample("get without a length and a body", get(after=b"\x00\x01"), AT_MOST, GOT),
]
