"""The lines of a head: ends of lines, names, values, Host, Connection, Expect, versions and methods."""

from tests.hostile.corpus import (
    GOT,
    LAST,
    ONE,
    REFUSED,
    SMUGGLED,
    UNFINISHED,
    Sample,
    get,
    post,
    saw,
)

LINES = [
    Sample("lf only", b"GET /x HTTP/1.1\nHost: a\n\n", REFUSED),
    Sample("lf behind the first line", b"GET /x HTTP/1.1\nHost: a\r\n\r\n", REFUSED),
    Sample("lf behind a field", b"GET /x HTTP/1.1\r\nHost: a\n\r\n", REFUSED),
    Sample("lf for the blank line", b"GET /x HTTP/1.1\r\nHost: a\r\n\n", REFUSED),
    Sample("lf in a value", get(b"X: a\nb"), REFUSED),
    Sample("lf and a field in a value", get(b"X: a\nContent-Length: 35", after=SMUGGLED), REFUSED),
    Sample("two lfs and a request in a value", get(b"X: a\n\nGET /smuggled HTTP/1.1"), REFUSED),
    Sample("cr only", b"GET /x HTTP/1.1\rHost: a\r\r", REFUSED),
    Sample("cr in a value", get(b"X: a\rb"), REFUSED),
    Sample("cr and a field in a value", get(b"X: a\rContent-Length: 35", after=SMUGGLED), REFUSED),
    Sample("cr at the end of a value", get(b"X: a\r"), REFUSED),
    Sample("crs and a request in a value", get(b"X: a\r\rGET /smuggled HTTP/1.1"), REFUSED),
    Sample("fold", get(b"X: a\r\n b"), REFUSED),
    Sample("fold by tab", get(b"X: a\r\n\tb"), REFUSED),
    Sample("fold of a length", get(b"X: a\r\n Content-Length: 35", after=SMUGGLED), REFUSED),
    Sample("fold of nothing", get(b"X:\r\n \r\n a"), REFUSED),
    Sample("fold before the first field", b"GET /x HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", REFUSED),
    Sample("space for a blank line", b"GET /x HTTP/1.1\r\nHost: a\r\n \r\n\r\n", REFUSED),
    *(
        Sample(f"byte {byte:#04x} in a value", get(b"X: a" + bytes([byte]) + b"b"), REFUSED)
        for byte in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1B, 0x7F)
    ),
    Sample("tab in a value", get(b"X: a\tb"), ONE, GOT),
    Sample("non-ascii value", get(b"X: \xe9\xff\x85"), ONE, GOT),
    Sample("empty value", get(b"X:"), ONE, GOT),
    *(
        Sample(f"byte {byte:#04x} in a name", get(b"X" + bytes([byte]) + b"Y: b"), REFUSED)
        for byte in (0x00, 0x01, 0x09, 0x0B, 0x20, 0x7F, 0x80, 0xE9, *b'"(),/;<=>?@[\\]{}')
    ),
    Sample("odd but allowed name", get(b"!#$%&'*+-.^_`|~09: b"), ONE, GOT),
    Sample("empty name", get(b": b"), REFUSED),
    Sample("no colon", get(b"X"), REFUSED),
    Sample("space before colon", get(b"X : b"), REFUSED),
    Sample("tab before colon", get(b"X\t: b"), REFUSED),
    Sample("colon only", get(b":"), REFUSED),
    Sample("too many fields", get(*[b"X: y"] * 300), REFUSED),
    Sample("a value of 70,000 bytes", get(b"X: " + b"y" * 70_000), REFUSED),
    Sample("a name of 70,000 bytes", get(b"X" * 70_000 + b": y"), REFUSED),
]

