"""Addresses of listeners."""

import pytest

from config.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080"),
        ("[::1]:8080", "::1", 8080, "[::1]:8080"),
        ("[0:0::0:1]:1", "::1", 1, "[::1]:1"),
        ("localhost:0", "localhost", 0, "localhost:0"),
        ("Proxy.Internal:65535", "proxy.internal", 65535, "proxy.internal:65535"),
    ],
)
def test_an_address_is_read_and_printed(text: str, host: str, port: int, shown: str) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, str(address)) == (host, port, shown)


@pytest.mark.parametrize(
    "text",
    [
        "", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:65536", "127.0.0.1:x", "::1:8080",
        "[::1]", "[x]:1", "[1:2]:1", "256.0.0.1:80", "1.2.3:80", "-a:80", "a..b:80", "http://a:80", "a b:80", "ä:80",
        "127.0.0.1:٣",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=":80"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.0.1:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("[::ffff:10.0.0.1]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example.org:1", False),
    ],
)
def test_loopback(text: str, *, loopback: bool) -> None:
    assert Address.parse(text).is_loopback is loopback


@pytest.mark.parametrize(
    ("one", "two", "collide"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("0.0.0.0:1", "127.0.0.1:1", True),
        ("0.0.0.0:1", "[::1]:1", False),
        ("[::]:1", "[::1]:1", True),
        ("[::]:1", "127.0.0.1:1", True),
        ("localhost:1", "127.0.0.1:1", True),
        ("localhost:1", "[::1]:1", True),
        ("localhost:1", "10.0.0.1:1", False),
        ("0.0.0.0:1", "localhost:1", True),
    ],
)
def test_collisions_go_both_ways(one: str, two: str, *, collide: bool) -> None:
    left, right = Address.parse(one), Address.parse(two)
    assert left.collides(right) is collide
    assert right.collides(left) is collide
