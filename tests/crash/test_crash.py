"""A short run of the crash harness; `make crash` is the long one."""

from pathlib import Path

import pytest

from tests.crash.rounds import Harness

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]
KILLS = 8
SEED = 20


async def test_kill_9_at_random_points_under_load_loses_nothing_that_was_shown(tmp_path: Path) -> None:
    summary = await Harness(tmp_path, SEED).run(KILLS, within=170)
    assert summary.kills == KILLS, summary
    assert summary.stored > 0
    assert summary.erased > 0
    assert summary.in_erasures > 0