HOSTS = [
    Sample("no host", b"GET /x HTTP/1.1\r\n\r\n", REFUSED),
    Sample("no host, http/1.0", b"GET /x HTTP/1.0\r\n\r\n", LAST, GOT),
    Sample("two hosts", get(b"Host: b"), REFUSED),
    Sample("the same host twice", get(b"Host: a"), REFUSED),
    Sample("two hosts, other case", get(b"HOST: b"), REFUSED),
    Sample("two hosts, http/1.0", get(b"Host: b", version=b"HTTP/1.0"), REFUSED),
    Sample("host folded", b"GET /x HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", REFUSED),
    Sample("host behind space", b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n", REFUSED),
    *(
        Sample(f"host {name}", b"GET /x HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", ONE, GOT)
        for name, value in {
            "empty": b"",
            "with port": b"a:80",
            "with two ports": b"a:80:81",
            "with a huge port": b"a:99999999",
            "with a user": b"user:password@evil",
            "with a path": b"a/evil",
            "with a query": b"a?evil",
            "of two": b"a, evil",
            "with a space": b"a evil",
            "ipv6": b"[::1]:80",
            "broken ipv6": b"[::1",
            "non-ascii": b"\xc3\xa9vil",
            "metadata service": b"169.254.169.254",
        }.items()
    ),
    *(
        Sample(f"target {name}", get(target=value), ONE, saw(method=b"GET", target=value))
        for name, value in {
            "absolute": b"http://a/x",
            "absolute, other host": b"http://evil/x",
            "absolute, metadata service": b"http://169.254.169.254/latest/meta-data",
            "absolute, https": b"https://evil/x",
            "absolute, upper case": b"HTTP://EVIL/x",
            "absolute, with a user": b"http://a@evil/x",
            "absolute, with a port": b"http://evil:22/x",
            "absolute, without a path": b"http://evil",
            "absolute, query without a path": b"http://evil?x",
            "absolute, other scheme": b"ftp://evil/x",
            "absolute, ipv6": b"http://[::1]:9464/metrics",
        }.items()
    ),
    Sample("target authority of a get", get(target=b"evil:80"), REFUSED),
    Sample("target asterisk of a get", get(target=b"*"), REFUSED),
    Sample(
        "target authority of a connect",
        b"CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n" + SMUGGLED,
        REFUSED,
    ),
    Sample("connect of a path", b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
    Sample("connect of an absolute target", b"CONNECT http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
    Sample("target absolute, no scheme", get(target=b"://evil/x"), REFUSED),
    Sample("target absolute, no host", get(target=b"http:///x"), REFUSED),
    Sample("target empty", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
    Sample("target file", get(target=b"file:///etc/passwd"), REFUSED),
]

_LISTED = (
    b"Content-Length",
    b"Host",
    b"Transfer-Encoding",
    b"Authorization",
    b"Cookie",
    b"Connection",
    b"X-Forwarded-For",
)

CONNECTIONS = [
    *(
        Sample(
            f"connection lists {name.decode()}",
            post(b"Connection: " + name, b"Content-Length: 3", body=b"abc"),
            ONE,
            saw(b"abc"),
        )
        for name in _LISTED
    ),
    Sample(
        "connection lists the length, a request behind",
        post(b"Connection: Content-Length", b"Content-Length: 35", body=SMUGGLED),
        ONE,
        saw(SMUGGLED),
    ),
    Sample("connection twice", get(b"Connection: keep-alive", b"Connection: close"), LAST, GOT),
    Sample("connection close and keep-alive", get(b"Connection: keep-alive, close"), LAST, GOT),
    Sample("connection of odd members", get(b'Connection: ,, \t, "x", a=b'), ONE, GOT),
    Sample("proxy-connection", get(b"Proxy-Connection: close"), LAST, GOT),
    Sample("keep-alive", get(b"Keep-Alive: timeout=9999999999999999999"), ONE, GOT),
    Sample("te", get(b"TE: trailers, chunked"), ONE, GOT),
    Sample(
        "upgrade h2c",
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        LAST,
        GOT,
    ),
    Sample("upgrade not listed", get(b"Upgrade: h2c"), ONE, GOT),
    Sample(
        "upgrade websocket without its fields", get(b"Connection: Upgrade", b"Upgrade: websocket"), LAST, GOT
    ),
    Sample("upgrade to two", get(b"Connection: Upgrade", b"Upgrade: h2c, websocket"), LAST, GOT),
    Sample(
        "upgrade of http/1.0",
        get(b"Connection: Upgrade", b"Upgrade: websocket", version=b"HTTP/1.0"),
        LAST,
        GOT,
    ),
    Sample(
        "expect continue", post(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"), ONE, saw(b"abc")
    ),
    Sample(
        "expect continue in upper case",
        post(b"Expect: 100-CONTINUE", b"Content-Length: 3", body=b"abc"),
        ONE,
        saw(b"abc"),
    ),
    Sample("expect continue without a body", get(b"Expect: 100-continue"), ONE, GOT),
    Sample(
        "expect continue, the body is a request",
        post(b"Expect: 100-continue", b"Content-Length: 35", body=SMUGGLED),
        ONE,
        saw(SMUGGLED),
    ),
    Sample("expect something else", get(b"Expect: 200-ok"), ONE, GOT),
    Sample(
        "expect twice",
        post(b"Expect: 100-continue", b"Expect: x", b"Content-Length: 3", body=b"abc"),
        ONE,
        saw(b"abc"),
    ),
    Sample(
        "expect with a parameter",
        post(b"Expect: 100-continue;a=b", b"Content-Length: 3", body=b"abc"),
        ONE,
        saw(b"abc"),
    ),
    Sample(
        "expect of http/1.0",
        post(b"Expect: 100-continue", b"Content-Length: 3", version=b"HTTP/1.0", body=b"abc"),
        LAST,
        saw(b"abc"),
    ),
]

VERSIONS = [
    Sample("http/0.9", b"GET /x\r\n", UNFINISHED),
    Sample("http/0.9 and a head", b"GET /x\r\nHost: a\r\n\r\n", REFUSED),
    Sample("http/0.9 by name", get(version=b"HTTP/0.9"), REFUSED),
    Sample("http/1.0", get(version=b"HTTP/1.0"), LAST, GOT),
    Sample("http/1.0 keep-alive", get(b"Connection: keep-alive", version=b"HTTP/1.0"), ONE, GOT),
    *(
        Sample(f"version {version.decode('latin-1')!r}", get(version=version), REFUSED)
        for version in (
            b"HTTP/1.2",
            b"HTTP/2.0",
            b"HTTP/2",
            b"HTTP/1",
            b"HTTP/1.10",
            b"HTTP/01.1",
            b"HTTP/1.1x",
            b"http/1.1",
            b"HTTP/ 1.1",
            b"HTTP/1 .1",
            b"HTTP/1,1",
            b"HTTPS/1.1",
            b"HTTP1.1",
            b"ICE/1.0",
            b"XTTP/1.1",
            b"HTTP/1.1\x00",
            b"HTTP/-1.1",
            b"HTTP/1.\xb9",
        )
    ),
    # The parser takes the name for HTTP's: it is HTTP/1.0 here and HTTP/1.1 on the next hop, one reading on each.
    Sample("version 'RTSP/1.0'", get(version=b"RTSP/1.0"), LAST, GOT),
    Sample("version, space behind", get(version=b"HTTP/1.1 "), REFUSED),
    # RFC 9112 section 3 allows to read these; the line is written anew with one space.
    Sample("two spaces before the version", b"GET /x  HTTP/1.1\r\nHost: a\r\n\r\n", ONE, GOT),
    Sample("tabs for spaces", b"GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
    Sample("space before the method", b" GET /x HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
    Sample("two spaces behind the method", b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", ONE, GOT),
    Sample("version twice", b"GET /x HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
    Sample("space in the target", b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
    Sample("http/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", REFUSED),
    Sample("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", REFUSED),
    Sample("byte order mark", b"\xef\xbb\xbf" + get(), REFUSED),
    Sample("nul before", b"\0" + get(), REFUSED),
    *(
        Sample(f"method {method.decode('latin-1')!r}", method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED)
        for method in (
            b"get",
            b"Get",
            b"GETX",
            b"G",
            b"NONSENSE",
            b"GET,POST",
            b"G\x00ET",
            b"G\xc3\x89T",
            b"GET\x0b",
            b"",
            b"DESCRIBE",
            b"PLAY",
            b"FLUSH",
        )
    ),
    Sample("method source", b"SOURCE /x HTTP/1.1\r\nHost: a\r\n\r\n", ONE, saw(method=b"SOURCE")),
    Sample("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", REFUSED),
    Sample("half a head", b"GET /x HTTP/1.1\r\nHost: a\r\n", UNFINISHED),
    Sample("a target of 70,000 bytes", get(target=b"/" + b"x" * 70_000), REFUSED),
]
