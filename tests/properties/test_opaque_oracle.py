"""Whatever an origin answers, whoever asks, and however time goes by: no answer of an opaque resource is reused that
RFC 9111 forbids to reuse.

A real proxy before an origin that says what it is told to. An oracle that shares no code with it judges each answer.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.integration.harness import PATIENCE, Client, Clock, Proxy, Response, running
from tests.properties.http_oracle import Contract, Oracle
from tests.properties.http_oracle_reading import Fields
from tests.properties.http_oracle_told import Asked, Exchange, Got
from tests.properties.http_origin import LONG_AGO, Answer, Origin, answers, text, ways

PLAIN = Answer()
TARGETS = ("/a", "/a?q=1", "/b")
DEEP = settings.get_profile("deep")
LONG = 3600.0
"""Seconds after which nothing of an earlier example matters."""


@dataclass(frozen=True)
class Ask:
    """Somebody asks, and the origin, if it is asked, answers so."""

    method: str = "GET"
    target: str = TARGETS[0]
    fields: tuple[str, ...] = ()
    """In braces: base and host of the example, v0 and v1, when those versions came, and now."""
    answer: Answer = PLAIN
    times: int = 1
    together: bool = False
    """All at once, the origin's answer held back until they are all there."""
    others: tuple[str, ...] | None = None
    """The fields of every other one of those, if they differ."""


@dataclass(frozen=True)
class Tick:
    seconds: float


@dataclass(frozen=True)
class Edit:
    """The target has another version, and nobody was told."""

    target: str = TARGETS[0]


Step = Ask | Tick | Edit

WISHES = (
    "no-cache", "no-store", "max-age=0", "max-age=5", "max-age=15", "min-fresh=5", "min-fresh=30", "max-stale",
    "max-stale=5", "max-stale=100", "only-if-cached", "max-stale, only-if-cached", "max-age=15, max-stale=5",
    "stale-if-error=60", "no-transform", "x-unknown", "max-age=x", 'no-cache="x"', "max-stale=x",
    "min-fresh=5, max-stale",
)  # fmt: skip
CONDITIONS = (
    'If-None-Match: "v0"', 'If-None-Match: "v0"', 'If-None-Match: "v1"', 'If-None-Match: W/"v0"', "If-None-Match: *",
    'If-None-Match: "x", "v0"', 'If-None-Match: "same"', "If-Modified-Since: {v0}", "If-Modified-Since: {v1}",
    "If-Modified-Since: {now}", "If-Modified-Since: yesterday", 'If-None-Match: "x"\r\nIf-Modified-Since: {now}',
    'If-Match: "v0"', "If-Unmodified-Since: {v0}",
)  # fmt: skip
RANGES = (
    "Range: bytes=0-3", "Range: bytes=4-", "Range: bytes=-3", "Range: bytes=2-5", "Range: bytes=0-", "Range: bytes=20-",
    "Range: bytes=0-3", "Range: bytes=4-9", "Range: bytes=3-20", "Range: bytes=-20", "Range: bytes=-0",
    "Range: bytes=0-0, 4-5", "Range: lines=0-3", "Range: bytes=5-2",
    'Range: bytes=0-3\r\nIf-Range: "v0"', 'Range: bytes=4-\r\nIf-Range: "v0"', 'Range: bytes=0-3\r\nIf-Range: W/"v0"',
    'Range: bytes=0-3\r\nIf-Range: "v1"', "Range: bytes=0-3\r\nIf-Range: {v0}", "If-Range: {v0}",
)  # fmt: skip
SELECTING = (
    "Accept-Language: de", "Accept-Language: de, en", "Accept-Language: en,DE", "Accept-Encoding: gzip",
    "X-Select: 1", "X-Select: 2", "X-Select: 1, 2", "X-Select: 1\r\nX-Select: 2", "X-Select:",
)  # fmt: skip
OTHERS = ("Pragma: no-cache", "Authorization: Bearer a", "Authorization: Bearer a", "Cookie: c=1")
NAMED = (
    "Location: {base}/b", "Content-Location: {base}/a?q=1", "Location: b", "Location: http://elsewhere{base}/b",
    "Location: http://app{base}/b",
    "Location: http://{host}{base}/b", "Content-Location: ?q=1", "Location: //{host}{base}/b#f", "Location: http://[",
)  # fmt: skip

