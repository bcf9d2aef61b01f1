"""An independent suite on HTTP caching against an opaque resource of a real process; `make conformance` prints it."""

import asyncio

import pytest

from tests.conformance.known import KNOWN, OPTIONAL
from tests.conformance.suite import Results, installed

# npm depends on the network, so it may take a while.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    suite = installed(tmp_path_factory.mktemp("suite"))
    return asyncio.run(suite.run(tmp_path_factory.mktemp("proxy")))


def test_what_is_required_holds_but_for_what_is_known(results: Results) -> None:
    failures = results.failures("required")
    assert not {test: why for test, why in failures.items() if test not in KNOWN}
    assert not KNOWN.keys() - failures, "these pass, and are to be taken out of the list"
    assert results.total("required") == 157


def test_so_much_of_what_is_optional_is_done(results: Results) -> None:
    assert results.passed("optimal") >= OPTIONAL, results.failures("optimal")
    assert results.total("optimal") == 86
