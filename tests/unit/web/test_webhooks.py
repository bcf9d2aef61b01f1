"""The webhook listener, before something that takes events as the test says."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proxy.core.budget import Budget
from proxy.core.events import Event, Invalid
from proxy.core.problem import Fault
from proxy.core.rate import Rate
from proxy.events import Outcome
from proxy.log import Refs
from proxy.metrics import Metrics
from proxy.signatures import TOLERANCE, Verifier, sign
from proxy.web.json_body import BODY_BYTES
from proxy.web.observer import Observer
from proxy.web.webhooks import WebhookRouter
from store.base import StoreError
from tests.integration.harness import metric
from tests.unit.served import Client, Response, Served, serving

NOW = 1_800_000_000
RATE = 3
UPDATED = b'{"type":"user.updated","id":"planted-id","data":{"name":"Planted"}}'
DELETED = b'{"type":"business.deleted","id":"b1"}'


def secret(fill: bytes) -> str:
    return f"whsec_{base64.b64encode(fill * 32).decode()}"


OURS, THEIRS = secret(b"a"), secret(b"b")


@dataclass
class Taking:
    """What takes events: it notes them, and ends as it is told to."""

    ends: Outcome | Exception = "merged"
    resources: frozenset[str] = frozenset({"user", "business"})
    taken: list[tuple[str, str, str]] = field(default_factory=list)

    async def take(self, event: Event, message_id: str) -> Outcome:
        self.taken.append((f"{event.resource}.{event.kind}", event.id, message_id))
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends


@dataclass
class World:
    """The listener, and what it is given."""

    served: Served
    taking: Taking
    metrics: Metrics
    now: list[float]

    async def send(
        self, body: bytes, *lines: str, by: str = OURS, at: int = NOW, message: str = "msg_1"
    ) -> Response:
        """What a sender gets; `lines` are further fields."""
        signed = sign(by, message, at, body.decode(errors="replace"))
        return await self.post(body, *(f"{name}: {value}" for name, value in signed.items()), *lines)

    async def post(self, body: bytes, *lines: str, start: str = "POST /v1/events") -> Response:
        fields = [f"Content-Length: {len(body)}", *lines]
        if not any(line.startswith("Content-Type") for line in lines):
            fields.append("Content-Type: application/json")
        return await self.request(f"{start} HTTP/1.1", *fields, body=body)

    async def request(self, start: str, *lines: str, body: bytes = b"") -> Response:
        head = "".join(f"{line}\r\n" for line in (start, "Host: a", *lines))
        return await self.served.request(head.encode() + b"\r\n" + body)

    def events(self, **labels: str) -> float:
        return metric(self.metrics, "webhook_events_total", **labels)


@asynccontextmanager
async def listening(directory: Path) -> AsyncIterator[World]:
    file = directory / "secrets"
    file.write_text(OURS)
    taking, metrics, now = Taking(), Metrics(), [float(NOW)]

    def clock() -> float:
        return now[0]

    observer = Observer(metrics, Refs(b"k"), buffered=Budget(0), level="info")
    router = WebhookRouter(
        taking, Verifier(file, clock), Rate(RATE), observer, metrics, clock=clock, monotonic=clock
    )
    async with serving(router) as served:
        yield World(served, taking, metrics, now)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with listening(tmp_path) as one:
        yield one


def is_problem(response: Response, status: int) -> Any:
    """The problem details of a failure, which quote nothing of what was sent."""
    assert response.status == status
    assert response.fields[b"Content-Type"] == b"application/problem+json"
    assert b"lanted" not in response.body
    assert b"msg_" not in response.body
    assert b"whsec" not in response.body
    return json.loads(response.body)


@pytest.mark.parametrize("outcome", ["merged", "invalidated", "deleted", "unchanged"])
async def test_what_was_done_is_204(world: World, outcome: Outcome) -> None:
    world.taking.ends = outcome
    response = await world.send(UPDATED)
    assert (response.status, response.body) == (204, b"")
    assert b"Date" in response.fields
    assert world.taking.taken == [("user.updated", "planted-id", "msg_1")]
    assert world.events(type="user.updated", outcome=outcome) == world.events() == 1
    assert (
        metric(world.metrics, "requests_total", route="events", method="POST", code="204", cache="none") == 1
    )


async def test_what_was_done_before_is_200_without_a_body(world: World) -> None:
    world.taking.ends = "repeated"
    response = await world.send(DELETED)
    assert (response.status, response.fields[b"Content-Length"]) == (200, b"0")
    assert world.events(type="business.deleted", outcome="repeated") == world.events() == 1


async def test_a_connection_takes_one_event_after_the_other(world: World) -> None:
    client: Client = await world.served.connect()
    for number in range(2):
        signed = sign(OURS, f"msg_{number}", NOW, DELETED.decode())
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        head = f"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {len(DELETED)}\r\n{lines}\r\n"
        assert (await client.request(head.encode() + DELETED)).status == 204
    assert len(world.taking.taken) == 2


@pytest.mark.parametrize(
    ("sending", "told"),
    [
        (lambda world: world.post(UPDATED), "are needed"),
        (lambda world: world.send(UPDATED, "webhook-id: msg_2"), "not what the standard says"),
        (lambda world: world.send(UPDATED, at=NOW - TOLERANCE - 1), "five minutes"),
        (lambda world: world.send(UPDATED, at=NOW + TOLERANCE + 1), "five minutes"),
        (lambda world: world.send(UPDATED, by=THEIRS), "none of the secrets"),
        (lambda world: world.send(b"\xff"), "none of the secrets"),
    ],
)
async def test_what_nobody_of_ours_has_signed_now_is_401_and_not_looked_into(
    world: World, sending: Callable[[World], Any], told: str
) -> None:
    for _ in range(RATE + 1):  # nor does it count
        assert told in is_problem(await sending(world), 401)["detail"]
    assert world.taking.taken == []
    assert world.events(type="other", outcome="refused") == world.events() == RATE + 1
    assert (await world.send(UPDATED)).status == 204


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b'{"type":"user.updated"}', b'{"type":"pet.updated","id":"planted-id"}'],
)
async def test_what_is_no_event_is_422_and_says_what_to_change(world: World, body: bytes) -> None:
    problem = is_problem(await world.send(body), 422)
    assert problem["errors"]
    assert world.taking.taken == []
    assert world.events(type="other", outcome="invalid") == world.events() == 1


async def test_data_that_does_not_fit_is_422(world: World) -> None:
    world.taking.ends = Invalid(Fault("#/data", "must have the id of the event"))
    problem = is_problem(await world.send(UPDATED), 422)
    assert problem["errors"] == [{"pointer": "#/data", "detail": "must have the id of the event"}]
    assert problem["detail"] == "data must have the id of the event."
    assert world.events(type="user.updated", outcome="invalid") == world.events() == 1


async def test_what_could_not_be_made_durable_is_503_and_may_come_again(world: World) -> None:
    world.taking.ends = StoreError("hush")
    response = await world.send(UPDATED)
    assert b"hush" not in is_problem(response, 503)["detail"].encode()
    assert int(response.fields[b"Retry-After"]) > 0
    world.taking.ends = "merged"
    assert (await world.send(UPDATED)).status == 204
    assert world.events(type="user.updated", outcome="failed") == 1


async def test_a_defect_is_500_and_counts_as_a_failure(world: World) -> None:
    world.taking.ends = RuntimeError("planted")
    is_problem(await world.send(UPDATED), 500)
    assert world.events(type="user.updated", outcome="failed") == world.events() == 1


async def test_beyond_the_rate_it_is_429_and_says_when_to_come_again(world: World) -> None:
    assert [(await world.send(UPDATED)).status for _ in range(RATE)] == [204] * RATE
    response = await world.send(UPDATED)
    is_problem(response, 429)
    assert response.fields[b"Retry-After"] == b"1"
    assert len(world.taking.taken) == RATE
    assert world.events(type="other", outcome="limited") == 1
    world.now[0] += 1
    assert (await world.send(UPDATED)).status == 204


@pytest.mark.parametrize(
    "line",
    ["Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "Content-Encoding: gzip"],
)
async def test_another_content_type_is_415(world: World, line: str) -> None:
    is_problem(await world.send(UPDATED, line), 415)
    assert world.taking.taken == []
    assert world.events(type="other", outcome="invalid") == world.events() == 1


async def test_a_body_beyond_the_bound_is_413_declared_or_not(world: World) -> None:
    is_problem(await world.request("POST /v1/events HTTP/1.1", f"Content-Length: {BODY_BYTES + 1}"), 413)
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (BODY_BYTES + 1, b"x" * (BODY_BYTES + 1))
    is_problem(await world.request("POST /v1/events HTTP/1.1", "Transfer-Encoding: chunked", body=chunk), 413)
    assert world.events(type="other", outcome="invalid") == world.events() == 2


async def test_the_largest_body_is_taken(world: World) -> None:
    frame = b'{"type":"user.updated","id":"u","data":{"name":"%b"}}'
    body = frame % (b"x" * (BODY_BYTES - len(frame) + 2))
    assert len(body) == BODY_BYTES
    assert (await world.send(body)).status == 204


@pytest.mark.parametrize("target", ["/", "/v1/event", "/v1/events/", "/v1/events/planted", "/metrics"])
async def test_there_is_nothing_else(world: World, target: str) -> None:
    is_problem(await world.post(UPDATED, start=f"POST {target}"), 404)
    assert world.events() == 0
    assert metric(world.metrics, "requests_total", route="events", code="404") == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "CONNECT"])
async def test_another_method_is_405_and_is_told_which(world: World, method: str) -> None:
    response = await world.request(f"{method} /v1/events HTTP/1.1")
    is_problem(response, 405)
    assert response.fields[b"Allow"] == b"POST"
    assert world.events() == 0


async def test_what_can_be_framed_in_two_ways_is_refused(world: World) -> None:
    is_problem(await world.request("POST /v1/events HTTP/1.1", "Transfer-Encoding: gzip, chunked"), 501)
    assert world.events() == 0


async def test_who_sends_slowly_takes_room_from_the_others_of_this_listener_alone(world: World) -> None:
    signed = sign(OURS, "msg_1", NOW, UPDATED.decode())
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    head = f"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n{lines}\r\n".encode()
    slow = [await world.served.connect() for _ in range(17)]
    answers = [asyncio.create_task(client.head()) for client in slow]
    for client in slow:
        await client.send(head + b"x" * (BODY_BYTES - 1))
    done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    assert {answer.result().status for answer in done} == {503}
    assert len(waiting) >= 15
    assert world.events(type="other", outcome="failed") == len(done)
    for task in waiting:
        task.cancel()
    assert (await world.send(UPDATED)).status == 204
