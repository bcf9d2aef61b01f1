"""The address that a listener binds."""

import ipaddress
import re
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from config.text_value import TextValue

_SHAPE: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:/@\s]+)):(?P<port>[0-9]{1,5})")
_HOSTNAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_MAX_PORT: Final = 65_535
_LOCALHOST: Final = frozenset({"127.0.0.1", "::1"})
"""What `localhost` may resolve to."""


@dataclass(frozen=True, slots=True)
class Address(TextValue):
    """A host (an IP address without brackets, or a name) and a TCP port; port 0 lets the system choose."""

    KIND: ClassVar[str] = "address"
    EXAMPLE: ClassVar[str] = "127.0.0.1:8080"

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address that `text` spells, its host in canonical form. Raises ValueError."""
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise ValueError(
                f"must be a host and a port such as {cls.EXAMPLE}, [::1]:8080, or 0.0.0.0:8080 for every interface"
            )
        port = int(match["port"])
        if port > _MAX_PORT:
            raise ValueError(f"the port must be between 0 and {_MAX_PORT}, as in {cls.EXAMPLE}")
        return cls(_host(match["six"], match["host"]), port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine (or pod) can reach it. A name other than localhost is not trusted to be."""
        if self.host == "localhost":
            return True
        address = _ip(self.host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            return address.ipv4_mapped.is_loopback
        return address is not None and address.is_loopback

    def collides(self, other: "Address") -> bool:
        """Whether two listeners can't have both. `[::]` counts as every address, of both families."""
        if self.port == 0 or self.port != other.port:
            return False
        return _covers(self, other) or _covers(other, self)


def _covers(one: Address, other: Address) -> bool:
    if one.host in {other.host, "::"}:
        return True
    if one.host == "localhost":
        return other.host in _LOCALHOST
    return one.host == "0.0.0.0" and ":" not in other.host  # noqa: S104 - compared, not bound


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host(six: str | None, plain: str | None) -> str:
    if six is not None:
        try:
            return str(ipaddress.IPv6Address(six))
        except ValueError:
            raise ValueError("what stands in brackets must be an IPv6 address, as in [::1]:8080") from None
    host = (plain or "").lower()
    if re.fullmatch(r"[0-9.]+", host):
        address = _ip(host)
        if address is None:
            raise ValueError(f"the host must be an IPv4 address of four numbers, as in {Address.EXAMPLE}")
        return str(address)
    if not _HOSTNAME.fullmatch(host):
        raise ValueError("the host must be an address or a host name, as in localhost:8080")
    return host
