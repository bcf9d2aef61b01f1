"""A client counts from its request, whatever we do with the time: what is spent is not given again."""

from pathlib import Path
from typing import Any

import pytest

from proxy.web.passthrough import Passage, PassThrough, time_left
from tests.integration.harness import running
from tests.integration.people import serve_scripted, services

TIMEOUT = 4.0


@pytest.mark.parametrize(("spent", "left"), [(0.0, 4.0), (1.5, 2.5), (3.4, 0.6), (3.6, 0.5), (9.0, 0.5)])
def test_what_is_left_is_never_nothing(spent: float, left: float) -> None:
    assert time_left(TIMEOUT, spent) == pytest.approx(left)


async def test_what_is_passed_on_after_a_fill_has_what_that_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages: list[Passage] = []
    send = PassThrough.send

    async def noted(self: PassThrough, request: Any, passage: Passage) -> Any:
        passages.append(passage)
        return await send(self, request, passage)

    monkeypatch.setattr(PassThrough, "send", noted)
    async with await serve_scripted([b'{"users":[],"page":1}'], tmp_path) as (_, proxy):
        for _ in range(2):  # after a fill, and then straight on
            assert (await proxy.users("a")).status == 200
    for passage in passages:
        assert passage.within is not None
        assert 0.5 <= passage.within < TIMEOUT


async def test_the_wait_for_a_connection_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    receive = PassThrough._receive

    async def noted(self: PassThrough, exchange: Any, request: Any, upload: Any, within: float) -> Any:
        waits.append(within)
        return await receive(self, exchange, request, upload, within)

    monkeypatch.setattr(PassThrough, "_receive", noted)
    async with services() as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.get("/elsewhere")
    (within,) = waits
    assert 0.5 <= within < TIMEOUT
