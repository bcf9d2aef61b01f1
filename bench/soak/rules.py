"""The configuration that a soak runs with, and what it allows an answer to be.

Lifetimes are short, so that everything that happens in months happens in minutes, and memory is small, so that it
evicts all the time. Seconds everywhere.
"""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1d3a0e-0d0b-5c5e-9d6b-7f0a5a4b1c11")
TIMEOUT, CONNECT_TIMEOUT, REVALIDATE_TIMEOUT, OPEN_FOR = 2.0, 1.0, 0.4, 1.0
HEADER_TIMEOUT, IDLE_TIMEOUT, DRAIN_TIMEOUT = 2.0, 5.0, 5.0
JITTER = 0.1
SLACK = 1.5
"""What a machine with other work may take longer than it should: for a moment nobody runs at all."""
LONGEST_BACKOFF = 30.0
"""For so long after a failure the upstream may be left alone where there is a copy (docs/policy.md)."""
AFTERMATH = TIMEOUT + OPEN_FOR + 2 * SLACK
"""Until a fault that is over is forgotten by calls that began in it, and by the circuit."""
STORE_AFTERMATH = 5.0
"""The same for the database: what waits for a lock is tried again."""
MEMORY_BYTES = 2 * 2**20


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource: how it is named on the wire, and how long what is held of it may be used."""

    name: str
    plural: str
    ttl: float
    stale_while_revalidate: float
    stale_if_error: float
    negative_ttl: float
    columns: tuple[tuple[str, str], ...]
    """Column and member of the item."""
    durable: bool = True
    """It is in the database, and not in memory alone."""

    @property
    def bulk(self) -> str:
        """Path of the bulk call."""
        return f"/main/api/v3/{self.plural}/bulk"

    @property
    def ids(self) -> str:
        """Member of the bulk request, and of the handshake API's batch."""
        return f"{self.name}Ids"

    @property
    def id_member(self) -> str:
        """Member of the handshake API."""
        return f"{self.name}Id"

    def single(self, entity: str) -> str:
        """Path of one entity."""
        return f"/main/api/v3/{self.plural}/{entity}"

    def internal(self, entity: str) -> str:
        """The internal id, which never changes."""
        return str(uuid5(NAMESPACE, f"{self.name}:{entity}"))

    def section(self) -> dict[str, Any]:
        """The resource in the configuration."""
        return {
            "storage": "database" if self.durable else "memory",
            "id": "/id",
            "columns": {column: f"/{member}" for column, member in self.columns},
            "freshness": {
                "ttl": self.ttl,
                "stale_while_revalidate": self.stale_while_revalidate,
                "stale_if_error": self.stale_if_error,
                "negative_ttl": self.negative_ttl,
                "revalidate_timeout": REVALIDATE_TIMEOUT,
                "jitter": JITTER,
            },
            "bulk": {
                "path": self.bulk,
                "ids": f"/{self.ids}",
                "items": f"/{self.plural}",
                "count": "/count",
            },
            "single": {"path": self.single("{id}")},
        }


USER = Kind(
    "user", "users", 4.0, 6.0, 90.0, 1.0,
    (("name", "name"), ("email", "email"), ("phone", "phone"), ("avatar", "avatar"), ("kaha_id", "kahaId")),
)  # fmt: skip
BUSINESS = Kind(
    "business", "businesses", 3.0, 4.0, 60.0, 1.0,
    (("name", "name"), ("address", "address"), ("avatar", "avatar"), ("kaha_id", "kahaId")),
    durable=False,
)  # fmt: skip
KINDS = (USER, BUSINESS)


def settings(store_bytes: int) -> dict[str, str]:
    """The part of the environment that makes the proxy behave so."""
    return {
        "HANDSHAKE_RESOURCES": json.dumps({kind.name: kind.section() for kind in KINDS}),
        "HANDSHAKE_UPSTREAMS__MAIN__TIMEOUT": str(TIMEOUT),
        "HANDSHAKE_UPSTREAMS__MAIN__CONNECT_TIMEOUT": str(CONNECT_TIMEOUT),
        "HANDSHAKE_UPSTREAMS__MAIN__MAX_CONNECTIONS": "40",
        "HANDSHAKE_UPSTREAMS__MAIN__CIRCUIT__OPEN_FOR": str(OPEN_FOR),
        "HANDSHAKE_LIMITS__HEADER_TIMEOUT": str(HEADER_TIMEOUT),
        "HANDSHAKE_LIMITS__IDLE_TIMEOUT": str(IDLE_TIMEOUT),
        "HANDSHAKE_LIMITS__DRAIN_TIMEOUT": str(DRAIN_TIMEOUT),
        "HANDSHAKE_MEMORY__MAX_BYTES": str(MEMORY_BYTES),
        "HANDSHAKE_STORE__MAX_BYTES": str(store_bytes),
    }