controls = st.sampled_from(WISHES).map("Cache-Control: {}".format)
unusual = st.one_of(controls, *(st.sampled_from(some) for some in (CONDITIONS, RANGES, SELECTING, OTHERS)))
all_fields = st.one_of(
    st.just(()), st.just(()), st.sampled_from(RANGES).map(lambda one: (one,)), st.lists(unusual, max_size=2).map(tuple)
)  # fmt: skip
targets = st.sampled_from((TARGETS[0],) * 4 + TARGETS)
writes = st.builds(
    Ask,
    method=st.sampled_from(("POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "OPTIONS")),
    target=targets,
    answer=st.builds(
        Answer,
        status=st.sampled_from((200, 200, 201, 204, 303, 404, 500)),
        control=st.sampled_from(((), ("max-age=60",))),
        named=st.lists(st.sampled_from(NAMED), max_size=2).map(tuple),
        fate=st.sampled_from(("answers",) * 4 + ("closes", "cuts")),
    ),
)
short = st.sampled_from((0.5, 1.0, 4.0, 5.0, 6.0, 10.0))
long = st.sampled_from((15.0, 19.5, 20.0, 21.0, 45.0, 60.0, 61.0, 1000.0))


shifting: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        *[
            st.builds(
                Ask,
                method=st.sampled_from(("GET",) * 7 + ("HEAD",)),
                fields=st.lists(
                    st.sampled_from(("X-Select: 1", "Accept-Language: de", "Cache-Control: no-cache", RANGES[0])),
                    max_size=2, unique=True,
                ).map(tuple),
                answer=st.builds(
                    Answer,
                    control=st.sampled_from(("max-age=60", "max-age=60", "max-age=5", "no-cache", "no-store")).map(
                        lambda one: (one,)
                    ),
                    vary=st.sampled_from(("X-Select", "X-Select", "Accept-Language", "Accept-Language", None, "*")),
                    conditions=st.sampled_from(("honest", "honest", "right", "never")),
                ),
            )
        ] * 4,
        st.sampled_from((1.0, 6.0)).map(Tick),
        st.just(Edit()),
    ),
    min_size=4,
    max_size=16,
)  # fmt: skip
"""Of an origin that varies now with this and now with that, so that one request selects several responses."""


@st.composite
def mixed(draw: st.DrawFn) -> list[Step]:
    """Of everything something."""
    way = draw(ways())
    reads = st.builds(
        Ask,
        method=st.sampled_from(("GET",) * 8 + ("HEAD",)),
        target=targets,
        fields=all_fields,
        answer=answers(way),
        times=st.sampled_from((1,) * 7 + (2, 6)),
        together=st.sampled_from((False,) * 7 + (True,)),
        others=st.one_of(st.none(), all_fields),
    )
    kinds: dict[str, st.SearchStrategy[Step]] = {
        "read": reads,
        "short": short.map(Tick),
        "long": long.map(Tick),
        "edit": st.builds(Edit, targets),
        "write": writes,
    }
    weights = ("read",) * 14 + ("short",) * 4 + ("long",) * 2 + ("edit", "write")
    return [draw(kinds[kind]) for kind in draw(st.lists(st.sampled_from(weights), min_size=6, max_size=24))]


def plays() -> st.SearchStrategy[list[Step]]:
    """What happens in an example."""
    return st.one_of(mixed(), mixed(), mixed(), shifting)


@dataclass
class Stage:
    """A proxy that lives through all examples; each has targets of its own."""

    runner: asyncio.Runner
    clock: Clock
    contract: Contract
    lane: bool
    proxy: Proxy = field(init=False)
    origin: Origin = field(init=False)
    examples: Iterator[int] = field(default_factory=count)

    async def start(self, stack: AsyncExitStack, directory: Any) -> None:
        self.origin = Origin(self.clock, lambda _: None)
        await stack.enter_async_context(self.origin.upstream)
        freshness = {"ttl": "0s", "jitter": 0, "stale_if_error": self.contract.stale_if_error}
        resource = {"upstream": "main", "id": None, "single": {"path": "/{rest*}"}, "freshness": freshness}
        self.proxy = await stack.enter_async_context(
            running(
                self.origin.upstream.url,
                directory,
                clock=self.clock,
                resources={"all": resource},
                lane=self.lane,
                upstream={"retries": 0, "circuit": {"failures": 1_000_000}},
            )
        )


