"""Errors of the program itself carry what they were about in their messages: none of it may come out."""

import asyncio
import io
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

from proxy import log
from store.sqlite import SqliteStore
from tests.integration.handshake import Handshake, handshake
from tests.integration.harness import Response
from tests.persons.planted import BUSINESS, EMAIL, NAME, PERSONS, SECRETS, USER
from tests.persons.search import Planted

TOLD = Planted(PERSONS.values | SECRETS.values)


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """The log, at its most talkative; what the test does to logging is undone."""
    root, loop = logging.getLogger(), logging.getLogger("asyncio")
    handlers, level = list(root.handlers), loop.level
    stream = io.StringIO()
    log.configure("debug", "json", stream)
    yield stream
    root.handlers[:] = handlers
    loop.setLevel(level)
    structlog.reset_defaults()


def fail(*_: Any, **__: Any) -> NoReturn:
    """An error as a library would raise it: with all that it knows, and another one behind it."""
    cause = KeyError(USER, *SECRETS.values.values())
    raise RuntimeError(f"{USER} {EMAIL} {NAME} {BUSINESS} {' '.join(SECRETS.values.values())}") from cause


async def fail_later(*_: Any, **__: Any) -> NoReturn:
    await asyncio.sleep(0)
    fail()


async def call_everything(there: Handshake) -> list[Response | BaseException]:
    """One call of each kind. A connection that is cut is an answer too."""
    calls: list[Awaitable[Response]] = [
        there.proxy.users(USER),
        there.proxy.get(f"/other/{BUSINESS}"),
        there.login(USER, BUSINESS),
        there.call("POST", "/v1/users/ensure", {"userId": USER}),
        there.call("POST", "/v1/users/refresh", {"userId": USER}),
        there.call("POST", "/v1/users/explain", {"userId": USER}),
        there.call("GET", "/v1/users/stale"),
    ]
    return await asyncio.gather(*calls, return_exceptions=True)


FAULTS: dict[str, tuple[str, Callable[..., object]]] = {
    "a parser": ("proxy.core.bulk.RequestShape.parse", fail),
    "an answer's parser": ("proxy.core.bulk.AnswerShape.parse", fail),
    "the fetcher": ("proxy.fetcher.Fetcher.fetch", fail_later),
    "the exchange": ("proxy.upstream.Upstream.fetch", fail_later),
    "the policy": ("proxy.core.policy.decide", fail),
    "the keeper": ("proxy.keeper.Keeper.assess", fail),
    "the way through": ("proxy.web.passthrough.PassThrough.send", fail_later),
    "a call": ("proxy.web.handshake.said.Asked.members", fail),
    "the metrics": ("proxy.metrics.Metrics.request", fail),
    "the database": ("store.sqlite.SqliteStore.get_many", fail_later),
}


@pytest.mark.parametrize("where", FAULTS)
async def test_an_error_inside_shows_its_type_and_its_place_alone(
    where: str,
    tmp_path: Path,
    said: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with handshake(tmp_path) as there:
        place, fault = FAULTS[where]
        monkeypatch.setattr(place, fault)
        answers = await call_everything(there)
        metrics, _ = await there.proxy.app._render_metrics("")
    failed = [answer for answer in answers if not isinstance(answer, Response) or answer.status >= 500]
    assert failed, "the fault was met"
    for answer in answers:
        if isinstance(answer, Response) and b"problem+json" in answer.head:
            assert not TOLD.found_in(answer.head + answer.body)
    output = capfd.readouterr()
    for text in (said.getvalue(), output.out, output.err, metrics):
        assert not TOLD.found_in(text)
    assert said.getvalue(), "it was logged"


async def test_a_task_that_crashes_and_a_callback_that_raises_say_nothing_of_what_they_were_at(
    tmp_path: Path, said: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    async with handshake(tmp_path) as there:
        before = len(said.getvalue())
        there.proxy.app._supervisor.spawn("planted", fail_later())
        loop = asyncio.get_running_loop()
        loop.call_soon(fail)
        forgotten = loop.create_task(fail_later())
        for _ in range(3):
            await asyncio.sleep(0)
        assert forgotten.done()
        del forgotten  # its exception is never retrieved: asyncio's own handler tells
        assert '"internal_error"' in said.getvalue()[before:]
        assert "RuntimeError" in said.getvalue()[before:]
    output = capfd.readouterr()
    for text in (said.getvalue(), output.out, output.err):
        assert not TOLD.found_in(text)


def test_the_faults_are_full_of_what_must_not_come_out() -> None:
    with pytest.raises(RuntimeError) as caught:
        fail()
    assert TOLD.found_in(str(caught.value)) >= {"user", "email", "name", "business", *SECRETS.values}
    assert "user" in TOLD.found_in(repr(caught.value.__cause__))
    assert SqliteStore.__module__ in sys.modules
