"""One request to each face of the proxy: a bulk, a GET of one entity, a login, and what is passed through."""

import asyncio
import json
from dataclasses import dataclass

from tests.faults.watch import BULK, HELD, TOKEN, TTL, USER, Watched, until
from tests.integration.harness import Response

CUT = "cut"
"""What a client gets whose answer ends before its end."""
FACES = ("bulk", "single", "login", "pass")
_ROUTES = {
    "bulk": "user.bulk",
    "single": "user.single",
    "login": "login",
}  # what is passed through is "passthrough"
_NOTE = f"X-Note: {TOKEN}"
_TIMED_OUT = {"timeout", "connect_timeout"}


@dataclass(frozen=True)
class Outcome:
    """What a fault comes to, for who asks for what there is no copy of."""

    reason: str
    """Of `upstream_errors_total`, and of the log line."""
    passed: int | str = 502
    """What a client gets that is passed through: a status, or CUT."""
    passed_reason: str | None = "the same"
    """Of `upstream_errors_total`, where it is another one for what is passed through; None: there is no failure."""
    again: bool = False
    """Whether a fill is tried again, once."""

    def status(self, face: str) -> int | str:
        """What the client of a face gets."""
        if face == "pass":
            return self.passed
        if face != "single":
            return 503
        return 504 if self.reason in _TIMED_OUT else 502

    def errors(self, face: str) -> dict[str, float]:
        """What `upstream_errors_total` has counted."""
        if face != "pass":
            return {self.reason: 1 + self.again}
        if self.passed_reason is None:
            return {}
        return {self.reason if self.passed_reason == "the same" else self.passed_reason: 1}

    def check(self, seen: Watched, face: str, answer: Response | str) -> None:
        """The answer, the log and the metrics are as they should be after one request."""
        status = self.status(face)
        if isinstance(answer, Response):
            assert answer.status == status
            if status != 200:
                assert answer.field("content-type") == "application/problem+json"
                assert (answer.json()["type"], answer.json()["status"]) == ("about:blank", status)
                assert answer.field("retry-after") == ("1" if status == 503 else "")
            seen.says_nothing(answer)
        else:
            assert answer == status
            seen.says_nothing()
        errors = self.errors(face)
        assert seen.errors() == errors
        retried = self.again if face != "pass" else 0
        assert seen.proxy.metric("upstream_retries_total", upstream="main") == retried
        if not errors:
            assert not seen.logged("upstream_failed")
            assert not seen.logged("request", log_level="warning")
            return
        (reason,) = errors
        assert seen.logged("upstream_failed") == 1
        assert seen.logged("upstream_failed", log_level="warning", upstream="main", reason=reason) == 1
        code, route = 502 if status == CUT else status, _ROUTES.get(face, "passthrough")
        assert seen.logged("request", log_level="warning", route=route, code=code) == 1
        assert seen.proxy.metric("requests_total", route=route, code=str(code), cache="error") == 1


async def asked(seen: Watched, face: str, user: str = USER) -> Response | str:
    """What the client gets: a response, or CUT."""
    listener = "handshake" if face == "login" else "upstreams.main"
    async with seen.proxy.client(listener) as client:
        try:
            match face:
                case "bulk":
                    return await client.post(BULK, json.dumps({"userIds": [user]}).encode(), _NOTE)
                case "single":
                    return await client.get(f"/users/{user}", _NOTE)
                case "login":
                    ids = {"userId": user, "businessId": "shop"}
                    return await client.call("POST", "/v1/login", ids, _NOTE)
                case "upload":
                    return await client.post(f"/elsewhere?{user}", b"{}", _NOTE)
                case _:
                    return await client.get(f"/elsewhere?{user}", _NOTE)
        except (
            asyncio.IncompleteReadError,
            ConnectionError,
            ValueError,
        ):  # the last: half a chunk size is no number
            return CUT


async def asked_and_checked(seen: Watched, face: str, outcome: Outcome) -> None:
    """One request, and what came of it once the call that it caused has ended: its client may hear a moment before."""
    answer = await asked(seen, face)
    await until(lambda: not seen.waiting())
    outcome.check(seen, face, answer)


async def answered(seen: Watched, face: str, user: str = USER) -> Response:
    """A response, which there has to be."""
    answer = await asked(seen, face, user)
    assert isinstance(answer, Response), answer
    return answer


async def warm(seen: Watched) -> None:
    """Have a copy of HELD, and of the business that everybody logs in to; both are stale at the end."""
    assert (await answered(seen, "login", HELD)).status == 200
    seen.proxy.clock.tick(TTL)


async def held_is_served(seen: Watched) -> None:
    """Who asks for what there is a copy of notices nothing."""
    for face in ("bulk", "single", "login"):
        assert (await answered(seen, face, HELD)).status == 200


async def heals(seen: Watched, face: str, after: float = TTL) -> None:
    """The upstream is well again: `after` so many seconds all is answered as ever, from the upstream."""
    seen.proxy.clock.tick(after)
    errors = seen.errors()
    for user in (HELD, USER):
        answer = await answered(seen, face, user)
        assert (answer.status, answer.field("cache-status").startswith("handshake-proxy; hit")) == (
            200,
            False,
        )
    assert seen.errors() == errors