@dataclass
class Play:
    """One example."""

    stage: Stage
    base: str
    tell: Callable[[str], None]
    oracle: Oracle = field(init=False)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    clients: list[tuple[Client, Any]] = field(default_factory=list)
    reused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.oracle = Oracle(self.stage.contract)
        origin = self.stage.origin
        origin.said, origin.started_at, origin.now = self._said, self.stage.clock(), Answer()
        origin.asked.clear()

    def _said(self, exchange: Exchange) -> None:
        told = (
            "nothing"
            if not exchange.status
            else f"{exchange.status} {shown(exchange.fields)} {exchange.body!r}"
        )
        self.tell(
            f"    origin, asked {exchange.method} {shown(exchange.sent)} for {exchange.asked.number}: {told}"
        )
        if not exchange.is_complete:
            self.tell("        and cuts it")
        self.oracle.answers(exchange)

    async def run(self, steps: list[Step]) -> None:
        try:
            for step in steps:
                match step:
                    case Tick(seconds):
                        self.tell(f"{seconds:g} s later")
                        self.stage.clock.tick(seconds)
                    case Edit(target):
                        self.tell(f"{target} changes")
                        self.stage.origin.versions[self.base + target] += 1
                    case Ask():
                        await self._ask(step)
        finally:
            self.stage.origin.gate.set()
            for _, stack in self.clients:
                await stack.aclose()
            await self._quiet()

    async def _ask(self, step: Ask) -> None:
        host = self.stage.origin.upstream.url.removeprefix("http://")
        named = tuple(one.format(base=self.base, host=host) for one in step.answer.named)
        self.stage.origin.now = replace(step.answer, named=named)
        if not step.together:
            for _ in range(step.times):
                await self._check([await self._request(step, 0)])
            return
        self.stage.origin.gate.clear()
        before, asking = self.stage.origin.upstream.connections, []
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            asking = [group.create_task(self._request(step, place)) for place in range(1 + step.times)]
            for _ in range(200):
                await asyncio.sleep(0)
            self.stage.origin.gate.set()
        assert before <= self.stage.origin.upstream.connections
        await self._check([one.result() for one in asking])

    async def _request(self, step: Ask, place: int) -> Got | None:
        """One request on a connection of its place; None where it was cut off."""
        number, clock = next(self.numbers), self.stage.clock
        origin = self.stage.origin
        came = {f"v{version}": formatdate(origin.changed_at(version), usegmt=True) for version in (0, 1)}
        fields = step.others if step.others is not None and place % 2 else step.fields
        lines = [one.format(now=formatdate(int(clock()), usegmt=True), **came) for one in fields]
        length = [] if step.method in {"GET", "HEAD", "OPTIONS"} else ["Content-Length: 0"]
        head = "\r\n".join(["Host: app", *lines, *length, f"X-Request-Id: {number}"])
        data = f"{step.method} {self.base}{step.target} HTTP/1.1\r\n{head}\r\n\r\n".encode("latin-1")
        split = (one.partition(":") for one in head.split("\r\n"))
        sent = tuple((name, value.strip()) for name, _, value in split)
        asked = Asked(number, step.method, self.base + step.target, sent, clock())
        origin.asked[number] = asked
        self.oracle.asks(asked)
        self.tell(f"{number}: {step.method} {self.base}{step.target} {lines}")
        while len(self.clients) <= place:
            self.clients.append(await self._connected())
        client, stack = self.clients[place]
        try:
            response = await client.request(data, head_only=step.method == "HEAD")
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            response = None
        if response is None or response.field("connection") == "close":
            await stack.aclose()
            self.clients[place] = await self._connected()
        if response is None:
            self.tell("    cut off")
            assert self.oracle.has_failed(asked), f"{asked} was cut off though nothing has failed"
            return None
        return got(asked, response, clock())

    async def _connected(self) -> tuple[Client, AsyncExitStack]:
        stack = AsyncExitStack()
        return await stack.enter_async_context(self.stage.proxy.client()), stack

    async def _quiet(self) -> None:
        """What is fetched behind an answer is on the account before the next."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                await asyncio.sleep(0)
            while self.stage.proxy.calls:
                await asyncio.sleep(0)
        assert not self.stage.origin.strays

    async def _check(self, gots: list[Got | None]) -> None:
        await self._quiet()
        for one in gots:
            if one is not None:
                self.tell(f"    {one.asked.number} is answered {one.status} {shown(one.fields)} {one.body!r}")
                reasons = self.oracle.judge(one)
                assert not reasons, f"{one.asked.number}: {'; '.join(reasons)}"
                self.reused[self.oracle.reused or "relayed"] += 1


def shown(fields: Fields) -> str:
    """Fields, to be read."""
    return " | ".join(f"{name}: {value}" for name, value in fields if name not in {"Host", "Via", "X-Extra"})


def got(asked: Asked, response: Response, now: float) -> Got:
    return Got(asked, response.status, text(response.fields), response.body, now)


@pytest.fixture(scope="module", params=[(0.0, True), (30.0, False)], ids=["fast lane", "stale if error"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        stale_if_error, lane = request.param
        stage, stack = Stage(runner, Clock(), Contract(stale_if_error), lane), AsyncExitStack()
        runner.run(stage.start(stack, tmp_path_factory.mktemp("opaque")))
        yield stage
        runner.run(stack.aclose())


def play(stage: Stage, steps: list[Step], tell: Callable[[str], None] = note) -> Counter[str]:
    """Play an example, and say how its answers came about; `tell` is told each thing that happens."""
    stage.clock.now = float(int(stage.clock.now + LONG + LONG_AGO))
    example = Play(stage, f"/{next(stage.examples)}", tell)
    stage.runner.run(example.run(steps))
    return example.reused


@pytest.mark.timeout(300)  # to make a counterexample small takes its time
@settings(
    max_examples=2 * DEEP.max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=plays())
def test_no_answer_is_reused_that_rfc_9111_forbids(stage: Stage, steps: list[Step]) -> None:
    play(stage, steps)


def test_every_way_to_reuse_is_among_what_is_judged(stage: Stage) -> None:
    """A property of what is reused says nothing where nothing is."""
    brief = Answer(control=("max-age=5, stale-while-revalidate=20, stale-if-error=100",), modified="version")
    failing, other = replace(brief, fate="closes"), replace(brief, control=("max-age=60",))
    steps: list[Step] = [
        *[Ask(answer=brief)] * 6,
        *[Ask(method="HEAD"), Ask(fields=('If-None-Match: "v0"',)), Ask(fields=("If-Modified-Since: {v0}",))],
        *[Ask(fields=("Range: bytes=2-5",)), Ask(fields=("Range: bytes=20-",))],
        Tick(6.0),
        Ask(answer=brief),  # stale, and validated behind it
        Tick(30.0),
        Ask(answer=brief),  # validated
        Tick(30.0),
        Ask(answer=failing),
        Ask(fields=("Cache-Control: max-stale",), answer=failing),
        Tick(LONG),
        Ask(target="/b", fields=("Range: bytes=0-3",), answer=other),
        Ask(target="/b", fields=("Range: bytes=1-2",)),
        Ask(target="/b", answer=other),  # the rest of it
        Ask(target="/b", fields=("Range: bytes=1-8",)),
    ]
    reused = play(stage, steps, print)
    wanted = {
        *[
            "fresh GET 200",
            "fresh HEAD 200",
            "fresh GET 304",
            "fresh GET 206",
            "fresh GET 416",
            "stale GET 200",
        ],
        "validated GET 200",
    }
    assert wanted <= reused.keys(), reused
    assert reused["relayed"] == 2, reused  # the first of each target
