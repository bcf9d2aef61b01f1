"""The real process under everything that can go wrong: its output, answers, metrics, spans and files name nobody."""

import asyncio
import gzip
import json
import os
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.process import PATIENCE, Process, serving
from tests.integration.harness import Response, ScriptedUpstream
from tests.integration.otlp import Receiver, receiving
from tests.persons import events, talk
from tests.persons.planted import (
    BUSINESS,
    DEPARTMENT,
    HANDSHAKE,
    PERSONS,
    SECRETS,
    USER,
    Owner,
    write_secrets,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]
RESOURCES = """{
  user: {id: /id, columns: {name: /name, email: /email, phone: /phone, avatar: /avatar, kaha_id: /kahaId},
         sharing: %s, source_version: /version, single: {path: "/users/{id}"},
         bulk: {path: /main/api/v3/users/bulk, ids: /userIds, items: /users, count: /count}},
  business: {id: /id, columns: {name: /name, address: /address, avatar: /avatar, kaha_id: /kahaId},
         bulk: {path: /main/api/v3/businesses/bulk, ids: /businessIds, items: /businesses, count: /count}},
}"""


@dataclass
class World:
    """The process, the owner that it asks, who receives its spans, and where its files are."""

    proxy: Process
    owner: Owner
    receiver: Receiver
    directory: Path

    @property
    def log(self) -> bytes:
        return (self.directory / "log").read_bytes()

    def events(self) -> set[str]:
        return {json.loads(line)["event"] for line in self.log.splitlines()}


@asynccontextmanager
async def world(
    directory: Path, owner: Owner, *, sharing: str = "anonymous", **environment: str
) -> AsyncIterator[World]:
    """The process with every secret that there is, behind an egress proxy that is the owner itself."""
    secrets = write_secrets(directory / "secrets")
    if sharing != "per_credential":
        del secrets["HANDSHAKE_SHARING__KEY_FILE"]  # of no use there, and maybe refused
    store = directory / "store"
    store.mkdir(exist_ok=True)
    async with ScriptedUpstream(owner.script) as upstream, receiving() as receiver:
        password = SECRETS.values["egress password"]
        settings = {
            "HANDSHAKE_UPSTREAMS__MAIN__PROXY": upstream.url.replace("//", f"//me:{password}@"),
            "HANDSHAKE_UPSTREAMS__MAIN__TIMEOUT": "300ms",
            "HANDSHAKE_UPSTREAMS__MAIN__RETRIES": "0",
            "HANDSHAKE_UPSTREAMS__MAIN__CIRCUIT": "{failures: 100000, window: 10s, open_for: 5s}",
            "HANDSHAKE_RESOURCES": RESOURCES % sharing,
            "HANDSHAKE_WEBHOOKS__LISTEN": "127.0.0.1:0",
            "HANDSHAKE_TRACING__ENDPOINT": receiver.url,
            "HANDSHAKE_TRACING__SAMPLE_RATIO": "1.0",
            **secrets,
            **environment,
        }
        async with serving("http://users.invalid:8000", store, **settings) as proxy:
            yield World(proxy, owner, receiver, store)


def assert_says_nothing(answers: list[Response]) -> None:
    """No answer has a secret, and none of those that the proxy makes itself has a person."""
    for answer in answers:
        whole = answer.head + answer.body
        assert not SECRETS.found_in(whole), answer
        if b"problem+json" in answer.head:
            assert not PERSONS.found_in(whole), answer


async def everything(there: World) -> int:
    """Say all that there is to say while the owner answers in each of its ways; how many failures came back."""
    failures = 0
    for mode in Owner.MODES:
        there.owner.mode = mode
        answers = [*await talk.transparent(there.proxy), *await talk.handshake(there.proxy)]
        assert_says_nothing(answers)
        failures += sum(b"problem+json" in answer.head for answer in answers)
    await talk.gone_before_the_answer(there.proxy)
    for came in await talk.malformed(there.proxy):
        # What the owner answers to those that were passed on is another matter.
        assert not SECRETS.found_in(came), came
        assert b"200 OK" in came or not PERSONS.found_in(came), came
    return failures


async def outcomes(there: World) -> set[str]:
    """Of the events that were sent so far."""
    async with there.proxy.client("ops") as ops:
        text = (await ops.get("/metrics")).body.decode()
    return set(re.findall(r'^handshake_proxy_webhook_events_total\{outcome="(\w+)"', text, re.MULTILINE))


async def assert_unseen(there: World) -> None:
    """Nobody is in what operators see: log, metrics, spans."""
    shown = await talk.measured(there.proxy)
    assert b"handshake_proxy_requests_total" in shown[0].body
    assert_says_nothing(shown)
    assert not PERSONS.found_in(b"".join(answer.head + answer.body for answer in shown))


def assert_log_and_spans(there: World, *, least: int = 100) -> None:
    """Nobody is in the log, nor in the spans, of which there are more than so many."""
    spans = [
        gzip.decompress(seen.body) if seen.body.startswith(b"\x1f\x8b") else seen.body
        for seen in there.receiver.requests
    ]
    assert len(there.receiver.spans) > least
    for text in (there.log, *spans):
        assert not PERSONS.found_in(text)
        assert not SECRETS.found_in(text)


