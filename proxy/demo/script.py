"""The story itself: what happens, what is asked, and what has to come of it."""

from collections.abc import Awaitable, Callable

from msgspec import Struct

from proxy.demo.stage import BUSINESS, USER, Kind, Source, Stage

_DAY_AND_AN_HOUR = 25 * 3600.0


class Call(Struct, frozen=True):
    """One call and what it must give; `times` of them are made at once."""

    kind: Kind
    ids: tuple[str, ...]
    source: Source
    fetched: int
    """How many ids the upstream is asked for on its behalf."""
    status: int = 200
    times: int = 1


class Step(Struct, frozen=True):
    """A scene: something happens on the stage, then the calls are made in parallel."""

    name: str
    calls: tuple[Call, ...]
    before: Callable[[Stage], Awaitable[None]] | None = None


def _user_ids(last: int) -> tuple[str, ...]:
    return tuple(f"user-{number:02}" for number in range(1, last + 1))


async def _restart(stage: Stage) -> None:
    await stage.restart_proxy()


async def _outage(stage: Stage) -> None:
    await stage.services.stop()


async def _next_day(stage: Stage) -> None:
    stage.later += _DAY_AND_AN_HOUR


async def _recovery(stage: Stage) -> None:
    await stage.services.start()


ONE, TEAM, DEPARTMENT = _user_ids(1), _user_ids(8), _user_ids(20)
NEVER_ASKED = ("user-24",)

STEPS = (
    Step(
        "First login",
        (Call(USER, ONE, "upstream", 1), Call(BUSINESS, ("biz-01",), "upstream", 1)),
    ),
    Step(
        "Returning login",
        (Call(USER, ONE, "cache", 0), Call(BUSINESS, ("biz-01",), "cache", 0)),
    ),
    Step("Business switch", (Call(BUSINESS, ("biz-02",), "upstream", 1),)),
    Step("The same again", (Call(BUSINESS, ("biz-02",), "cache", 0),)),
    Step("Bulk read, team", (Call(USER, TEAM, "both", 7),)),
    Step("Bulk read, all", (Call(USER, DEPARTMENT, "both", 12),)),
    Step("Herd of 50", (Call(USER, ("user-21",), "upstream", 1, times=50),)),
    Step(
        "Proxy restart",
        # The built-in configuration keeps users in the database and businesses in memory.
        (Call(USER, DEPARTMENT, "cache", 0), Call(BUSINESS, ("biz-01",), "upstream", 1)),
        before=_restart,
    ),
    Step(
        "Upstream outage",
        (
            Call(USER, DEPARTMENT, "cache", 0),
            # Never "not found": the proxy does not know, and says so.
            Call(USER, NEVER_ASKED, "none", 0, status=503),
            # Nor a part of the list: what is left out of a list reads as "not found" too.
            Call(USER, ONE + NEVER_ASKED, "none", 0, status=503),
        ),
        before=_outage,
    ),
    Step("25 h later", (Call(USER, DEPARTMENT, "stale copy", 0),), before=_next_day),
    Step("Recovery", (Call(USER, NEVER_ASKED, "upstream", 1),), before=_recovery),
)
