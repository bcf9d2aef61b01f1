"""A real Prometheus on loopback, started and ended by the test."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.needed import tool

PACKAGE = "install Debian's prometheus"
PATIENCE = 15.0
_POLL = 0.05


@dataclass
class Prometheus:
    """The HTTP API of a running Prometheus."""

    session: aiohttp.ClientSession

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of an API call. Fails when Prometheus says that the call is wrong."""
        async with self.session.get(f"/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", (path, parameters, answer.get("error"))
        return answer["data"]

    async def has_data(self, expression: str) -> bool:
        """Whether the expression has a number now: a series of NaN draws nothing."""
        found = await self.get("query", query=expression)
        return any(math.isfinite(float(series["value"][1])) for series in found["result"])

    async def instances_without(self, metric: str) -> list[str]:
        """The instances that are up and have no number for the metric: NaN is none."""
        found = await self.get("query", query=f"up unless on (instance) ({metric} > -Inf)")
        return [series["metric"]["instance"] for series in found["result"]]

    async def lacking(self, expressions: dict[str, str], *, seconds: float) -> dict[str, str]:
        """Ask for each until it has had data once; those that had none in that time."""
        left = dict(expressions)
        deadline = asyncio.get_running_loop().time() + seconds
        while left and asyncio.get_running_loop().time() < deadline:
            for name, expression in list(left.items()):
                if await self.has_data(expression):
                    del left[name]
            await asyncio.sleep(_POLL)
        return left


@asynccontextmanager
async def scraping(targets: Sequence[str], directory: Path, rules: Path) -> AsyncIterator[Prometheus]:
    """Prometheus with these rules, scraping `targets` as instances of one job, with its data in `directory`."""
    program = tool("prometheus", PACKAGE)
    labels = {"namespace": "shop", "pod": "attendance-0"}
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": "attendance", "static_configs": [{"targets": list(targets), "labels": labels}]}
        ],
    }
    file, log = directory / "prometheus.yaml", directory / "prometheus.log"
    file.write_text(yaml.safe_dump(config))
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
            "--log.format=json",
            stdout=sink,
            stderr=sink,
        )
    try:
        async with asyncio.timeout(PATIENCE):
            while (address := _address(log)) is None:
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(_POLL)
        async with aiohttp.ClientSession(f"http://{address}") as session:
            yield Prometheus(session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _address(log: Path) -> str | None:
    """Where it listens, once it does; port 0 is a real one by then."""
    listening = re.findall(r'.*"msg":"Listening on".*', log.read_text())
    return str(json.loads(listening[0])["address"]) if listening else None