@pytest.mark.parametrize(
    ("level", "style", "sharing", "development"),
    [
        ("debug", "json", "anonymous", ""),
        ("debug", "console", "per_credential", "1"),
        ("error", "json", "service", "1"),
    ],
)
async def test_the_process_names_nobody_whatever_goes_wrong(
    tmp_path: Path, level: str, style: str, sharing: str, development: str
) -> None:
    settings = {
        "HANDSHAKE_LOG__LEVEL": level,
        "HANDSHAKE_LOG__FORMAT": style,
        "PYTHONDEVMODE": development,
        "PYTHONWARNINGS": "default" if development else "",
    }
    async with world(tmp_path, Owner(), sharing=sharing, **settings) as there:
        assert await everything(there) > 50
        user = (await there.proxy.call("POST", "/v1/users/ensure", {"userId": USER}, HANDSHAKE)).json()
        local = {"departmentId": DEPARTMENT}
        assert (await there.proxy.call("PATCH", f"/v1/users/{user['id']}", local, HANDSHAKE)).status == 200
        assert_says_nothing(await events.tell(there.proxy, 2))
        await assert_unseen(there)
        # The database is broken under the running process.
        database = there.directory / "handshake.db"
        size = database.stat().st_size
        with database.open("r+b") as file:
            file.write(os.urandom(size))
        for _ in range(2):
            assert_says_nothing([*await talk.handshake(there.proxy), *await talk.transparent(there.proxy)])
            assert_says_nothing(await events.tell(there.proxy, 9))
        await assert_unseen(there)
        assert await there.proxy.terminate() == 0
        assert there.proxy.process.stdout is not None
        rest = await there.proxy.process.stdout.read()
        assert not PERSONS.found_in(rest) | SECRETS.found_in(rest)
        assert_log_and_spans(there)
        if (level, style) == ("debug", "json"):
            assert {"request", "credential_bypass", "stopped"} <= there.events()
            assert any(event.startswith("store_") for event in there.events())
        assert SECRETS.found_below(there.directory) == {}


async def test_events_name_nobody_whatever_becomes_of_them(tmp_path: Path) -> None:
    settings = {"HANDSHAKE_LOG__LEVEL": "debug", "HANDSHAKE_WEBHOOKS__MAX_RATE": "20"}
    async with world(tmp_path, Owner(), **settings) as there:
        assert (await there.proxy.call("POST", "/v1/users/ensure", {"userId": USER}, HANDSHAKE)).status == 200
        answers = await events.tell(there.proxy, 2)
        assert {answer.status for answer in answers} == {200, 204, 401, 404, 405, 413, 415, 422}
        taken = {"merged", "invalidated", "deleted", "unchanged", "repeated"}
        assert await outcomes(there) == taken | {"refused", "invalid"}
        while "limited" not in await outcomes(there):
            for more in await asyncio.gather(*(events.tell(there.proxy, 9) for _ in range(4))):
                answers += more
        with closing(sqlite3.connect(there.directory / "handshake.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            while "failed" not in await outcomes(there):
                answers.append(await events.send(there.proxy, events.patch(99)))
        assert_says_nothing(answers)
        assert not any(PERSONS.found_in(answer.head + answer.body) for answer in answers)
        await assert_unseen(there)
        assert await there.proxy.terminate() == 0
        assert_log_and_spans(there, least=len(answers))
        assert "request" in there.events()
        assert SECRETS.found_below(there.directory) == {}


async def test_persons_are_in_the_database_and_nowhere_else_and_gone_after_an_erasure(tmp_path: Path) -> None:
    async with world(tmp_path, Owner(), HANDSHAKE_LOG__LEVEL="debug") as there:
        login = {"userId": USER, "businessId": BUSINESS}
        both = (await there.proxy.call("POST", "/v1/login", login, HANDSHAKE)).json()
        local = {"departmentId": DEPARTMENT}
        await there.proxy.call("PATCH", f"/v1/users/{both['user']['id']}", local, HANDSHAKE)
        found = PERSONS.found_below(there.directory)
        assert set(found) <= {"handshake.db", "handshake.db-wal"}
        assert set.union(*found.values()) == {"user", "business", "email", "name", "phone", "department"}
        assert await there.proxy.terminate() == 0
    # As a crash of the disk would leave it: what was in the pages is still in the file that is set aside.
    database = tmp_path / "store" / "handshake.db"
    with database.open("r+b") as file:
        file.write(os.urandom(100))
    async with world(tmp_path, Owner(), HANDSHAKE_LOG__LEVEL="debug") as there:
        both = (await there.proxy.call("POST", "/v1/login", login, HANDSHAKE)).json()
        told = events.patch(2)
        assert (await events.send(there.proxy, told, events.fields(told, message="msg_2"))).status == 204
        assert await outcomes(there) == {"merged"}
        found = PERSONS.found_below(there.directory)
        aside = set(found) - {"handshake.db", "handshake.db-wal"}
        assert aside
        assert all(name.startswith("handshake.db") and "log" not in name for name in aside)
        assert all((there.directory / name).stat().st_mode & 0o777 == 0o600 for name in found)
        for kind in ("user", "business"):
            place = f"/v1/{'users' if kind == 'user' else 'businesses'}/{both[kind]['id']}"
            assert (await there.proxy.call("DELETE", place, None, HANDSHAKE)).status == 200
        assert PERSONS.found_below(there.directory) == {}
        assert await there.proxy.terminate() == 0
        assert PERSONS.found_below(there.directory) == {}
        assert SECRETS.found_below(there.directory) == {}


async def test_a_process_that_is_aborted_shows_places_and_no_values(tmp_path: Path) -> None:
    async with world(tmp_path, Owner(), PYTHONFAULTHANDLER="1") as there:
        there.owner.mode = "hang"
        calls = [asyncio.create_task(talk.transparent(there.proxy)) for _ in range(3)]
        try:
            async with asyncio.timeout(PATIENCE):
                while there.owner.asked < 1:
                    await asyncio.sleep(0)
            there.proxy.process.send_signal(signal.SIGABRT)
            assert await there.proxy.process.wait() == -signal.SIGABRT
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        assert b"Fatal Python error: Aborted" in there.log
        assert not PERSONS.found_in(there.log) | SECRETS.found_in(there.log)
