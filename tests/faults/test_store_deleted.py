"""The files of the database go while the proxy runs: a new one is made, and what memory knows stands in it again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from store.base import StoreError
from store.entry import Key
from tests.faults.store_faults import GIVEN, Stored, hurry, stored
from tests.integration.handshake import USER, user_item


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def database(here: Stored) -> None:
    here.path.unlink()


def all_files(here: Stored) -> None:
    for path in here.directory.iterdir():
        path.unlink()


def replaced(here: Stored) -> None:
    """By an empty file."""
    other = here.directory / "other"
    other.touch()
    other.rename(here.path)


def log(here: Stored) -> None:
    Path(f"{here.path}-wal").unlink()


def index(here: Stored) -> None:
    Path(f"{here.path}-shm").unlink()


@pytest.mark.parametrize(
    ("delete", "loss"),
    [(database, "deleted"), (all_files, "deleted"), (replaced, "deleted"), (log, "log"), (index, "log")],
)
async def test_what_is_deleted_is_made_again(
    tmp_path: Path, delete: Callable[[Stored], None], loss: str
) -> None:
    async with stored(tmp_path) as here:
        await here.import_user("imported", GIVEN)
        here.there.services.users["imported"] = user_item("imported")
        imported = await here.there.ensure("imported")
        assert imported["id"] == GIVEN
        user = await here.there.ensure()
        user = await here.there.ok("PATCH", f"/v1/users/{user['id']}", {"departmentId": "d"})
        delete(here)
        assert await here.there.ensure() == user, "memory has the answer"
        await here.healed()
        assert here.logged("store_lost", loss=loss, log_level="error") == 1
        assert here.metric("store_lost_total", reason=loss) == 1
        assert here.metric("store_set_aside_total") == 0
        assert not here.aside.exists()
        await here.works("new")
        async with here.there.restarted() as again:
            await here.there.services.stop()
            assert await again.ensure() == user
            assert await again.ensure("imported") == imported
            assert await again.ok("GET", f"/v1/users/{GIVEN}") == imported


async def test_without_its_directory_the_proxy_goes_on_and_the_database_comes_back(tmp_path: Path) -> None:
    async with stored(tmp_path) as here:
        user = await here.there.ensure()
        path = f"/v1/users/{user['id']}"
        user = await here.there.ok("PATCH", path, {"departmentId": "d"})
        shutil.rmtree(here.directory)
        await here.until(lambda: here.logged("store_degraded") == 1)
        assert here.degraded
        assert here.logged("store_lost", loss="deleted") == 1
        assert here.logged("store_degraded", why="open: No such file or directory") == 1
        assert await here.there.ensure() == user, "what was shown is shown"
        here.there.services.users["new"] = user_item("new")
        for method, target, document in (
            ("POST", "/v1/users/ensure", {"userId": "new"}),
            ("PATCH", path, {"departmentId": "e"}),
        ):
            refused = await here.there.call(method, target, document)
            assert (refused.status, "store" in refused.json()["detail"]) == (500, True)
        assert (await here.there.proxy.users("new", USER)).status == 200
        # A newer copy comes while there is no database: what is ours of the user must not be lost for that.
        here.there.services.users[USER] = user_item(USER, name="New")
        assert (await here.there.call("POST", "/v1/users/refresh", {"userId": USER})).status in {200, 500}
        here.directory.mkdir()
        await here.healed()
        known = await here.there.ensure()
        assert (known["id"], known["departmentId"], known["name"]) == (user["id"], "d", "New")
        assert here.there.services.fetched["new"] == 1, "the write that failed was queued again"
        await here.works("newer")


async def test_an_invalidation_while_there_is_no_database_holds_after_it_has_come_back(
    tmp_path: Path,
) -> None:
    async with stored(tmp_path) as here:
        user = await here.there.ensure()
        user = await here.there.ok("PATCH", f"/v1/users/{user['id']}", {"departmentId": "d"})
        shutil.rmtree(here.directory)
        await here.until(lambda: here.logged("store_degraded") == 1)
        here.there.services.users[USER] = user_item(USER, name="New")
        tiers = here.there.proxy.app._storage.tiers
        with pytest.raises(StoreError):
            await tiers.invalidate([Key("user", USER)])
        here.directory.mkdir()
        await here.healed()
        known = await here.there.ensure()
        assert (known["id"], known["departmentId"], known["name"]) == (user["id"], "d", "New")
