"""The other commands: what they print, and the files that they leave."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.process import serving
from tests.integration.lines import configured, entry, fill
from tests.persons import events
from tests.persons.planted import ITEM, PERSONS, SECRETS, USER, write_secrets

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def command(directory: Path, *arguments: str, code: int, given: str = "", **environment: str) -> bytes:
    """All that a command prints, with every secret configured."""
    password = SECRETS.values["egress password"]
    settings = {
        "HANDSHAKE_UPSTREAMS__MAIN__URL": "http://users.invalid:8000",
        "HANDSHAKE_UPSTREAMS__MAIN__PROXY": f"http://me:{password}@127.0.0.1:1",
        "HANDSHAKE_STORE__URL": f"sqlite:///{directory / 'handshake.db'}",
        **write_secrets(directory.parent / "secrets"),
        **environment,
    }
    del settings["HANDSHAKE_SHARING__KEY_FILE"]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "proxy.cli", *arguments],
        env={**os.environ, **settings},
        input=given.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_printed_configuration_and_its_errors_have_no_secret(tmp_path: Path) -> None:
    printed = command(tmp_path / "store", "check-config", code=0)
    assert b"users.invalid" in printed
    assert not SECRETS.found_in(printed)
    wrong = {
        "HANDSHAKE_UPSTREAMS__MAIN__PROXY": f"htp://me:{SECRETS.values['egress password']}@127.0.0.1:x",
        "HANDSHAKE_UPSTREAMS__MAIN__URL": f"http://me:{SECRETS.values['egress password']}@users.invalid",
        "HANDSHAKE_HANDSHAKE__TOKEN": SECRETS.values["handshake token"],
        "HANDSHAKE_SHARING": f"{{key_file: [{SECRETS.values['sharing key']}]}}",
    }
    printed = command(tmp_path / "store", "check-config", code=2, **wrong)
    assert b"upstreams.main.proxy" in printed
    assert not SECRETS.found_in(printed)


def test_an_export_has_persons_and_no_secret_and_what_is_printed_has_neither(tmp_path: Path) -> None:
    store = tmp_path / "store"
    fill(configured(store), entry(USER, json.dumps(ITEM).encode()))
    exported = tmp_path / "out" / "export"
    exported.parent.mkdir()
    printed = command(store, "export", str(exported), code=0)
    assert not PERSONS.found_in(printed) | SECRETS.found_in(printed)
    assert PERSONS.found_below(exported.parent) == {"export": {"user", "email", "name", "phone"}}
    assert SECRETS.found_below(exported.parent) == {}
    (tmp_path / "other").mkdir()
    # A line that is not taken, in each of the ways in which a line can be wrong.
    good = json.loads(exported.read_text())
    for wrong in (
        json.dumps(good)[:-9],
        json.dumps(good | {"item": {"id": ITEM["email"]}}),
        json.dumps(good | {str(ITEM["email"]): 1}),
        json.dumps(good | {"resource": USER}),
        json.dumps(good | {"lastSyncedAt": ITEM["phone"]}),
        json.dumps(good | {"local": {str(ITEM["name"]): USER}}),
        json.dumps(good | {"headers": [[ITEM["email"], USER]]}),
    ):
        broken = tmp_path / "out" / "broken"
        broken.write_text(wrong + "\n")
        printed = command(tmp_path / "other", "import", str(broken), code=1)
        assert b"line 1" in printed
        assert not PERSONS.found_in(printed) | SECRETS.found_in(printed)


async def test_an_event_that_is_sent_shows_its_status_alone(tmp_path: Path) -> None:
    secrets = write_secrets(tmp_path / "secrets")
    listening = {
        "HANDSHAKE_WEBHOOKS__LISTEN": "127.0.0.1:0",
        "HANDSHAKE_WEBHOOKS__SECRET_FILE": secrets["HANDSHAKE_WEBHOOKS__SECRET_FILE"],
    }
    good = events.event(type="user.deleted").decode()
    async with serving("http://users.invalid:8000", tmp_path, **listening) as proxy:
        address = proxy.addresses["webhooks"]
        for to, given, code in (
            (address, good, 0),
            (address, events.event(type=USER).decode(), 1),
            (address, good[:-1], 1),
            ("127.0.0.1:1", good, 1),
            ("", good, 2),
        ):
            there = {"HANDSHAKE_WEBHOOKS__LISTEN": to} if to else {}
            printed = await asyncio.to_thread(
                command, tmp_path, "send-event", code=code, given=given, **there
            )
            assert printed
            assert not PERSONS.found_in(printed) | SECRETS.found_in(printed)
    assert not PERSONS.found_in((tmp_path / "log").read_bytes())
