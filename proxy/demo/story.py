"""`handshake-proxy demo`: the story of the proxy, played against real sockets, every answer checked."""

import asyncio
import random
import signal
import tempfile
from pathlib import Path

from rich.console import Console

from proxy.demo import programme
from proxy.demo.programme import Outcome
from proxy.demo.script import STEPS, Call, Step
from proxy.demo.stage import Answer, Stage
from proxy.log import configure

# What a call to a service in the same region tends to take, in seconds.
_LATENCY = (0.06, 0.15)
# What a shell reports of a process that a signal has ended.
_INTERRUPTED, _TERMINATED = 130, 143


def play(*, keep: bool) -> int:
    """Play the story and print it; return 0 if all went as it should, else 1. `keep` waits for Ctrl-C after it."""
    # The outage makes the proxy warn, as it should; here the table says it.
    configure("error", "console")
    try:
        return asyncio.run(_play(keep=keep))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except asyncio.CancelledError:
        return _TERMINATED


async def _play(*, keep: bool) -> int:
    story = asyncio.current_task()
    if story is not None:  # asyncio.run sees to SIGINT; this leaves no files behind after a SIGTERM either
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, story.cancel)
    out = programme.console()
    out.print(
        "An attendance service asks for users and businesses.\n"
        "The proxy stands before the services that own them."
    )
    with tempfile.TemporaryDirectory(prefix="handshake-proxy-demo-") as directory:
        async with Stage(Path(directory)) as stage:
            wrong = await _tell(out, stage)
            if keep:
                await _wait_until_told(out, stage)
    return 1 if wrong else 0


async def _tell(out: Console, stage: Stage) -> list[str]:
    """Play every step and print what came of it; return what is wrong."""
    latency = random.Random(1)  # noqa: S311 - the same story every time
    played: list[tuple[Step, list[Outcome]]] = []
    with out.status("playing"):
        for step in STEPS:
            stage.services.latency = latency.uniform(*_LATENCY)
            if step.before is not None:
                await step.before(stage)
            outcomes = await asyncio.gather(*(_make(stage, call) for call in step.calls))
            played.append((step, outcomes))
        counts = await stage.entities()
    wrong = [f"{step.name}: {o.wrong}" for step, outcomes in played for o in outcomes if o.wrong]
    programme.print_table(out, played)
    programme.print_bars(out, played)
    programme.print_closing(out, counts, stage)
    programme.print_verdict(out, wrong)
    return wrong


async def _make(stage: Stage, call: Call) -> Outcome:
    answers = tuple(await asyncio.gather(*(stage.ask(call.kind, call.ids) for _ in range(call.times))))
    wrong = next((text for answer in answers if (text := find_fault(stage, call, answer))), None)
    return Outcome(call, answers, wrong)


def find_fault(stage: Stage, call: Call, answer: Answer) -> str | None:
    """What of an answer is not as the script says, in words, or None."""
    asked = f"{call.kind.name} {call.ids[0]}{f' and {len(call.ids) - 1} more' if call.ids[1:] else ''}"
    # Of a herd, whoever comes after the fetch has landed is answered from the cache.
    late = call.times > 1 and answer.source == "cache"
    for what, expected, got in (
        ("status", call.status, answer.status),
        ("source", call.source, call.source if late else answer.source),
        ("ids fetched", call.fetched, answer.fetched),
    ):
        if expected != got:
            return f"{asked}: {what} should be {expected}, is {got}"
    if call.status == 200 and answer.body != stage.expected_body(call.kind, call.ids):  # noqa: PLR2004
        return f"{asked}: the items are not the bytes that the service has sent"
    return None


async def _wait_until_told(out: Console, stage: Stage) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    programme.print_invitation(out, stage)
    await told.wait()
