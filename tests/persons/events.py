"""Everything that may be sent to the webhook listener, right and wrong, with persons and secrets in all of it."""

import itertools
import json
import time
from collections.abc import Iterator
from urllib.parse import quote

from proxy.signatures import TOLERANCE
from tests.integration.harness import Reachable, Response
from tests.integration.signed import SECRET, signed
from tests.persons.planted import (
    AUTHORIZATION,
    BUSINESS,
    COOKIE,
    EMAIL,
    MESSAGE,
    NAME,
    PHONE,
    QUERY,
    USER,
    WEBHOOKS,
)

Sent = tuple[bytes, list[str]]
"""A body, and the field lines that it is sent with."""

EVENTS = "/v1/events"
_messages = itertools.count()


def event(**members: object) -> bytes:
    """The body of one about the user, with these members laid over."""
    return json.dumps({"type": "user.updated", "id": USER, **members}).encode()


def patch(version: int) -> bytes:
    """One that makes the next version, with persons in what has changed."""
    return event(version=version, data={"version": version, "name": NAME, "phone": PHONE})


def fields(body: bytes, *, away: float = 0.0, secret: str = WEBHOOKS, message: str = "") -> list[str]:
    """What signs it, `away` seconds from now."""
    return signed(body, time.time() + away, secret=secret, message=message or f"{MESSAGE}-{next(_messages)}")


def _taken(version: int) -> Iterator[Sent]:
    """Merged, repeated, unchanged, invalidated without and with a gap, deleted."""
    next_one = patch(version)
    once = fields(next_one)
    yield from ((next_one, once), (next_one, once))
    others = (
        next_one,
        event(),
        patch(version + 5),
        event(type="user.deleted", version=version + 6),
        event(type="business.updated", id=BUSINESS, data={"name": NAME}),
    )
    yield from ((body, fields(body)) for body in others)


def _refused(body: bytes) -> Iterator[Sent]:
    yield body, fields(body, secret=SECRET)
    yield body, fields(body, away=-TOLERANCE - 1)
    yield body, [line.replace(MESSAGE, EMAIL.split("@")[1]) for line in fields(body)]
    yield body, [AUTHORIZATION, COOKIE, f"X-User: {USER}"]
    yield body, [f"webhook-id: {USER}", f"webhook-timestamp: {PHONE}", f"webhook-signature: {EMAIL}"]
    yield body, [f"webhook-id: {EMAIL}", "webhook-timestamp: 1", f"webhook-signature: v1,{WEBHOOKS}"]
    yield b"\xff" + body, fields(body)


def _malformed(version: int) -> Iterator[Sent]:
    good = patch(version)
    bodies = (
        event(version=version, data={"id": EMAIL}),
        event(data=NAME),
        event(type=f"{EMAIL}.updated"),
        event(type=[USER]),
        event(id={NAME: USER}),
        event(id=USER * 100),
        event(version=[PHONE]),
        json.dumps([USER, EMAIL]).encode(),
        good[:-1],
        good + EMAIL.encode(),
        good[:-1] + f',"id":"{BUSINESS}"}}'.encode(),
    )
    yield from ((body, fields(body)) for body in bodies)
    yield good, [*fields(good), f"Content-Type: text/{QUERY}"]


async def send(proxy: Reachable, body: bytes, lines: list[str] | None = None) -> Response:
    """One, on a connection of its own; without field lines it is signed as it has to be."""
    async with proxy.client("webhooks") as client:
        return await client.post(EVENTS, body, *(fields(body) if lines is None else lines))


async def tell(proxy: Reachable, version: int) -> list[Response]:
    """All of them. That version is the next one of the user's."""
    good = patch(version)
    sent = (*_malformed(version), *_refused(good), *_taken(version))
    answers = [await send(proxy, body, lines) for body, lines in sent]
    for method, target, length in (
        ("POST", f"{EVENTS}?{QUERY}={quote(EMAIL)}", len(good)),
        ("PUT", EVENTS, len(good)),
        ("POST", f"/{quote(USER, safe='')}", len(good)),
        ("POST", EVENTS, 2**21),
    ):
        lines = [*fields(good), "Content-Type: application/json", f"Content-Length: {length}"]
        async with proxy.client("webhooks") as client:
            answers.append(
                await client.send_body(method, target, good, "".join(f"{one}\r\n" for one in lines))
            )
    return answers
