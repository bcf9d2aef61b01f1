"""A defect of the program itself in what keeps the database in order."""

from pathlib import Path

import pytest

from store.base import Store
from tests.faults.store_faults import hurry, stored


async def test_a_defect_in_one_round_is_told_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with stored(tmp_path) as here:
        user = await here.there.ensure()
        tiers = here.there.proxy.app._storage.tiers

        async def bring_back(_database: Store) -> None:
            raise RuntimeError("somebody's name")

        with monkeypatch.context() as defect:
            defect.setattr(tiers, "bring_back", bring_back)
            here.path.unlink()
            await here.until(lambda: here.logged("internal_error", task="store", error="RuntimeError") >= 2)
            assert await here.there.ensure() == user, "memory has the answer"
        await here.healed()
        assert await here.works("new")
        told = [line for line in here.lines if line["event"] == "internal_error"]
        assert all(line["at"].startswith("test_store_defect.py:") for line in told)
        assert "somebody" not in str(told)
