"""Two calls for one target that overtake each other."""

import asyncio
from pathlib import Path

from tests.integration.harness import ScriptedUpstream, Seen
from tests.integration.herd import before, said, until

NOT_MODIFIED = "304 Not Modified"


class Overtaken:
    """An origin that confirms what it is asked about, but says so late: another request has an answer meanwhile."""

    def __init__(self) -> None:
        self.late = asyncio.Event()
        self.upstream = ScriptedUpstream(self._script)

    @property
    def calls(self) -> int:
        return len(self.upstream.seen)

    async def _script(self, _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.calls
        if number == 1:
            writer.write(said(b"old", "Cache-Control: max-age=5", 'ETag: "1"'))
        elif number == 2:
            await self.late.wait()
            writer.write(said(b"", "Cache-Control: max-age=60", 'ETag: "1"', status=NOT_MODIFIED, length=0))
        else:
            writer.write(said(b"new", "Cache-Control: max-age=60", 'ETag: "2"'))


async def test_a_confirmation_that_comes_late_takes_no_newer_ones_place(tmp_path: Path) -> None:
    """RFC 9111 section 4: of several responses the most recent one counts."""
    origin = Overtaken()
    freshness = {"ttl": "0s", "revalidate_timeout": "10s"}
    async with before(origin.upstream, tmp_path, resource={"freshness": freshness}) as proxy:
        assert (await proxy.get("/a")).body == b"old"
        proxy.clock.tick(10)
        confirming = asyncio.create_task(proxy.get("/a"))
        await until(lambda: origin.calls == 2)
        assert (await proxy.get("/a", "Cache-Control: no-cache")).body == b"new"
        origin.late.set()
        assert (await confirming).body == b"old"  # it was good when it was asked about
        hit = await proxy.get("/a")
        assert (hit.body, origin.calls) == (b"new", 3)
        assert "hit" in hit.field("cache-status")
