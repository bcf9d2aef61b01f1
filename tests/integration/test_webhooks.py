"""Events over real sockets: what is signed by whom and when, and which of it gets as far as to be taken."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from proxy import wiring
from proxy.core.events import Event
from proxy.events import Outcome
from proxy.signatures import TOLERANCE, sign
from store.base import StoreError
from tests.integration.harness import Proxy, Response, running

BODY = json.dumps({"type": "user.updated", "id": "planted-id", "data": {"name": "Planted"}}).encode()


def secret(fill: bytes) -> str:
    return f"whsec_{base64.b64encode(fill * 32).decode()}"


OLD, NEW, STRANGE = secret(b"o"), secret(b"n"), secret(b"s")


@dataclass
class Taking:
    """Takes events in the place of what does something with them, and knows those that it had."""

    resources: frozenset[str] = frozenset({"user", "business"})
    taken: list[str] = field(default_factory=list)
    is_failing: bool = False
    is_closed: bool = False

    async def take(self, _event: Event, message_id: str) -> Outcome:
        if self.is_failing:
            raise StoreError("planted")
        self.taken.append(message_id)
        return "repeated" if self.taken.count(message_id) > 1 else "merged"

    def close(self) -> None:
        self.is_closed = True


@dataclass
class World:
    proxy: Proxy
    taking: Taking
    secrets: Path

    def signed(
        self, *secrets: str, message: str = "msg_1", away: float = 0.0, body: bytes = BODY
    ) -> list[str]:
        """Field lines of a message that is sent `away` seconds from now, signed with each of these."""
        at = int(self.proxy.clock.now + away)
        each = [sign(one, message, at, body.decode()) for one in secrets]
        fields = each[0] | {"webhook-signature": " ".join(one["webhook-signature"] for one in each)}
        return [f"{name}: {value}" for name, value in fields.items()]

    async def send(self, lines: list[str], body: bytes = BODY) -> Response:
        async with self.proxy.client("webhooks") as client:
            return await client.post("/v1/events", body, *lines)

    def events(self, **labels: str) -> float:
        return self.proxy.metric("webhook_events_total", **labels)


@asynccontextmanager
async def listening(directory: Path, taking: Taking, **webhooks: Any) -> AsyncIterator[World]:
    file = directory / "secrets"
    if not file.exists():
        file.write_text(f"{OLD}\n")
    section = {"listen": "127.0.0.1:0", "secret_file": str(file), **webhooks}
    async with running("http://127.0.0.1:9", directory, webhooks=section) as proxy:
        yield World(proxy, taking, file)


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Taking:
    one = Taking()
    monkeypatch.setattr(wiring, "events", lambda *_: one)
    return one


@pytest.fixture
async def world(taking: Taking, tmp_path: Path) -> AsyncIterator[World]:
    async with listening(tmp_path, taking) as one:
        yield one


def is_refused(world: World, response: Response) -> None:
    """401, and nothing was done."""
    assert response.status == 401
    assert response.field("content-type") == "application/problem+json"
    assert world.taking.taken == []
    assert world.events(type="other", outcome="refused") == world.events() > 0


async def test_an_event_that_is_signed_is_taken_and_the_one_of_the_same_id_is_told_apart(
    world: World,
) -> None:
    lines = world.signed(OLD)
    first, second = await world.send(lines), await world.send(lines)
    assert (first.status, second.status) == (204, 200)
    assert (first.body, second.body) == (b"", b"")
    assert world.taking.taken == ["msg_1", "msg_1"]
    assert world.events(type="user.updated", outcome="merged") == 1
    assert world.events(type="user.updated", outcome="repeated") == 1


async def test_an_attempt_that_is_signed_anew_later_is_the_same_message(world: World) -> None:
    assert (await world.send(world.signed(OLD))).status == 204
    world.proxy.clock.tick(3600)
    assert (await world.send(world.signed(OLD))).status == 200


async def test_a_forged_event_is_refused(world: World) -> None:
    is_refused(world, await world.send(world.signed(STRANGE)))


async def test_an_event_without_signature_is_refused(world: World) -> None:
    is_refused(world, await world.send([]))


async def test_an_event_with_another_body_than_the_signed_one_is_refused(world: World) -> None:
    is_refused(world, await world.send(world.signed(OLD), BODY.replace(b"updated", b"deleted")))


async def test_an_event_under_another_id_than_the_signed_one_is_refused(world: World) -> None:
    lines = [line.replace("msg_1", "msg_2") for line in world.signed(OLD)]
    is_refused(world, await world.send(lines))


@pytest.mark.parametrize("away", [TOLERANCE + 1, -TOLERANCE - 1])
async def test_an_event_from_another_time_is_refused(world: World, away: int) -> None:
    is_refused(world, await world.send(world.signed(OLD, away=away)))


@pytest.mark.parametrize("away", [TOLERANCE, -TOLERANCE])
async def test_clocks_may_differ_by_five_minutes(world: World, away: int) -> None:
    assert (await world.send(world.signed(OLD, away=away))).status == 204


async def test_what_was_taken_is_refused_once_its_time_is_over(world: World) -> None:
    lines = world.signed(OLD)
    assert (await world.send(lines)).status == 204
    world.proxy.clock.tick(TOLERANCE + 1)
    assert (await world.send(lines)).status == 401
    assert world.taking.taken == ["msg_1"]


async def test_two_secrets_count_at_once_and_one_that_is_taken_away_counts_no_longer(world: World) -> None:
    assert (await world.send(world.signed(OLD))).status == 204
    assert (await world.send(world.signed(NEW))).status == 401
    world.secrets.write_text(f"# the one before: until all senders have the new one\n{OLD}\n{NEW}\n")
    assert [(await world.send(world.signed(one, message=one[-9:]))).status for one in (OLD, NEW)] == [
        204,
        204,
    ]
    world.secrets.write_text(f"{NEW}\n")
    assert (await world.send(world.signed(OLD, message="msg_2"))).status == 401
    assert (await world.send(world.signed(OLD, NEW, message="msg_3"))).status == 204
    assert "msg_2" not in world.taking.taken


async def test_no_secret_left_is_nothing_taken(world: World) -> None:
    world.secrets.write_text("hush\n")
    with structlog.testing.capture_logs() as lines:
        is_refused(world, await world.send(world.signed(OLD)))
        is_refused(world, await world.send(world.signed(OLD)))
    assert [line["event"] for line in lines] == ["webhook_secret_malformed", "webhook_secrets_missing"]
    assert "hush" not in str(lines)


async def test_what_is_signed_and_no_event_is_422(world: World) -> None:
    body = b'{"type":"user.updated"}'
    response = await world.send(world.signed(OLD, body=body), body)
    assert (response.status, [fault["pointer"] for fault in response.json()["errors"]]) == (422, ["#/id"])
    assert world.taking.taken == []


async def test_an_event_that_could_not_be_kept_may_come_again(world: World) -> None:
    world.taking.is_failing = True
    response = await world.send(world.signed(OLD))
    assert response.status == 503
    assert response.field("retry-after")
    world.taking.is_failing = False
    assert (await world.send(world.signed(OLD))).status == 204


async def test_two_hundred_at_once_are_taken_and_two_hundred_a_second_after_that(world: World) -> None:
    async def statuses(count: int) -> list[int]:
        async with world.proxy.client("webhooks") as client:
            return [
                (await client.post("/v1/events", BODY, *world.signed(OLD, message=f"m{n}"))).status
                for n in range(count)
            ]

    assert await statuses(201) == [204] * 200 + [429]
    world.proxy.clock.tick(0.5)
    assert await statuses(101) == [200] * 100 + [429]


async def test_what_nobody_has_signed_takes_nothing_of_the_rate(taking: Taking, tmp_path: Path) -> None:
    async with listening(tmp_path, taking, max_rate=1) as world:
        for _ in range(3):
            is_refused(world, await world.send(world.signed(STRANGE)))
        assert (await world.send(world.signed(OLD))).status == 204
        assert (await world.send(world.signed(OLD))).status == 429


async def test_requests_are_counted_under_one_route_and_no_line_names_anybody(world: World) -> None:
    with structlog.testing.capture_logs() as lines:
        world.taking.is_failing = True
        await world.send(world.signed(OLD))
        await world.send([])
        async with world.proxy.client("webhooks") as client:
            assert (await client.get("/planted-path")).status == 404
            assert (await client.request(b"nonsense\r\n\r\n")).status == 400
    for code in ("503", "401", "404", "400"):
        assert world.proxy.metric("requests_total", route="events", code=code, cache="error") == 1
    assert [(line["event"], line["route"], line["code"]) for line in lines] == [("request", "events", 503)]
    assert "lanted" not in str(lines)
    assert "msg_1" not in str(lines)


async def test_the_listener_is_there_only_if_it_is_configured(tmp_path: Path) -> None:
    async with running("http://127.0.0.1:9", tmp_path) as proxy:
        assert "webhooks" not in proxy.addresses


async def test_it_is_drained_with_the_others_and_then_closed(taking: Taking, tmp_path: Path) -> None:
    async with listening(tmp_path, taking) as world:
        async with world.proxy.client("webhooks") as client:
            assert (await client.post("/v1/events", BODY, *world.signed(OLD))).status == 204
            await world.proxy.app.stop()
            assert await client.ended() == b""
        assert taking.is_closed
        with pytest.raises(ConnectionRefusedError):
            await world.send(world.signed(OLD))
