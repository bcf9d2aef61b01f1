"""A change of the configuration shows nobody what was said to somebody else: rows live longer than a process."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.credentials import NOBODY, A, Guarded, caller, single, user
from tests.integration.harness import Proxy, running


async def _asked(proxy: Proxy, route: str) -> bytes:
    """What somebody without a credential is shown."""
    if route == "transparent":
        return (await single(proxy, "1")).body
    return (await proxy.call("POST", "/v1/users/ensure?include=data", {"userId": "1"})).body


@pytest.mark.parametrize("after", ["per_credential", "anonymous"])
@pytest.mark.parametrize("route", ["transparent", "handshake"])
async def test_what_a_callers_credential_has_filled_is_not_shown_without_one(
    tmp_path: Path, after: str, route: str
) -> None:
    service = Guarded()
    async with service.upstream as upstream:
        async with running(upstream.url, tmp_path, resources=user(sharing="service")) as proxy:
            assert b"Bearer a" in (await single(proxy, "1", A)).body
            await proxy.durable()
        service.status[caller(NOBODY)] = 401
        async with running(upstream.url, tmp_path, resources=user(sharing=after)) as proxy:
            assert b"Bearer a" not in await _asked(proxy, route)


async def test_what_credential_file_has_brought_is_not_shown_without_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("own")
    service = Guarded()
    async with service.upstream as upstream:
        with_one: dict[str, Any] = {"credential_file": str(token)}
        async with running(upstream.url, tmp_path, resources=user(), upstream=with_one) as proxy:
            shown = await proxy.call("POST", "/v1/users/ensure", {"userId": "1"})
            assert shown.status == 200
            await proxy.durable()
        service.status[caller(NOBODY)] = 401
        async with running(upstream.url, tmp_path, resources=user()) as proxy:
            assert (await single(proxy, "1")).status == 401
            del service.status[caller(NOBODY)]
            again = await proxy.call("POST", "/v1/users/ensure", {"userId": "1"})
            assert again.json()["id"] == shown.json()["id"]


async def test_rows_that_the_same_have_filled_stay(tmp_path: Path) -> None:
    service = Guarded()
    async with service.upstream as upstream:
        for sharing in ("anonymous", "per_credential", "anonymous"):
            async with running(upstream.url, tmp_path, resources=user(sharing=sharing)) as proxy:
                assert (await single(proxy, "1")).status == 200
                await proxy.durable()
        assert len(service.calls) == 1


async def test_the_log_names_the_resources_of_which_rows_were_forgotten(
    tmp_path: Path,
) -> None:
    service = Guarded()
    async with service.upstream as upstream:
        with capture_logs() as lines:
            for sharing in ("service", "anonymous"):
                async with running(upstream.url, tmp_path, resources=user(sharing=sharing)) as proxy:
                    await single(proxy, "1", A)
                    await proxy.durable()
    said = [line["resources"] for line in lines if line["event"] == "rows_forgotten"]
    assert said == [["user"]]
