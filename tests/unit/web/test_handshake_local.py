"""The listing of what was not synced for long: how its parameters are read."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.web.handshake.cursor import encode
from proxy.web.handshake.local import stale
from proxy.web.handshake.said import Asked, Invalid
from store.base import Page, Position
from tests.unit.web.faces import NOW, entry, face

HOUR = 3600.0


@dataclass
class Listing:
    """Entities of which one is stale, and another page is to come."""

    asked: dict[str, Any] = field(default_factory=dict)

    async def longest_unsynced(self, **asked: Any) -> Page:
        self.asked = asked
        return Page([entry(), entry(lifetime=0)], Position(NOW, "b"))


async def listed(query: str) -> tuple[dict[str, Any], Any]:
    """What a query comes to, and its answer."""
    entities = Listing()
    call = stale(face(entities))
    answer = await call.answer(Asked(query=query.encode()))
    return entities.asked, json.loads(answer.body)


@pytest.mark.parametrize(
    ("query", "hours", "limit"),
    [
        ("", 24, 100),
        ("hours=0&limit=1", 0, 1),
        ("hours=0.5&limit=1000", 0.5, 1000),
        ("hours=007", 7, 100),
        ("hours=878400", 878400, 100),
    ],
)
async def test_what_is_asked_for(query: str, hours: float, limit: int) -> None:
    asked, answer = await listed(query)
    assert asked == {"before": NOW - hours * HOUR, "after": None, "limit": limit}
    assert [one.get("source") for one in answer["users"]] == [None, "stale"]
    assert (await listed(f"cursor={answer['next']}"))[0]["after"] == Position(NOW, "b")


@pytest.mark.parametrize(
    "hours", [".", "1.", ".5", "1e3", "-1", "+1", "nan", "inf", "", "878401", "9" * 400, "1_0", "²"]
)
async def test_hours_are_a_plain_number(hours: str) -> None:
    with pytest.raises(Invalid) as caught:
        await listed(f"hours={hours}".replace("+", "%2B"))
    assert [fault.at for fault in caught.value.faults] == ["hours"]


@pytest.mark.parametrize("limit", ["0", "1001", "1.0", "1.5", "", "-1", "x", "٣"])
async def test_a_limit_is_a_whole_number(limit: str) -> None:
    with pytest.raises(Invalid) as caught:
        await listed(f"limit={limit}")
    assert [fault.at for fault in caught.value.faults] == ["limit"]


@pytest.mark.parametrize("at", ["1e300", "-1e300", "253402300800", "nan", "inf"])
async def test_a_cursor_is_about_a_date(at: str) -> None:
    forged = base64.urlsafe_b64encode(f"{at} a".encode()).decode().rstrip("=")
    with pytest.raises(Invalid) as caught:
        await listed(f"cursor={forged}")
    assert [fault.at for fault in caught.value.faults] == ["cursor"]
    early = Position(-62135596800.0, "a")
    assert (await listed(f"cursor={encode(early)}"))[0]["after"] == early
