"""What is stored of an answer's fields."""

from proxy.core.http.fields import RawField
from proxy.core.http.storing import stored_fields


def test_fields_of_one_hop_and_of_one_answer_are_not_stored() -> None:
    """RFC 9111 sections 3.1 and 7.3."""
    fields: list[RawField] = [
        (b"Connection", b"x-hop, close"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"proxy-authentication-info", b"x"),
        (b"Upgrade", b"h2c"),
        (b"Age", b"3"),
        (b"content-length", b"9"),
        (b"Set-Cookie", b"a=b"),
        (b"set-COOKIE", b"c=d"),
        (b"Content-Type", b"text/plain"),
        (b"x-own", b" as spelled "),
        (b"X-Own", b"twice"),
    ]
    assert stored_fields(iter(fields)) == tuple(fields[-3:])


def test_fields_that_the_origin_keeps_to_one_caller_are_not_stored() -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7."""
    fields = [(b"X-Account", b"7"), (b"x-account", b"8"), (b"X-B", b"9")]
    assert stored_fields(fields, frozenset({b"x-account", b"x-other"})) == ((b"X-B", b"9"),)
