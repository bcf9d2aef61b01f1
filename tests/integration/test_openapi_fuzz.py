"""The handshake API against its own OpenAPI document: schemathesis makes up right calls and wrong ones.

The calls are the same in every run, more of them in CI. Still more, and others:
`OPENAPI_EXAMPLES=500 OPENAPI_SEED=2 pytest …`.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, CheckFunction, Response
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance, use_after_free

from proxy.demo.services import Services
from tests.integration.harness import PATIENCE, running

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "10" if os.environ.get("CI") else "3"))
SEED = int(os.environ.get("OPENAPI_SEED", "1"))
SECRET = "s3cret-token"
CONFIG = {
    "seed": SEED,
    "generation": {"deterministic": True, "max-examples": EXAMPLES, "database": "none"},
    # A batch beyond its bound may be a body beyond its bound, too.
    "checks": {"negative_data_rejection": {"expected-statuses": [401, 404, 405, 413, 415, 422]}},
    "phases": {"stateful": {"inference": {"algorithms": []}}},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 10 * EXAMPLES)]


class Known(dict[str, bytes]):
    """Everybody whose id is not of three characters, with members of every kind."""

    def __contains__(self, entity: object) -> bool:
        return isinstance(entity, str) and len(entity) != 3

    def __missing__(self, entity: str) -> bytes:
        return json.dumps({"id": entity, "name": entity, "phone": 1.5, "avatar": len(entity) > 3}).encode()


@asynccontextmanager
async def proxy(directory: Path, **handshake: Any) -> AsyncIterator[str]:
    """The URL of the API."""
    services = Services()
    services.users, services.businesses = Known(), Known()
    await services.start()
    try:
        section = {"listen": "127.0.0.1:0", **handshake}
        async with running(services.url, directory, handshake=section) as there:
            yield f"http://{there.addresses['handshake']}"
    finally:
        await services.stop()


@contextmanager
def beside(there: AbstractAsyncContextManager[str]) -> Iterator[str]:
    """An async context on an event loop of its own, in a thread: schemathesis blocks the test's."""
    entered: Future[str] = Future()
    leave: Future[None] = Future()

    async def stay() -> None:
        try:
            async with there as value:
                entered.set_result(value)
                await asyncio.wrap_future(leave)
        except Exception as error:
            if entered.done():
                raise
            entered.set_exception(error)

    thread = Thread(target=lambda: asyncio.run(stay()))
    thread.start()
    try:
        yield entered.result(PATIENCE)
    finally:
        leave.set_result(None)
        thread.join()


def described(url: str, **headers: str) -> BaseSchema:
    """The document, and what of an answer the next call may take."""
    document = requests.get(f"{url}/openapi.json", headers=headers, timeout=PATIENCE).json()
    calls = {call["operationId"]: call for methods in document["paths"].values() for call in methods.values()}
    for route, call in calls.items():
        plural, _, name = route.partition(".")
        if name in {"ensure", "refresh", "get"}:
            call["responses"]["200"]["links"] = {
                other: {"operationId": f"{plural}.{other}", "parameters": {"id": "$response.body#/id"}}
                for other in ("get", "patch", "delete")
                if f"{plural}.{other}" in calls
            }
    schema = schemathesis.openapi.from_dict(
        document, config=schemathesis.Config.from_dict({**CONFIG, "headers": headers})
    )
    schema.config.update(base_url=url)
    return schema


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    with beside(proxy(tmp_path_factory.mktemp("open"))) as url:
        yield described(url)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    directory = tmp_path_factory.mktemp("secured")
    token = directory / "token"
    token.write_text(SECRET)
    with beside(proxy(directory, token_file=str(token))) as url:
        yield described(url, Authorization=f"Bearer {SECRET}")


@pytest.fixture(autouse=True)
def _node_id(request: pytest.FixtureRequest) -> None:
    request.node._nodeid = request.node.nodeid  # schemathesis looks for it where pytest 9.2 has it no longer


def excluded(case: Case[Any]) -> list[CheckFunction]:
    """The check that takes a call for right, where a schema can't say it: a cursor's text, how a number is written."""
    query = case.query or {}
    return [positive_data_acceptance] if "cursor" in query or "e" in str(query.get("hours", "")) else []


@schemathesis.pytest.from_fixture("api").parametrize()
def test_every_call_is_as_described(case: Case[Any], session: requests.Session) -> None:
    case.call_and_validate(session=session, excluded_checks=excluded(case))


@schemathesis.pytest.from_fixture("secured").parametrize()
def test_every_call_needs_the_token(case: Case[Any], session: requests.Session) -> None:
    case.call_and_validate(session=session, excluded_checks=excluded(case))


def test_calls_that_follow_each_other(api: BaseSchema, session: requests.Session) -> None:
    answers: Counter[tuple[str, int]] = Counter()

    class Machine(api.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            self.erased: set[str] = set()

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"session": session}

        def validate_response(self, response: Response, case: Case[Any], **kwargs: Any) -> None:
            answers[case.operation.definition.raw["operationId"], response.status_code] += 1
            # Of an erased entity that is fetched again the internal id is the same again, which is no use after free.
            checks = [*excluded(case), use_after_free]
            case.validate_response(response, excluded_checks=checks, recorder=self.recorder)
            place = (case.path_parameters or {}).get("id")
            if response.status_code == 200:
                assert place not in self.erased
                if case.method == "DELETE":
                    self.erased.add(str(place))
                else:
                    self.erased.discard(response.json()["id"])

    Machine.run(
        settings=settings(
            max_examples=max(50, 5 * EXAMPLES),  # fewer do not reach all
            stateful_step_count=8,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
    )
    wanted = {("get", 200), ("get", 404), ("delete", 200), ("delete", 404)}
    reached = {(f"{plural}.{name}", status) for plural in ("users", "businesses") for name, status in wanted}
    assert reached | {("users.patch", 200), ("users.patch", 404)} <= answers.keys()
