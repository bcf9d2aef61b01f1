"""A proxy with its handshake API before services that the test can change, slow down and stop."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from proxy.demo.services import Services
from tests.integration.harness import Proxy, Response, running

NAMESPACE = UUID("6f1d3a0e-0d0b-5c5e-9d6b-7f0a5a4b1c11")
USER, BUSINESS = "ext-user-123", "ext-biz-456"


def internal_id(entity: str, resource: str = "user") -> str:
    """The id that every replica derives."""
    return str(uuid5(NAMESPACE, f"{resource}:{entity}"))


def user_item(entity: str, **members: Any) -> bytes:
    return json.dumps(
        {"id": entity, "name": f"Name of {entity}", "email": f"{entity}@example.org"} | members
    ).encode()


@dataclass
class Handshake:
    """The proxy, its services, and what a test does most often."""

    proxy: Proxy
    services: Services
    directory: Path
    sections: dict[str, Any] = field(default_factory=dict)

    async def call(self, method: str, target: str, document: object = None, *fields: str) -> Response:
        return await self.proxy.call(method, target, document, *fields)

    async def ok(self, method: str, target: str, document: object = None) -> Any:
        """What a call gives that has to go well."""
        response = await self.call(method, target, document)
        assert response.status in {200, 204}, response.body
        return response.json() if response.body else None

    async def login(self, user: str = USER, business: str = BUSINESS) -> Response:
        return await self.call("POST", "/v1/login", {"userId": user, "businessId": business})

    async def ensure(self, user: str = USER) -> Any:
        return await self.ok("POST", "/v1/users/ensure", {"userId": user})

    def tick(self, seconds: float) -> None:
        self.proxy.clock.tick(seconds)

    @asynccontextmanager
    async def restarted(self) -> AsyncIterator["Handshake"]:
        """Another run on the same store, once this one has stopped."""
        await self.proxy.app.stop()
        clock = self.proxy.clock.now
        async with running(self.services.url, self.directory, **self.sections) as proxy:
            proxy.clock.now = clock
            yield Handshake(proxy, self.services, self.directory, self.sections)


@asynccontextmanager
async def handshake(directory: Path, **sections: Any) -> AsyncIterator[Handshake]:
    """The API with the built-in resources, before services that know one user and one business of the constants."""
    services = Services()
    services.users.clear()
    services.businesses.clear()
    services.users[USER] = user_item(USER, phone="+977 1 5550100", kahaId="K-1")
    services.businesses[BUSINESS] = json.dumps({"id": BUSINESS, "name": "Acme", "address": "1 Road"}).encode()
    await services.start()
    try:
        async with running(services.url, directory, **sections) as proxy:
            yield Handshake(proxy, services, directory, sections)
    finally:
        await services.stop()


def held(resource: str = "user", **freshness: Any) -> dict[str, Any]:
    """The built-in resources with other freshness limits of one."""
    users = {
        "columns": {"name": "/name", "email": "/email", "phone": "/phone", "avatar": "/avatar", "kaha_id": "/kahaId"},
        "bulk": {
            "path": "/main/api/v3/users/bulk", "ids": "/userIds", "items": "/users", "count": "/count",
        },
        "id": "/id",
    }  # fmt: skip
    businesses = {
        "columns": {"name": "/name", "address": "/address", "avatar": "/avatar", "kaha_id": "/kahaId"},
        "storage": "memory",
        "bulk": {
            "path": "/main/api/v3/businesses/bulk", "ids": "/businessIds", "items": "/businesses", "count": "/count",
        },
        "id": "/id",
    }  # fmt: skip
    both: dict[str, Any] = {"user": users, "business": businesses}
    both[resource]["freshness"] = {"jitter": 0, **freshness}
    return both


async def together(*calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls))
