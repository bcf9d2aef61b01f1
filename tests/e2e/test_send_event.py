"""`handshake-proxy send-event` as an operator runs it."""

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.core.http.fields import RawField
from proxy.core.problem import Problem
from proxy.messages import Answer, Reply, Request
from proxy.signatures import Verifier
from tests.e2e.process import PATIENCE, serving
from tests.unit.served import serving as listening

pytestmark = pytest.mark.e2e

EVENT = b'{"type":"user.deleted","id":"planted-id"}'
SECRET, SECOND = (f"whsec_{base64.b64encode(fill * 32).decode()}" for fill in (b"a", b"b"))


@dataclass
class Receiver:
    """What stands at the address that is configured, and notes what it is sent."""

    address: str = ""
    status: int = 204
    sent: list[tuple[bytes, tuple[RawField, ...], bytes]] = field(default_factory=list)

    async def __call__(self, request: Request) -> Answer:
        self.sent.append((request.target, request.fields, (await request.read_at_most(2**21))[0]))
        return Reply(self.status, []) if self.status < 400 else Reply.of_problem(Problem(self.status, "No."))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    async with listening(one) as served:
        one.address = f"127.0.0.1:{served.address[1]}"
        yield one


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    file = tmp_path / "secrets"
    file.write_text(f"# two of them\n{SECRET}\n{SECOND}\n")
    return file


async def run(
    *arguments: str, given: bytes = EVENT, settings: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""

    def wait() -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "proxy.cli", "send-event", *arguments],
            env={**os.environ, **(settings or {})},
            input=given,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return await asyncio.to_thread(wait)


def configured(address: str, secrets: Path) -> dict[str, str]:
    return {
        "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://main.invalid",
        "HANDSHAKE_WEBHOOKS__LISTEN": address,
        "HANDSHAKE_WEBHOOKS__SECRET_FILE": str(secrets),
    }


async def test_it_signs_what_stands_on_standard_input_with_the_first_secret_and_sends_it_there(
    receiver: Receiver, secrets: Path
) -> None:
    code, out, err = await run(settings=configured(receiver.address, secrets))
    assert (code, err) == (0, "")
    ((target, fields, body),) = receiver.sent
    assert (target, body) == (b"/v1/events", EVENT)
    (at,) = (value for name, value in fields if name == b"webhook-timestamp")
    secrets.write_text(SECRET)
    message_id = Verifier(secrets, lambda: float(at)).verify(fields, body)
    assert out == f"204 {message_id}\n"


async def test_without_a_configuration_it_goes_by_its_options(
    receiver: Receiver, secrets: Path, tmp_path: Path
) -> None:
    file = tmp_path / "event.json"
    file.write_bytes(EVENT)
    options = ("--to", f"http://{receiver.address}/hooks?a=b", "--secret-file", str(secrets))
    assert await run(str(file), *options, "--message-id", "msg_7") == (0, "204 msg_7\n", "")
    assert [(target, body) for target, _, body in receiver.sent] == [(b"/hooks?a=b", EVENT)]


@pytest.mark.parametrize("status", [200, 301, 401, 503])
async def test_only_what_was_taken_is_a_success(receiver: Receiver, secrets: Path, status: int) -> None:
    receiver.status = status
    options = ("--to", f"http://{receiver.address}", "--secret-file", str(secrets), "--message-id", "m")
    code, out, err = await run(*options)
    assert (code, out) == (int(status != 200), f"{status} m\n")
    # What is wrong is said in the words of who answers: an answer of another kind is not looked into.
    assert err == ("" if status in {200, 301} else "not taken: No.\n")


@pytest.mark.parametrize(
    "given", [b"", b"planted", b"[1]", b'{"a":1}{', b"\xff", b"[" * 100_000, b" " * (2**20 + 1)]
)
async def test_what_is_no_object_is_not_sent(receiver: Receiver, secrets: Path, given: bytes) -> None:
    options = ("--to", f"http://{receiver.address}", "--secret-file", str(secrets))
    code, out, err = await run(*options, given=given)
    assert (code, out) == (1, "")
    assert err.startswith("not sent: the event ")
    assert "planted" not in err
    assert receiver.sent == []


async def test_a_file_that_is_not_there_and_a_listener_that_is_not_there(secrets: Path) -> None:
    options = ("--to", "http://127.0.0.1:9", "--secret-file", str(secrets), "--message-id", "m")
    assert await run("/nowhere/event.json", *options) == (1, "", "not sent: No such file or directory\n")
    assert await run(*options) == (1, "", "not delivered: ConnectionRefusedError m\n")


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        ((), {}, "webhooks.listen: is not set"),
        (("--to", "http://127.0.0.1:9"), {}, "webhooks.secret_file: is not set"),
        ((), {"HANDSHAKE_WEBHOOKS__LISTEN": "127.0.0.1:0"}, "webhooks.listen: has no port of its own"),
        (
            (),
            {"HANDSHAKE_WEBHOOKS__SECRET_FILE": "/nowhere"},
            "webhooks.secret_file: /nowhere: cannot be read",
        ),
        (("--to", "127.0.0.1:9"), {}, "--to: must be a URL"),
        (("--to", "http://me:hush@127.0.0.1:9"), {}, "--to: must be a URL"),
        (("--to", "http://127.0.0.1:hush"), {}, "--to: must be a URL"),
        (("--to", "http://a", "--message-id", "a\tb"), {}, "--message-id: must be"),
    ],
)
async def test_what_is_wrong_with_the_configuration_is_said_with_status_2(
    secrets: Path, options: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    has_secrets = "webhooks.secret_file" not in message and "listen: is not set" not in message
    settings = (
        configured("127.0.0.1:9", secrets) if has_secrets else {"HANDSHAKE_UPSTREAMS__MAIN__URL": "http://a"}
    )
    code, out, err = await run(*options, settings=settings | environment)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert "hush" not in err


async def test_a_running_proxy_takes_it_once(secrets: Path, tmp_path: Path) -> None:
    settings = configured("127.0.0.1:0", secrets)
    del settings["HANDSHAKE_UPSTREAMS__MAIN__URL"]
    async with serving("http://main.invalid", tmp_path, **settings) as proxy:
        options = ("--to", f"http://{proxy.addresses['webhooks']}", "--secret-file", str(secrets))
        assert await run(*options, "--message-id", "msg_1") == (0, "204 msg_1\n", "")
        assert await run(*options, "--message-id", "msg_1") == (0, "200 msg_1\n", "")
        without_id = b'{"type":"user.deleted"}'
        assert await run(*options, "--message-id", "msg_2", given=without_id) == (
            1,
            "422 msg_2\n",
            "not taken: id is required.\n",
        )
        async with proxy.client("ops") as ops:
            metrics = (await ops.get("/metrics")).body
        assert b'webhook_events_total{outcome="deleted",type="user.deleted"} 1.0' in metrics
        assert b'webhook_events_total{outcome="repeated",type="user.deleted"} 1.0' in metrics
    assert b"planted" not in (tmp_path / "log").read_bytes()
