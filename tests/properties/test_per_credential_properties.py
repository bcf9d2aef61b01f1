"""Whoever asks is shown only what the upstream has said to that very credential, and not after `ttl`.

A real proxy before a service that keeps account of what it has told whom, and when. Credentials, faces, directives of
either side, time, changes, refusals, outages and new keys come as they may.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from proxy import wiring
from proxy.loader import Loader
from tests.integration.credentials import NOBODY, A, B, Guarded, caller, one, post, user
from tests.integration.harness import PATIENCE, Client, Proxy, Response, running

TTL = 60.0
ABSENT = 10.0
LINES = (NOBODY, A, B, "Cookie: c=1", "X-Api-Key: k")
OWN = "Authorization: Bearer own"
NAMES = ("x", "y")
SAYS = (
    b"",
    b"Cache-Control: public, max-age=20\r\n",
    b"Cache-Control: s-maxage=500\r\n",
    b"Cache-Control: max-age=5, stale-while-revalidate=500, stale-if-error=500\r\nVary: Authorization\r\n",
    b"Cache-Control: max-age=0, must-revalidate\r\n",
    b"Cache-Control: max-age=500\r\nAge: 400\r\nVary: Cookie, X-Api-Key\r\n",
    b"Cache-Control: private\r\n",
    b"Cache-Control: no-store\r\n",
    b"Set-Cookie: sid=1\r\n",
)
ASKS = ("", "", "no-cache", "no-cache", "max-age=5", "min-fresh=5", "max-stale", "max-stale, only-if-cached")


@st.composite
def plays(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Steps of two or three callers about two entities: so few that they meet."""
    lines = st.sampled_from(draw(st.lists(st.sampled_from(LINES), min_size=2, max_size=3, unique=True)))
    name, ask = st.sampled_from(NAMES), st.sampled_from(ASKS)
    names = st.sets(name, min_size=1)
    tick = st.tuples(st.just("tick"), st.sampled_from((1.0, 9.0, 11.0, 30.0, 59.0, 61.0)))
    asking = (
        st.tuples(st.just("get"), lines, name, ask),
        st.tuples(st.just("bulk"), lines, names, ask),
        st.tuples(st.just("head"), lines, name, ask),
        st.tuples(st.just("match"), lines, name, lines),
        st.tuples(st.just("ensure"), name),
    )
    happening = (
        tick,
        tick,
        st.tuples(st.just("answer"), lines, st.sampled_from((200, 200, 401, 403, 302, 503, 503))),
        st.tuples(st.just("patch"), lines, name),
        st.tuples(st.just("edit"), name),
        st.tuples(st.just("hide"), lines, name),
        st.tuples(st.just("show"), lines, name),
        st.tuples(st.just("say"), st.sampled_from(SAYS)),
        st.tuples(st.just("key")),
    )
    step = st.one_of(*asking[:2] * 3, *asking[2:], *happening)
    return draw(st.lists(step, min_size=8, max_size=30))


Told = tuple[str, str, int | None]
"""Whom, of which entity, which version; None: that there is none."""


@dataclass
class Account(Guarded):
    """The service, with an account of what it has told whom and when."""

    proxy: Proxy = field(init=False)
    told: dict[Told, float] = field(default_factory=dict)
    row: str | None = None
    """Whoever is shown the row, which has the life of any row: who has no credential, if the upstream needs none."""

    def __post_init__(self) -> None:
        super().__init__()

    def said(self, asker: str, entity: str, item: dict[str, object] | None) -> None:
        self.told[asker, entity, None if item is None else self.versions[entity]] = self.proxy.clock()

    def refused(self, asker: str, ids: Iterable[str], status: int) -> None:
        if status != 503 and asker != self.row:  # what was refused must be asked for again
            self.forget(lambda told: told[0] == asker and told[1] in set(ids))

    def changed(self, entity: str) -> None:
        self.forget(lambda told: told[1] == entity)

    def forget(self, which: Any) -> None:
        self.told = {told: at for told, at in self.told.items() if not which(told)}

    def may_show(self, asker: str, entity: str, version: int | None) -> bool:
        at = self.told.get((asker, entity, version))
        if at is None:
            return False
        if asker == self.row:
            return True
        return at == self.proxy.clock() or self.proxy.clock() - at < (ABSENT if version is None else TTL)


@dataclass
class Stage:
    """A proxy that lives through all examples; each has entities of its own."""

    runner: asyncio.Runner
    proxy: Proxy
    service: Account
    key: Path
    own: str
    """Who asks for the handshake API."""
    names: Iterator[int] = field(default_factory=count)


