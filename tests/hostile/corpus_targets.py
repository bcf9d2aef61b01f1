"""Targets that two servers could take for different paths (RFC 3986 section 6, RFC 9112 section 3.2).

All of them are passed on as they are spelled; which entity each is about stands in tests/hostile/test_targets.py.
"""

from tests.hostile.corpus import ONE, REFUSED, Sample, get, saw

_SPELLED = {
    "double slash": b"//x",
    "three slashes": b"///x//y///",
    "dots": b"/a/../x",
    "dot": b"/./x",
    "dots beyond the root": b"/../../../etc/passwd",
    "encoded dots": b"/a/%2e%2e/x",
    "encoded dots in upper case": b"/a/%2E%2E/x",
    "half encoded dots": b"/a/.%2e/x",
    "encoded slash": b"/a%2fx",
    "encoded slash in upper case": b"/a%2Fx",
    "encoded backslash": b"/a%5c..%5cx",
    "backslash": b"/a\\..\\x",
    "parameters": b"/x;a=b;c",
    "parameters in dots": b"/a/..;/x",
    "mixed case of hex": b"/%2f%2F%aB%Ab",
    "double encoding": b"/%252e%252e%252fx",
    "encoded letters": b"/%78",
    "encoded nul": b"/x%00.css",
    "encoded crlf": b"/x%0d%0aX:%20y",
    "encoded crlf and a request": b"/x%0d%0a%0d%0aGET%20/smuggled%20HTTP/1.1",
    "encoded question mark": b"/x%3fy",
    "encoded fragment": b"/x%23y",
    "encoded space": b"/x%20y",
    "plus": b"/x+y",
    "broken encoding": b"/x%",
    "broken encoding of one digit": b"/x%2",
    "broken encoding of no digits": b"/x%zz",
    "unicode encoding of iis": b"/x%u002e%u002e",
    "overlong slash": b"/a%c0%afx",
    "overlong dot": b"/a/%c0%ae%c0%ae/x",
    "overlong nul": b"/x%c0%80",
    "surrogate": b"/x%ed%a0%80",
    "not utf-8": b"/x%ff%fe",
    "query": b"/x?a=b",
    "empty query": b"/x?",
    "two question marks": b"/x?a?b",
    "query of a path": b"/x?/../y",
    "fragment": b"/x#y",
    "fragment and query": b"/x#y?z",
    "query and fragment": b"/x?y#z",
    "brackets and quotes": b"/x[]{}|^`\"<>'",
    "colon": b"/http://evil/",
    "at": b"/x@evil",
    "asterisk": b"/*",
    "long path": b"/" + b"x" * 30_000,
    "many slashes": b"/" * 5_000,
    "many dots": b"/.." * 5_000,
    "many encodings": b"/" + b"%61" * 10_000,
}

_NOT_TARGETS = {
    "nul": b"/x\x00",
    "control byte": b"/x\x01",
    "vertical tab": b"/x\x0b",
    "delete": b"/x\x7f",
    "bare cr": b"/x\ry",
    "bare lf": b"/x\ny",
    "tab": b"/x\ty",
    "no slash": b"x",
    "question mark first": b"?x",
    "fragment first": b"#x",
    "backslash first": b"\\x",
    "dot first": b"./x",
    "encoded slash first": b"%2fx",
    "raw utf-8": "/\u00e9".encode(),
    "raw utf-8 look-alike of a slash": "/a\u2215x".encode(),
    "full-width slash": "/a\uff0fx".encode(),
    "full-width dots": "/a/\uff0e\uff0e/x".encode(),
    "right-to-left mark": "/a\u202ex".encode(),
    "combining and composed": "/e\u0301/\u00e9".encode(),
    "raw bytes that are not utf-8": b"/x\xff\xfe",
    "raw byte of 0x80": b"/x\x80",
    "non-ascii first": b"\xc3\xa9",
}

TARGETS = [
    *(
        Sample(f"target {name}", get(target=target), ONE, saw(method=b"GET", target=target))
        for name, target in _SPELLED.items()
    ),
    *(Sample(f"target {name}", get(target=target), REFUSED) for name, target in _NOT_TARGETS.items()),
]
