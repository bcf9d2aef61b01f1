"""A start brings along what serving needs, and looks through it for garbage neither then nor later."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from config import yaml_text

PROJECT = Path(__file__).resolve().parents[2]

# All that `serve` imports before it has read a configuration that asks for more.
IMPORTED = """
import sys
import proxy.cli, config.load, proxy.stores, proxy.log, proxy.app
print(*sorted(sys.modules))
"""

# The command, which is told to stop as soon as it says that it is ready.
SERVED = """
import gc, os, signal, sys
from proxy import cli

def said(line, **_):
    print(gc.isenabled(), gc.get_freeze_count() > 10_000)
    os.kill(os.getpid(), signal.SIGTERM)

cli.print = said
print(cli.main(["serve"]), gc.isenabled())
"""


def run(code: str, **environment: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return set(run(IMPORTED).split())


@pytest.mark.parametrize(
    "name",
    [
        "opentelemetry",  # only with tracing.endpoint
        "proxy.api_reference",
        "proxy.demo",
        "proxy.progress",
        "proxy.send_event",
        "proxy.tracing",
        "proxy.transfer",
        "pygments",
        "requests",
        "rich",  # structlog would import it, if it could
        "standardwebhooks",  # only with webhooks.listen
        "sqlite_utils",  # only for a database that is new or was an earlier version's
        "xml",
    ],
)
def test_serving_does_without(name: str, imported: set[str]) -> None:
    assert "proxy.app" in imported
    assert not {module for module in imported if f"{module}.".startswith(f"{name}.")}


def test_rich_can_be_imported_after_the_log() -> None:
    assert run("import proxy.log, rich.console; print(rich.console.Console is not None)") == "True\n"


def test_structlog_takes_rich_where_it_is_imported_already() -> None:
    code = "import rich, sys, proxy.log, structlog; print(structlog.dev.rich is rich is sys.modules['rich'])"
    assert run(code) == "True\n"


def test_garbage_is_looked_for_again_once_it_serves_but_not_in_what_the_start_has_made(
    tmp_path: Path,
) -> None:
    said = run(
        SERVED,
        HANDSHAKE_UPSTREAMS__MAIN__URL="http://127.0.0.1:9",
        HANDSHAKE_UPSTREAMS__MAIN__LISTEN="127.0.0.1:0",
        HANDSHAKE_HANDSHAKE__LISTEN="127.0.0.1:0",
        HANDSHAKE_OPS__LISTEN="127.0.0.1:0",
        HANDSHAKE_STORE__URL=f"sqlite:///{tmp_path / 'handshake.db'}",
    )
    assert said == "True True\n0 True\n"


def test_a_configuration_that_is_wrong_leaves_the_garbage_to_be_looked_for() -> None:
    code = "import gc; from proxy import cli; print(cli.main(['serve']), gc.isenabled())"
    assert run(code) == "2 True\n"


def test_the_built_in_configuration_reads_the_same_by_either_reader() -> None:
    text = files("config").joinpath("default.yaml").read_text(encoding="utf-8")
    assert yaml_text.sound(text) == yaml_text.parse(text, "default.yaml") != {}


@pytest.mark.parametrize(
    "text", ["a: 1:30", "a: 010", "a: no", "a: 2024-01-01", "a: ~", "a: true", "a: 1.5", "a:"]
)
def test_both_readers_know_the_same_scalars(text: str) -> None:
    assert yaml_text.sound(text) == yaml_text.parse(text, "text")
