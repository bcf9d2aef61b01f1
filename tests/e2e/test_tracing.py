"""The real command with a receiver of spans, with one that hangs, and without any."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.demo.services import Services
from tests.e2e.process import PATIENCE, serving
from tests.integration.harness import ScriptedUpstream, Seen
from tests.integration.otlp import receiving

pytestmark = pytest.mark.e2e
URL = "HANDSHAKE_UPSTREAMS__MAIN__URL"
ENDPOINT = "HANDSHAKE_TRACING__ENDPOINT"

# What `serve` does, but for the signals, and then which modules it has brought along.
LISTED = """
import asyncio, os, sys
from config.load import load
from proxy.app import App

async def run():
    app = App(load(None, os.environ))
    await app.start()
    await app.stop()

asyncio.run(run())
print([name for name in sys.modules if name.startswith(("opentelemetry", "proxy.tracing", "requests"))])
"""


async def test_a_receiver_has_every_span_before_the_exit(tmp_path: Path) -> None:
    upstream = Services()
    await upstream.start()
    settings = {
        "OTEL_SERVICE_NAME": "attendance-proxy",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=attendance-0",
        "HANDSHAKE_LOG__LEVEL": "debug",
    }
    try:
        async with receiving() as receiver:
            async with serving(upstream.url, tmp_path, **{ENDPOINT: receiver.url}, **settings) as proxy:
                async with proxy.client() as client:
                    for _ in range(600):  # more than a batch
                        assert (await client.users("u-1")).status == 200
                assert await proxy.terminate() == 0
            assert len(receiver.of("SERVER")) == 600
            assert receiver.only("CLIENT").parent_id == receiver.of("SERVER")[0].span_id
            resource = receiver.resource()
            assert (resource["service.name"], resource["k8s.pod.name"]) == (
                "attendance-proxy",
                "attendance-0",
            )
            assert "tracing_export" not in (tmp_path / "log").read_text()
    finally:
        await upstream.stop()


async def test_a_receiver_that_hangs_holds_nothing_up(tmp_path: Path) -> None:
    async def hang(_: Seen, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()

    upstream = Services()
    await upstream.start()
    settings = {"HANDSHAKE_LIMITS__DRAIN_TIMEOUT": "500ms", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}
    loop = asyncio.get_running_loop()
    try:
        async with ScriptedUpstream(hang) as receiver:
            async with serving(upstream.url, tmp_path, **{ENDPOINT: receiver.url}, **settings) as proxy:
                assert (await proxy.users("u-1")).status == 200
                async with asyncio.timeout(PATIENCE):
                    while not receiver.seen:
                        await asyncio.sleep(0)
                assert (await proxy.users("u-1")).status == 200
                began = loop.time()
                assert await proxy.terminate() == 0
                assert loop.time() - began < 5  # the exporter would wait for 10 s
        assert "tracing_export_given_up" in (tmp_path / "log").read_text()
    finally:
        await upstream.stop()


@pytest.mark.slow
@pytest.mark.parametrize("on", [False, True])
async def test_opentelemetry_is_imported_with_an_endpoint_and_not_without(
    tmp_path: Path, *, on: bool
) -> None:
    settings = {
        URL: "http://127.0.0.1:9",
        "HANDSHAKE_UPSTREAMS__MAIN__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_HANDSHAKE__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_OPS__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_STORE__URL": f"sqlite:///{tmp_path / 'handshake.db'}",
        **({ENDPOINT: "http://127.0.0.1:9"} if on else {}),
    }
    finished = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", LISTED],
        env=settings,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )
    listed = finished.stdout.decode()
    assert listed.endswith("]\n")
    assert ("opentelemetry" in listed) is ("proxy.tracing" in listed) is ("requests" in listed) is on


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_an_endpoint_without_the_extra_is_an_error_of_the_configuration(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:9")
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.delitem(sys.modules, "proxy.tracing_export", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    assert main([command]) == 2
    said = capsys.readouterr().err
    assert (
        said
        == "tracing.endpoint: needs an extra that is not installed: pip install 'handshake-proxy[tracing]'\n"
    )


@pytest.mark.parametrize("command", ["serve", "check-config"])
@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "100",
            "max_export_batch_size must be less than or equal to max_queue_size",
        ),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "schedule_delay_millis must be positive"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "x", "OTEL_SPAN_LINK_COUNT_LIMIT must be a non-negative integer"),
    ],
)
def test_a_wrong_variable_of_opentelemetry_is_an_error_of_the_configuration(
    command: str,
    name: str,
    value: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:9")
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setenv(name, value)
    assert main([command]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tracing: a variable OTEL_* is wrong: {why}")
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "code", "said"),
    [
        # It is read as soon as the SDK is imported.
        (
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            "x",
            2,
            "tracing: a variable OTEL_* is wrong: OTEL_SPAN_ATTRIBUTE",
        ),
        # The SDK warns of this one, passes it over, and quotes it.
        ("OTEL_EXPORTER_OTLP_HEADERS", "planted-4711", 0, ""),
    ],
)
async def test_what_check_config_says_of_a_variable_of_opentelemetry(
    name: str, value: str, code: int, said: str
) -> None:
    finished = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "proxy.cli", "check-config"],
        env={URL: "http://127.0.0.1:9", ENDPOINT: "http://127.0.0.1:4318", name: value},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert finished.returncode == code
    assert finished.stderr.startswith(said)
    assert finished.stderr.count("\n") == (1 if said else 0)
