"""What explain says of all that can be held, and of every decision."""

import json
from dataclasses import dataclass
from typing import Any, get_args

import jsonschema_rs
import pytest
from msgspec.structs import replace

from proxy.core.policy import Absent, Decision, Hit, Miss, MissReason, Revalidate, Stale, StaleReason
from proxy.entities import Explanation
from proxy.web.handshake.explained import explain
from proxy.web.handshake.failure import Failed
from proxy.web.handshake.said import Asked, Invalid
from store.entry import Entry
from tests.unit.web.faces import INTERNAL, NOW, entry, face

HELD, ABSENT = entry(), entry(None, absent=True)
HUSK = entry(None)
# What only the directives of a request lead to; explain asks about one that has none.
DIRECTED = {"no_cache", "max_stale"}
DECISIONS: list[tuple[Decision, str]] = [
    (Hit(HELD), "hit"),
    (Absent(ABSENT), "absent"),
    *((Miss(reason), "miss") for reason in get_args(MissReason) if reason not in DIRECTED),
    *((Revalidate(HELD, reason), "revalidate") for reason in get_args(MissReason) if reason not in DIRECTED),
    *((Stale(HELD, reason), "stale") for reason in get_args(StaleReason) if reason not in DIRECTED),
]


@dataclass
class Explained:
    """Entities of which one thing is known."""

    explanation: Explanation

    def may_be_internal(self, _: str) -> bool:
        return False

    async def is_internal(self, _: str) -> bool:
        return False

    async def explain(self, _: str) -> Explanation:
        return self.explanation

    async def find(self, internal_id: str) -> str | None:
        return "a" if internal_id == INTERNAL else None


async def explained(
    held: Entry | None,
    decision: Decision,
    *,
    passes_on: bool = False,
    after: float = 0.0,
    body: bytes = b'{"userId":"a"}',
    query: bytes = b"",
) -> Any:
    """The answer, once its schema has agreed."""
    shown = None if held is None or held.absent else held
    entities = Explained(Explanation(held, shown, decision, passes_on, NOW + after))
    users = face(entities)
    call = explain(users)
    document = json.loads((await call.answer(Asked(body, query))).body)
    schema = {**(call.operation.gives or {}), "components": {"schemas": {"user": users.shape.schema()}}}
    reference = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    reference.validate(document)
    return document


@pytest.mark.parametrize(("decision", "result"), DECISIONS)
async def test_every_decision_has_its_words(decision: Decision, result: str) -> None:
    shown = (await explained(HELD, decision))["next"]
    assert (shown["result"], shown["reason"]) == (result, getattr(decision, "reason", result))
    assert shown["why"]


async def test_whether_the_upstream_is_asked() -> None:
    asking: list[tuple[Decision, bool]] = [
        (Hit(HELD), False),
        (Absent(ABSENT), False),
        (Miss("never_seen"), True),
        (Revalidate(HELD, "expired"), True),
        (Stale(HELD, "stale_while_revalidate", refresh=True), True),
        (Stale(HELD, "stale_if_error"), False),
    ]
    for decision, is_asked in asking:
        assert (await explained(HELD, decision))["next"]["upstream"] is is_asked, decision


async def test_what_can_t_be_held_goes_past() -> None:
    shown = (await explained(None, Miss("never_seen"), passes_on=True))["next"]
    assert (shown["result"], shown["reason"], shown["upstream"]) == ("bypass", "uncacheable", True)
    assert (await explained(HELD, Hit(HELD), passes_on=True))["next"]["result"] == "hit"


async def test_what_is_held_of_each_kind() -> None:
    miss = Miss("never_seen")
    unknown = await explained(None, miss)
    del unknown["next"]
    assert unknown.pop("state") == "unknown"
    assert {name for name, value in unknown.items() if value is not None} == {"userId"}
    assert (await explained(HELD, miss))["state"] == "fresh"
    assert (await explained(HELD, miss, after=60))["state"] == "stale"
    husk = await explained(HUSK, miss)
    assert (husk["state"], husk["freshness"], husk["id"]) == ("invalidated", None, INTERNAL)
    absent = await explained(replace(ABSENT, internal_id=None), miss, after=61)
    assert (absent["state"], absent["version"]) == ("absent", None)
    assert set(absent["freshness"].values()) == {60, -1}, "nothing stale is served of an absence"


async def test_seconds_that_are_left_of_each_limit() -> None:
    own = replace(HELD, stale_while_revalidate=5.0, stale_if_error=7.0)
    assert (await explained(own, Hit(own), after=1))["freshness"] == {
        "lifetime": 60, "ttl": 59, "staleWhileRevalidate": 64, "staleIfError": 66,
    }  # fmt: skip
    strict = replace(own, must_revalidate=True)
    assert (await explained(strict, Hit(strict), after=1))["freshness"] == {
        "lifetime": 60, "ttl": 59, "staleWhileRevalidate": 59, "staleIfError": 59,
    }  # fmt: skip


async def test_either_id_is_enough_and_one_is_needed() -> None:
    by_internal = b'{"id":"%b"}' % INTERNAL.upper().encode()
    assert await explained(HELD, Hit(HELD), body=by_internal) == await explained(HELD, Hit(HELD))
    with pytest.raises(Failed) as failed:
        await explained(HELD, Hit(HELD), body=b'{"id":"%b"}' % INTERNAL.replace("0", "1").encode())
    assert failed.value.problem.status == 404
    for body in (b"{}", b'{"id":"a"}', b'{"id":null}', b'{"id":"%b","userId":"a"}' % INTERNAL.encode()):
        with pytest.raises(Invalid):
            await explained(HELD, Hit(HELD), body=body)


async def test_the_data_is_there_if_it_is_asked_for() -> None:
    assert "entity" not in await explained(HELD, Hit(HELD))
    entity = (await explained(HELD, Hit(HELD), query=b"include=data"))["entity"]
    assert (entity["userId"], entity["data"]) == ("a", {"id": "a"})
    assert "source" not in entity
    stale = (await explained(HELD, Hit(HELD), after=60, query=b"include=data"))["entity"]
    assert stale["source"] == "stale"
    husk = (await explained(HUSK, Miss("invalidated"), query=b"include=data"))["entity"]
    assert (husk["id"], husk["data"], husk["name"]) == (INTERNAL, None, None)
    assert (await explained(None, Miss("never_seen"), query=b"include=data"))["entity"] is None
