"""What is not read at a start."""

import os
import ssl
import subprocess
import sys

import pytest

from proxy.start import without_certificates

_CHILD = """
import sys
from proxy import cli
cli._run = lambda work: work.close()
cli._load = lambda arguments: None
cli._serve(None)
from aiohttp import connector
for context in (connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED):
    print(context.cert_store_stats()["x509"])
"""


@pytest.mark.parametrize("known", [None, "/a/file"])
def test_what_was_set_is_set_again(known: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if known is not None:
        monkeypatch.setenv("SSL_CERT_FILE", known)
    with without_certificates():
        assert not ssl.create_default_context().cert_store_stats()["x509"]
    assert os.environ.get("SSL_CERT_FILE") == known


def test_aiohttps_own_contexts_have_no_authorities_when_the_program_serves() -> None:
    """Else they are read again: at another time, or by another name."""
    told = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["0", "0"]