@pytest.fixture(scope="module", params=["own credential", "no credential"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("per_credential")
    token, key = directory / "token", directory / "key"
    token.write_text("own")
    key.write_text("the first key of all")
    has_own = request.param == "own credential"
    service = Account()
    service.row = None if has_own else caller(NOBODY)

    async def start(stack: AsyncExitStack) -> Proxy:
        await stack.enter_async_context(service.upstream)
        long = {"ttl": TTL, "negative_ttl": ABSENT, "stale_while_revalidate": "30d", "stale_if_error": "90d"}
        upstream: dict[str, Any] = {"retries": 0, "circuit": {"failures": 1_000_000}}
        return await stack.enter_async_context(
            running(
                service.upstream.url,
                directory,
                resources=user(long),
                upstream=upstream | ({"credential_file": str(token)} if has_own else {}),
                sharing={"key_file": str(key)},
            )
        )

    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "Loader", partial(Loader, refresh_gathers=0.0))  # nobody waits half a second
        stack = AsyncExitStack()
        proxy = service.proxy = runner.run(start(stack))
        stage = Stage(runner, proxy, service, key, caller(OWN if has_own else NOBODY))
        yield stage
        runner.run(stack.aclose())


@dataclass
class Play:
    """One example."""

    stage: Stage
    client: Client
    handshake: Client
    number: int

    @property
    def service(self) -> Account:
        return self.stage.service

    def entity(self, name: str) -> str:
        return f"{name}{self.number}"

    async def step(self, verb: str, *told: Any) -> None:
        await getattr(self, f"_{verb}")(*told)
        async with asyncio.timeout(
            PATIENCE
        ):  # what is fetched behind the answer is on the account before the next
            for _ in range(3):
                await asyncio.sleep(0)
            while self.stage.proxy.calls:
                await asyncio.sleep(0)

    async def _get(self, line: str, name: str, ask: str, method: str = "GET") -> None:
        entity = self.entity(name)
        response = await one(self.client, entity, line, _control(ask), method=method)
        if response.status == 200 and method == "GET":
            self._check(line, entity, response.json())
        elif response.status == 200:
            if response.field("etag"):  # what came out of a bulk answer has none
                self._check_tag(line, entity, response.field("etag"))
        else:
            self._check_other(line, [entity], response, ask)

    async def _head(self, line: str, name: str, ask: str) -> None:
        await self._get(line, name, ask, method="HEAD")

    async def _match(self, line: str, name: str, whose: str) -> None:
        """Somebody tries the validator of what another may have."""
        entity = self.entity(name)
        tag = self.service.etag(caller(whose), entity)
        response = await one(self.client, entity, line, f"If-None-Match: {tag}")
        if response.status == 304:
            self._check_tag(line, entity, tag)
        elif response.status == 200:
            self._check(line, entity, response.json())
        else:
            self._check_other(line, [entity], response, "")

    async def _bulk(self, line: str, names: set[str], ask: str) -> None:
        ids = [self.entity(name) for name in sorted(names)]
        response = await post(self.client, ids, line, _control(ask))
        if response.status != 200:
            self._check_other(line, ids, response, ask)
            return
        found = {item["id"]: item for item in response.json()["users"]}
        for entity in ids:
            self._check(line, entity, found.get(entity))

    async def _ensure(self, name: str) -> None:
        """What the handshake API shows was never told to a caller of the transparent listener."""
        document = {"userId": self.entity(name)}
        response = await self.handshake.call("POST", "/v1/users/ensure?include=data", document)
        if response.status == 200:
            assert response.json()["data"]["who"] == self.stage.own

    async def _patch(self, line: str, name: str) -> None:
        await one(self.client, self.entity(name), line, method="PATCH")

    async def _edit(self, name: str) -> None:
        self.service.versions[self.entity(name)] += 1

    async def _answer(self, line: str, status: int) -> None:
        self.service.status[caller(line)] = status

    async def _hide(self, line: str, name: str) -> None:
        self.service.hidden.add((caller(line), self.entity(name)))

    async def _show(self, line: str, name: str) -> None:
        self.service.hidden.discard((caller(line), self.entity(name)))

    async def _say(self, says: bytes) -> None:
        self.service.fields = says

    async def _tick(self, seconds: float) -> None:
        self.stage.proxy.clock.tick(seconds)

    async def _key(self) -> None:
        self.stage.key.write_text(f"key number {next(self.stage.names):012}")
        self.service.forget(lambda told: told[0] != self.service.row)

    def _check(self, line: str, entity: str, item: dict[str, Any] | None) -> None:
        if item is not None:
            assert (item["who"], item["id"]) == (caller(line), entity)
        assert self.service.may_show(caller(line), entity, None if item is None else item["v"])

    def _check_tag(self, line: str, entity: str, tag: str) -> None:
        """The validator tells as much as the bytes."""
        now, asker = self.service.versions[entity], caller(line)
        for version in range(now + 1):
            self.service.versions[entity] = version
            is_it = self.service.etag(asker, entity) == tag
            self.service.versions[entity] = now
            if is_it:
                assert self.service.may_show(asker, entity, version)
                return
        raise AssertionError("a validator that belongs to somebody else")

    def _check_other(self, line: str, ids: Sequence[str], response: Response, ask: str) -> None:
        """An answer without an entity is the upstream's to this caller, or says that nothing is held for it."""
        status = self.service.status.get(caller(line), 200)
        if response.status == 404:
            self._check(line, ids[0], None)
        elif response.status == 504:
            assert "only-if-cached" in ask
        else:
            assert response.status == status != 200


def _control(ask: str) -> str:
    return f"Cache-Control: {ask}" if ask else ""


@settings(settings.get_profile("deep"), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=plays())
def test_a_credential_is_shown_what_the_upstream_told_it_and_nothing_else(
    stage: Stage, steps: list[tuple[Any, ...]]
) -> None:
    async def play() -> None:
        # What the example before has left: marks of what can't be held, back-off, whom it refused.
        stage.proxy.clock.tick(3 * TTL)
        service = stage.service
        service.status.clear()
        service.hidden.clear()
        service.told.clear()
        service.fields = b""
        service.upstream.seen.clear()
        async with stage.proxy.client() as client, stage.proxy.client("handshake") as handshake:
            example = Play(stage, client, handshake, next(stage.names))
            for step in steps:
                note(repr(step))
                await example.step(*step)

    stage.runner.run(play())
