"""The calls that may ask the upstream: login, ensure, ensure-batch, refresh."""

import asyncio
from collections.abc import Mapping

from proxy.entities import NotDurable, Nowhere, Outcome, Present, Unavailable
from proxy.metrics import Cache
from proxy.web.handshake.call import (
    INCLUDE,
    NOT_FOUND,
    UNAVAILABLE,
    Call,
    Operation,
    by_external_id,
    gives_entity,
    id_schema,
    members,
)
from proxy.web.handshake.face import Face, cache_of
from proxy.web.handshake.failure import STORE_FAILED, Failed, present
from proxy.web.handshake.said import BATCH_IDS, Asked, Said
from proxy.web.handshake.shape import to_json

_SOURCE = {"type": "string", "enum": ["hit", "stale", "miss"]}
_PROBLEMS = {404: NOT_FOUND, 503: UNAVAILABLE}


def login(user: Face, business: Face) -> Call:
    """Both sides of a login at a time: the seed's performLoginHandshake."""
    sides = (user, business)

    async def answer(asked: Asked) -> Said:
        data = asked.wants_data()
        given = zip(sides, asked.ids(*(side.shape.id_member for side in sides)), strict=True)
        ids = {side.id_at: await side.external(entity, side.id_at) for side, entity in given}
        about = tuple(side.key(ids[side.id_at]) for side in sides)
        found = present(await _both(sides, ids, asked), about)
        shown = b",".join(
            b"%b:%b" % (to_json(side.shape.member), side.render(found[side.id_at], data=data))
            for side in sides
        )
        source = to_json({side.shape.member: found[side.id_at].source for side in sides})
        return Said(b'{%b,"source":%b}' % (shown, source), cache=cache_of(found.values()), about=about)

    operation = Operation(
        summary="Have the user and the business of a login, both asked for at a time",
        takes=members({side.shape.id_member: id_schema() for side in sides}),
        takes_example={side.shape.id_member: side.shape.example_id() for side in sides},
        parameters=(INCLUDE,),
        gives=members(
            {
                **{side.shape.member: side.shape.reference for side in sides},
                "source": members({side.shape.member: _SOURCE for side in sides}),
            }
        ),
        gives_example={
            **{side.shape.member: side.shape.example() for side in sides},
            "source": {side.shape.member: "hit" for side in sides},
        },
        problems=_PROBLEMS,
    )
    return Call("login", "POST", "/v1/login", answer, operation)


async def _both(sides: tuple[Face, ...], ids: Mapping[str, str], asked: Asked) -> dict[str, Outcome]:
    """The outcome of each side, by where the body has its id. They are waited for together."""
    outcomes: dict[str, Outcome] = {}
    late: list[Face] = []
    for side in sides:
        at_once = side.entities.fresh(ids[side.id_at])
        if at_once is None:
            late.append(side)
        else:
            outcomes[side.id_at] = at_once
    if late:
        async with asyncio.TaskGroup() as tasks:
            pending = {
                side.id_at: tasks.create_task(
                    side.entities.have(ids[side.id_at], asked.fields), name=f"login {side.shape.name}"
                )
                for side in late
            }
        outcomes |= {at: task.result() for at, task in pending.items()}
    for side in late:
        # One side was the call by which the circuit tried the upstream, while it held the other back.
        outcome = outcomes[side.id_at]
        if isinstance(outcome, Unavailable) and outcome.reason == "circuit_open" and _has_fetched(outcomes):
            outcomes[side.id_at] = await side.entities.have(ids[side.id_at], asked.fields)
    return outcomes


def _has_fetched(outcomes: Mapping[str, Outcome]) -> bool:
    return any(
        isinstance(outcome, Present | Nowhere) and outcome.source == "miss" for outcome in outcomes.values()
    )


def ensure(face: Face) -> Call:
    """One entity: the seed's ensureUserExists and ensureBusinessExists."""

    async def answer(asked: Asked) -> Said:
        data = asked.wants_data()
        entity = await face.asked_id(asked)
        outcome = await face.entities.have(entity, asked.fields)
        return face.said(entity, outcome, at=face.id_at, data=data)

    shape = face.shape
    operation = by_external_id(
        shape,
        f"Have a {shape.name}: from the local copy, or fetched where there is none",
        **gives_entity(shape),
        problems=_PROBLEMS,
    )
    return face.call("ensure", "POST", "ensure", answer, operation)


def ensure_batch(face: Face) -> Call:
    """Many entities at a time: a part that fails does not fail the others."""
    shape = face.shape
    ids_member = f"{shape.id_member}s"

    async def answer(asked: Asked) -> Said:
        data = asked.wants_data()
        ids = asked.id_list(ids_member)
        for at, entity in enumerate(ids):
            await face.external(entity, f"#/{ids_member}/{at}")
        outcomes = await face.entities.ensure(ids, asked.fields) if ids else {}
        found = [outcome for outcome in outcomes.values() if isinstance(outcome, Present)]
        absent = [entity for entity, outcome in outcomes.items() if isinstance(outcome, Nowhere)]
        failed = [entity for entity in ids if not isinstance(outcomes[entity], Present | Nowhere)]
        if not found and any(isinstance(outcome, NotDurable) for outcome in outcomes.values()):
            raise Failed(STORE_FAILED)  # it is not about one of them
        listed = b",".join(face.render(outcome, data=data) for outcome in found)
        body = b'{%b:[%b],"missing":%b,"failed":%b}' % (
            to_json(shape.plural), listed, to_json(absent), to_json(failed)
        )  # fmt: skip
        return Said(body, cache=_batch_cache(found, absent, failed))

    ids = {"type": "array", "items": id_schema(), "maxItems": BATCH_IDS}
    operation = Operation(
        summary=f"Have many {shape.plural} at a time",
        takes=members({ids_member: ids}),
        takes_example={ids_member: [shape.example_id(), "unknown-1"]},
        parameters=(INCLUDE,),
        gives=members(
            {
                shape.plural: {"type": "array", "items": shape.reference},
                "missing": {
                    "type": "array",
                    "items": id_schema(),
                    "description": "The owner does not know these.",
                },
                "failed": {
                    "type": "array",
                    "items": id_schema(),
                    "description": "Of these there is no local copy, and the upstream gave no usable answer.",
                },
            }
        ),
        gives_example={shape.plural: [shape.example()], "missing": ["unknown-1"], "failed": []},
    )
    return face.call("ensure-batch", "POST", "ensure-batch", answer, operation)


def _batch_cache(found: list[Present], absent: list[str], failed: list[str]) -> Cache:
    if failed:
        return "error"  # though answered 200: by this word the alerts see an outage
    return cache_of(found) if found else "negative" if absent else "none"


def refresh(face: Face) -> Call:
    """One entity, fetched now."""

    async def answer(asked: Asked) -> Said:
        data = asked.wants_data()
        entity = await face.asked_id(asked)
        outcome = await face.entities.refresh(entity, asked.fields)
        return face.said(entity, outcome, at=face.id_at, data=data)

    shape = face.shape
    operation = by_external_id(
        shape,
        f"Fetch a {shape.name} now, whatever is held of it",
        **gives_entity(shape),
        problems={404: NOT_FOUND, 503: "The upstream gave no usable answer; what is held stays as it is."},
    )
    return face.call("refresh", "POST", "refresh", answer, operation)
