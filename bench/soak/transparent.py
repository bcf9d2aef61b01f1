"""Requests on the transparent listener, each judged."""

import hashlib
import json
from dataclasses import replace
from time import monotonic

from bench.soak.client import Request
from bench.soak.rules import USER, Kind
from bench.soak.scene import Asker
from bench.soak.truth import etag

Fields = tuple[tuple[str, str], ...]
_JSON: Fields = (("Content-Type", "application/json"),)
_SMALL, _LARGE = 2_000, 400_000


async def bulk(asker: Asker) -> None:
    """A bulk read, of one id mostly, sometimes of a hundred."""
    crowd = asker.scene.crowd(asker.rng)
    await read(asker, crowd.kind, crowd.some(asker.rng, asker.rng.choice((1, 1, 1, 1, 1, 2, 3, 5, 20, 100))))


async def read(asker: Asker, kind: Kind, ids: list[str]) -> None:
    """A bulk read of these, in odd spelling."""
    rng = asker.rng
    spaces = rng.choice(((",", ":"), (", ", ": "), (" , ", " :\n ")))
    body = json.dumps({kind.ids: ids}, separators=spaces).encode()
    fields = rng.choice((_JSON, _JSON, (*_JSON, ("Cache-Control", "no-cache")), (("Accept", "*/*"),)))
    request = Request("POST", kind.bulk, fields, body, rng.choice((0, 0, 0, 3)))
    answer, ticket = await asker.ticketed("bulk", request)
    arrived = asker.arrived(ticket)
    if answer is not None:
        asker.scene.judge.bulk(kind, ids, answer, arrived)


async def bypass(asker: Asker) -> None:
    """A bulk read that is not to be cached: an id twice, a further member, a query, a credential."""
    rng = asker.rng
    crowd = asker.scene.crowd(rng)
    kind, ids = crowd.kind, crowd.some(rng, 4)
    target, document = kind.bulk, {kind.ids: ids}
    fields: Fields = _JSON
    match rng.randrange(4):
        case 0:
            ids = [*ids, ids[0]]
            document = {kind.ids: ids}
        case 1:
            document = {kind.ids: ids, "fields": ["name"]}
        case 2:
            target += f"?page={rng.randrange(3)}"
        case _:
            fields = (*_JSON, ("Authorization", f"Bearer soak-token-{rng.randrange(5)}"))
    answer, ticket = await asker.ticketed(
        "bypass", Request("POST", target, fields, json.dumps(document).encode())
    )
    arrived = asker.arrived(ticket)
    if answer is None:
        return
    if answer.status == 200 and arrived != 1:
        asker.scene.judge.wrong("bypass", f"passed on {arrived} times", "", answer)
    if len(set(ids)) == len(ids):
        asker.scene.judge.bulk(kind, ids, answer, arrived, past=True)
    elif answer.status != 200:
        asker.scene.judge.failed("bypass", kind, (), answer)


async def single(asker: Asker) -> None:
    """A GET or HEAD of one entity, with and without conditions."""
    rng = asker.rng
    crowd = asker.scene.crowd(rng)
    kind, entity = crowd.kind, crowd.one(rng)
    known: int | None = None
    alone = past = False
    part: int | None = None
    fields: Fields = ()
    match rng.randrange(10):
        case 0 | 1:
            known = max(1, asker.scene.truth.current(kind, entity)[0] - rng.choice((0, 0, 0, 1)))
            fields = (("If-None-Match", etag(kind, entity, known)),)
        case 2:
            fields, part = (("Range", "bytes=0-9"),), 10
        case 3:
            fields = (("Cache-Control", rng.choice(("no-cache", "max-age=1", "max-stale=5", "min-fresh=1"))),)
        case 4:
            fields, alone = (("Cache-Control", "only-if-cached"),), True
        case 5:
            fields, past = (("Cookie", "session=soak-cookie"),), True
    method = rng.choice(("GET", "GET", "GET", "HEAD"))
    answer, ticket = await asker.ticketed("single", Request(method, kind.single(entity), fields))
    arrived = asker.arrived(ticket)
    if answer is None:
        return
    judge = asker.scene.judge
    if alone and answer.status == 504:
        judge.failed("single", kind, [entity], answer, alone=True)
        if arrived:
            judge.wrong("single", "only-if-cached was passed on", entity, answer)
        return
    is_head = method == "HEAD"
    judge.single(
        kind, entity, answer, arrived, head=is_head, known=known, past=past, part=None if is_head else part
    )


async def write(asker: Asker) -> None:
    """A PUT or DELETE of one entity: whatever was held of it is over before the answer."""
    rng, scene = asker.rng, asker.scene
    crowd = scene.crowd(rng)
    kind, entity = crowd.kind, crowd.one(rng)
    method = rng.choice(("PUT", "PUT", "PUT", "DELETE"))
    body = b'{"touch":true}' if method == "PUT" else None
    async with scene.writing(f"{kind.name} {entity}"):
        scene.held.losing(kind, entity)
        before = scene.truth.life(kind, entity).number
        answer, ticket = await asker.ticketed("write", Request(method, kind.single(entity), _JSON, body))
        now = monotonic()
        number = scene.upstream.made.pop(ticket, before)
        # A status of 5xx is the upstream's word that nothing has changed, unless the proxy has none from it.
        told = (
            answer is None
            or answer.status < 400
            or answer.field("content-type") == "application/problem+json"
        )
        if number > before and told:
            scene.truth.fence(kind, entity, now, number)
        if scene.truth.current(kind, entity)[1] is not None:
            scene.held.lost(kind, entity, now)
    arrived = asker.arrived(ticket)
    if answer is None:
        return
    if answer.status >= 400:
        scene.judge.failed("write", kind, (), answer)
    elif arrived < 1:
        scene.judge.wrong("write", "answered, but it never arrived", entity, answer)


async def echo(asker: Asker) -> None:
    """What no resource claims: any method, any size, up and down, byte for byte."""
    rng = asker.rng
    method = rng.choice(("POST", "PUT", "PATCH", "POST", "GET", "DELETE"))
    large = rng.random() < 0.05
    body = None if method == "GET" else rng.randbytes(rng.randrange(_LARGE if large else _SMALL))
    target = f"/echo/{rng.randrange(50)}/%7Ea//b?q=%41&q={rng.randrange(9)}"
    fields = (("Content-Type", "application/octet-stream"), ("Authorization", "Bearer soak-token-x"))
    chunked = 0 if body is None else rng.choice((0, 0, 1, 5))
    answer, ticket = await asker.ticketed("echo", Request(method, target, fields, body, chunked))
    arrived = asker.arrived(ticket)
    if answer is None:
        return
    judge = asker.scene.judge
    if answer.status != 200:
        judge.failed("echo", _ANY, (), answer)
        return
    judge.verdicts.judged["echo"] += 1
    if answer.body != (body or b"") or answer.field("x-sum") != hashlib.sha256(body or b"").hexdigest():
        judge.wrong(
            "echo", "other bytes than were sent", f"{len(body or b'')} and {len(answer.body)}", answer
        )
    if answer.field("x-target") != target:
        judge.wrong("echo", "another target than was sent", "", answer)
    if arrived != 1 and (method in {"POST", "PATCH"} or body is not None or arrived > 2):
        judge.wrong("echo", f"{method} arrived {arrived} times", "", answer)


_ANY = replace(USER, name="any", durable=False)
