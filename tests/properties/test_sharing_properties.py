"""In `anonymous` mode nothing that a credential brought is shown to anybody else, whatever the origin says."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.harness import Proxy, ScriptedUpstream, Seen, running
from tests.integration.people import BULK

CREDENTIALS = ("", "Authorization: a", "Authorization: b", "Cookie: c=1", "X-Api-Key: k")
DIRECTIVES = (
    "",
    "public",
    "s-maxage=60",
    "must-revalidate",
    "max-age=60",
    "private",
    "max-age=60, public",
    "no-store",
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(CREDENTIALS),
        st.sampled_from(("single", "bulk")),
        st.sampled_from(DIRECTIVES),
        st.sampled_from((0.0, 70.0)),
    ),
    min_size=2,
    max_size=8,
)


def who(fields: list[tuple[bytes, bytes]]) -> str:
    """The credential that a request bears, as one word."""
    known = {b"authorization", b"cookie", b"x-api-key"}
    return ";".join(
        f"{name.decode().title()}: {value.decode()}" for name, value in fields if name.lower() in known
    )


@dataclass
class Stage:
    """A proxy that lives through all examples; each has an entity of its own."""

    runner: asyncio.Runner
    proxy: Proxy
    says: list[str]
    names: Iterator[int]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    says = [""]

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        item = {"who": who(seen.fields)}
        if seen.line.startswith(b"GET"):
            body = json.dumps(item | {"id": seen.line.split()[1].rsplit(b"/", 1)[1].decode()})
        else:
            body = json.dumps(
                {"users": [item | {"id": entity} for entity in json.loads(seen.body)["userIds"]]}
            )
        control = f"Cache-Control: {says[0]}\r\n" if says[0] else ""
        writer.write(f"HTTP/1.1 200 OK\r\n{control}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    async def start(directory: Path, stack: AsyncExitStack) -> Proxy:
        upstream = await stack.enter_async_context(ScriptedUpstream(script))
        user = {
            "id": "/id",
            "storage": "memory",
            "single": {"path": "/users/{id}"},
            "bulk": {"path": BULK, "ids": "/userIds", "items": "/users"},
            "freshness": {"ttl": "60s", "stale_while_revalidate": "30s"},
        }
        return await stack.enter_async_context(running(upstream.url, directory, resources={"user": user}))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        proxy = runner.run(start(tmp_path_factory.mktemp("sharing"), stack))
        yield Stage(runner, proxy, says, count())
        runner.run(stack.aclose())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_nobody_sees_what_anothers_credential_brought(
    stage: Stage, steps: list[tuple[str, str, str, float]]
) -> None:
    """RFC 9111 section 3.5, and the stricter rule that what a credential brings is never stored at all."""
    entity = f"e{next(stage.names)}"

    async def play() -> None:
        async with stage.proxy.client() as client:
            for credential, face, directive, seconds in steps:
                stage.says[0] = directive
                stage.proxy.clock.tick(seconds)
                fields = [credential] if credential else []
                if face == "single":
                    response = await client.get(f"/users/{entity}", *fields)
                    found = response.json()["who"]
                else:
                    body = json.dumps({"userIds": [entity]}).encode()
                    response = await client.post(BULK, body, *fields)
                    found = response.json()["users"][0]["who"]
                assert found in {"", credential}
                if "hit" in response.field("cache-status"):
                    assert found == ""

    stage.runner.run(play())
