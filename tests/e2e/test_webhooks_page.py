"""What docs/webhooks.md tells a sender to do, done."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.load import load
from config.webhook_secrets import load as load_secrets
from proxy.messages import Answer, Reply, Request
from proxy.signatures import Verifier
from tests.e2e.process import PATIENCE
from tests.needed import tool
from tests.unit.served import serving

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
EVENT = '{"type":"user.updated","id":"ü1"}'


def block(language: str, word: str) -> str:
    """The one block of the page in that language which has the word."""
    found = [
        text for text in re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL) if word in text
    ]
    assert len(found) == 1
    return str(found[0])


def run(directory: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The file, made as the page says."""
    tool("openssl", "install openssl")
    run(tmp_path, "sh", "-c", block("sh", "> webhook-secrets"))
    return tmp_path / "webhook-secrets"


@dataclass
class Receiver:
    """Answers 204 to what is signed."""

    secrets: Path
    url: str = ""
    bodies: list[str] = field(default_factory=list)

    async def __call__(self, request: Request) -> Answer:
        body, _ = await request.read_at_most(2**20)
        Verifier(self.secrets, time.time).verify(request.fields, body)
        self.bodies.append(body.decode())
        return Reply(204, [])


@pytest.fixture
async def receiver(secrets: Path) -> AsyncIterator[Receiver]:
    one = Receiver(secrets)
    async with serving(one) as served:
        one.url = f"http://127.0.0.1:{served.address[1]}/v1/events"
        yield one


async def test_the_shell_signs_what_is_accepted(receiver: Receiver, tmp_path: Path) -> None:
    tool("curl", "install curl")
    (tmp_path / "event.json").write_text(EVENT)
    script = block("sh", "curl")
    said = await asyncio.to_thread(run, tmp_path, "sh", "-ec", script, URL=receiver.url, no_proxy="127.0.0.1")
    assert said.startswith("HTTP/1.1 204 ")
    assert receiver.bodies == [EVENT]


async def test_python_signs_what_is_accepted(receiver: Receiver, tmp_path: Path) -> None:
    (secret,) = load_secrets(receiver.secrets)
    script = (
        f"{block('python', 'standardwebhooks')}\nprint(send({receiver.url!r}, {secret!r}, {{'id': 'ü1'}}))\n"
    )
    said = await asyncio.to_thread(run, tmp_path, sys.executable, "-c", script, no_proxy="127.0.0.1")
    assert said == "204\n"
    assert receiver.bodies == ['{"id": "\\u00fc1"}']


def test_the_secret_that_is_made_is_the_readers_own_and_the_configuration_loads(
    secrets: Path, tmp_path: Path
) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o600
    file = tmp_path / "proxy.yaml"
    file.write_text(block("yaml", "webhooks:").replace("/run/secrets/webhooks", str(secrets)))
    webhooks = load(file, {"HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.example.org"}).webhooks
    assert (str(webhooks.listen), webhooks.secret_file, webhooks.max_rate) == ("0.0.0.0:8090", secrets, 200)
