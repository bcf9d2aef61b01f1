"""Users and businesses of usual size, as many as a measurement needs."""

import json
from pathlib import Path

from proxy.demo.services import Services


def item(entity: str) -> bytes:
    """A user of some 170 bytes, or a business."""
    member = {
        "id": entity,
        "name": f"Name of {entity}",
        "email": f"{entity}@example.org",
        "phone": "+977 1 5550100",
        "avatar": f"https://img.example.org/{entity}.png",
        "kahaId": f"K-{entity}",
    }
    return json.dumps(member).encode()


def populate(services: Services, users: int, businesses: int) -> None:
    """Have the services know u0, u1, … and b0, b1, …, and nobody else."""
    services.users.clear()
    services.businesses.clear()
    services.users |= {f"u{number}": item(f"u{number}") for number in range(users)}
    services.businesses |= {f"b{number}": item(f"b{number}") for number in range(businesses)}


def write_lines(path: Path, count: int) -> None:
    """So many users as `handshake-proxy import` takes them."""
    with path.open("w") as file:
        for number in range(count):
            entity = f"u{number}"
            file.write(f'{{"resource":"user","externalId":"{entity}","item":{item(entity).decode()}}}\n')
