"""Who may call, where a socket of the tests can't show it."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from config.address import Address
from config.secret_file import SecretFile
from proxy.messages import Request
from proxy.web.handshake.guard import NO_TOKEN, WRONG_HOST, WRONG_ORIGIN, Guard


@dataclass
class Sent:
    """What the guard looks at of a request."""

    fields: list[tuple[str, str]]
    target: bytes = b"/v1/login"
    version: tuple[int, int] = (1, 1)
    local_host: str = "10.1.2.3"

    def values(self, name: str) -> list[str]:
        return [value for its_name, value in self.fields if its_name.lower() == name.lower()]


def sent(*fields: tuple[str, str], **rest: object) -> Request:
    return cast("Request", Sent(list(fields), **rest))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listen", "hosts", "others"),
    [
        ("0.0.0.0:8081", ["10.1.2.3", "10.1.2.3:8081", "localhost", "[::1]:1"], ["10.1.2.4", "pod.example"]),
        ("handshake.svc:8081", ["handshake.svc", "HANDSHAKE.svc:1"], ["handshake.svc.evil.example", "svc"]),
        (
            "[fd00::1]:8081",
            ["[fd00::1]", "[FD00::1]:8081", "127.0.0.1"],
            ["[fd00::2]", "fd00::1", "[fd00::1"],
        ),
    ],
)
def test_a_host_is_the_listener_s_the_connection_s_or_loopback(
    listen: str, hosts: list[str], others: list[str]
) -> None:
    guard = Guard(Address.parse(listen), None)
    for _ in range(2):  # what was found out once holds
        for host in hosts:
            assert guard.refusal(sent(("Host", host))) is None, host
        for host in [*others, "", "a b", "user@localhost", "localhost/", "localhost:x"]:
            assert guard.refusal(sent(("hOST", host))) is WRONG_HOST, host
            assert guard.refusal(sent(("Host", hosts[0]), ("Host", host))) is WRONG_HOST, host


def test_the_address_that_was_reached_counts_for_that_connection_alone() -> None:
    guard = Guard(Address.parse("0.0.0.0:8081"), None)
    assert guard.refusal(sent(("Host", "10.1.2.3"))) is None
    assert guard.refusal(sent(("Host", "10.1.2.3"), local_host="10.9.9.9")) is WRONG_HOST


def test_any_number_of_names_may_be_tried() -> None:
    guard = Guard(Address.parse("127.0.0.1:8081"), None)
    for port in range(200):
        assert guard.refusal(sent(("Host", f"localhost:{port}"))) is None
        assert guard.refusal(sent(("Host", f"evil{port}.example"))) is WRONG_HOST


def test_only_http_1_0_may_do_without_a_host() -> None:
    guard = Guard(Address.parse("127.0.0.1:8081"), None)
    assert guard.refusal(sent(version=(1, 0))) is None
    assert guard.refusal(sent()) is WRONG_HOST
    absolute = {"target": b"http://evil.example/v1/login", "version": (1, 0)}
    assert guard.refusal(sent(**absolute)) is WRONG_HOST
    assert guard.refusal(sent(("Host", "localhost"), **absolute)) is WRONG_HOST


def test_every_origin_counts() -> None:
    guard = Guard(Address.parse("127.0.0.1:8081"), None)
    host, own = ("Host", "localhost:8081"), ("Origin", "http://localhost:8081")
    assert guard.refusal(sent(host, own)) is None
    for other in (
        "null",
        "",
        "localhost",
        "http://evil.example",
        "http://localhost@evil.example",
        "http://localhost:8081/x",
        "http://localhost:3000",
        "ftp://localhost:8081",
    ):
        assert guard.refusal(sent(host, own, ("origin", other))) is WRONG_ORIGIN, other


def test_a_token_may_have_any_bytes_and_is_wrong_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("right\n")
    guard = Guard(Address.parse("127.0.0.1:8081"), SecretFile(file, one_line=True))
    host = ("Host", "localhost")
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        "Bearer \xff",
        "Bearer right\x00",
        "Bearerright",
        "Bearer  x right",
    ):
        assert guard.refusal(sent(host, ("Authorization", wrong))) is NO_TOKEN, wrong
    assert guard.refusal(sent(host, ("AUTHORIZATION", "bEARER right"))) is None
