"""What one replica refreshes, as the others see it; and that each of them has its turn."""

from pathlib import Path
from typing import Any

from tests.fleet.in_process import joined, replica, seen, until, until_shown
from tests.fleet.replicas import BULK, owner
from tests.postgres.server import Database

OFTEN: dict[str, Any] = {"enabled": True, "interval": "20ms"}


async def test_what_a_fetch_has_changed_the_others_show_without_asking_the_owner(
    database: Database, tmp_path: Path
) -> None:
    async with (
        owner("u", "same") as source,
        replica(source, tmp_path / "1", database.url) as one,
        replica(source, tmp_path / "2", database.url) as other,
    ):
        await joined(one, other)
        for proxy in (one, other):
            assert await seen(proxy, "u", "same") == [1, 1]
        source.change("u")
        source.forget()
        heard = other.metric("invalidations_total", source="replica")
        async with one.client() as client:
            await client.post(BULK, b'{"userIds":["u","same"]}', "Cache-Control: no-cache")
        await until_shown(other, "u", 2)
        assert other.metric("invalidations_total", source="replica") == heard + 1, (
            "of what is the same nothing is told"
        )
        assert source.fetched == {"u": 1, "same": 1}


async def test_the_lead_goes_round(database: Database, tmp_path: Path) -> None:
    async with (
        owner("u") as source,
        replica(source, tmp_path / "1", database.url, refresh=OFTEN) as one,
        replica(source, tmp_path / "2", database.url, refresh=OFTEN) as other,
    ):
        await joined(one, other)
        leaders: set[str] = set()

        def both() -> bool:
            leaders.update(
                database.sql("SELECT token FROM handshake_proxy.leaders WHERE role = 'refresher user'")
            )
            return len(leaders) == 2

        await until(both)
