"""Sends a sample to the proxy, and compares what came of it with what had to come."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress

from tests.hostile.corpus import Expect, Line, Sample
from tests.hostile.parsers import READERS, read
from tests.hostile.recorder import RecordingUpstream, answered
from tests.integration.harness import Client, Proxy, Response

_CANARY = b"GET /canary/%d HTTP/1.1\r\nHost: a\r\n\r\n"


def cut(sample: Sample, times: int) -> Iterator[Sequence[bytes]]:
    """The bytes of a sample in two to five pieces, each time other ones; the same in each run."""
    chance = random.Random(sample.name)
    for _ in range(times):
        places = sorted(chance.randrange(len(sample.data) + 1) for _ in range(chance.randint(1, 4)))
        yield [sample.data[a:b] for a, b in zip([0, *places], [*places, None], strict=True)]


class Judge:
    """One proxy before one recorder, for many samples."""

    def __init__(self, proxy: Proxy, upstream: RecordingUpstream) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._number = 0

    async def faults(self, sample: Sample, pieces: Sequence[bytes]) -> list[str]:
        """What is wrong with what came of it; nothing, if all is well."""
        self._upstream.forget()
        async with self._proxy.client() as client:
            try:
                faults = await self._outcome(sample, pieces, client)
            except TimeoutError:
                faults = ["no answer, and no end"]
        await self._proxy.quiet()
        faults += self._readings(sample)
        # Whoever comes next, on a connection of his own, gets his own answer: no bytes of the sample are before his.
        async with self._proxy.client() as client:
            faults += await self._canary(client)
        return [f"{sample.name}, in {len(pieces)}: {fault}" for fault in faults]

    async def _outcome(self, sample: Sample, pieces: Sequence[bytes], client: Client) -> list[str]:
        await _send(client, pieces)
        match sample.expect:
            case Expect.ONE | Expect.TWO:
                answers = [await _final(client) for _ in sample.sees]
                return _not_their_own(answers, sample.sees) + await self._canary(client)
            case Expect.UNFINISHED:
                async with self._proxy.client() as another:
                    faults = await self._canary(another)
                return faults + ["it did not wait"] * client.reader.at_eof()
            case Expect.LAST | Expect.AT_MOST:
                answers, is_reset = await _answers(client)
                if is_reset and not answers and sample.has_more_behind:
                    return []  # closed with bytes unread, TCP may throw the answer away; what went on still counts
                refused = [answer for answer in answers if answer.status >= 400]
                if sample.expect is Expect.AT_MOST and len(answers) == 1 and refused:
                    return []
                return _not_their_own(answers, sample.sees)
            case Expect.REFUSED | Expect.BROKEN:
                answers, is_reset = await _answers(client)
                if len(answers) > 1 or (not answers and not is_reset) or not all(map(_is_refusal, answers)):
                    return [f"answered {[answer.status for answer in answers]}"]
                return []

    def _readings(self, sample: Sample) -> list[str]:
        """Where a server of some kind would see something else than was meant."""
        faults = []
        whole = sample.expect in {Expect.ONE, Expect.TWO, Expect.LAST, Expect.AT_MOST}
        for name, reader in READERS.items():
            readings = [read(reader, bytes(data)) for data in self._upstream.received.values()]
            # The canaries are the judge's own.
            seen = tuple(
                line for lines, _ in readings for line in lines if not line[1].startswith(b"/canary/")
            )
            stops = {stopped for _, stopped in readings} - {""}
            meant = {sample.sees, ()} if sample.expect is Expect.AT_MOST else {sample.sees}
            if seen not in meant or stops - (set() if whole else {"unended"}):
                faults.append(f"{name} sees {str(seen)[:200]}, {stops or 'all'}")
        return faults

    async def _canary(self, client: Client) -> list[str]:
        self._number += 1
        wanted = answered((b"GET", b"/canary/%d" % self._number, b""))
        try:
            await client.send(_CANARY % self._number)
            response = await client.receive()
        except (ConnectionError, asyncio.IncompleteReadError):
            return ["the connection ended"]
        return (
            [] if response.body == wanted else [f"the next one got {response.status} {response.body[:80]!r}"]
        )


async def _send(client: Client, pieces: Sequence[bytes]) -> None:
    try:
        for piece in pieces:
            await client.send(piece)
            for _ in range(4):  # the proxy reads it, in this same loop
                await asyncio.sleep(0)
    except ConnectionError:
        pass  # it was refused before its end


async def _final(client: Client) -> Response:
    """The next response that is none of the interim ones."""
    while (response := await client.receive()).status < 200:
        pass
    return response


async def _answers(client: Client) -> tuple[list[Response], bool]:
    """All that comes until the connection ends, and whether it was reset: what was on its way is lost then."""
    answers: list[Response] = []
    try:
        while True:
            answers.append(await _final(client))
            if answers[-1].field("connection") == "close":
                with suppress(OSError):  # it may have ended
                    client.writer.write_eof()  # else the rest of its body is waited for, and dropped
    except asyncio.IncompleteReadError:
        return answers, False
    except ConnectionError:
        return answers, True


def _is_refusal(response: Response) -> bool:
    return response.status >= 400 and (
        (response.field("connection"), response.field("content-type"))
        == ("close", "application/problem+json")
    )


def _not_their_own(answers: Sequence[Response], sees: Sequence[Line]) -> list[str]:
    """Whether the answers are not the ones to these requests, in their order."""
    got = [(answer.status, answer.body) for answer in answers]
    wanted = [(200, answered(line)) for line in sees]
    return [] if got == wanted else [f"answered {str(got)[:200]}"]
