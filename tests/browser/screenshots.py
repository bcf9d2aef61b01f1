"""Take the pictures of docs/inspector.md, of made-up people: `python -m tests.browser.screenshots`."""

import asyncio
import json
import random
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from playwright.async_api import Browser

from proxy.demo.people import USERS
from proxy.demo.stage import BUSINESS, USER, Stage
from tests.browser.chromium import PHONE, Seat, launched, opened, seated

PLACE = Path(__file__).parents[2] / "docs" / "screenshots"
_LATENCY = 0.03
_ROUNDS = 140
_KNOWN, _NEWCOMERS = 0.85, 400
_LATER = 25 * 3600.0


class Traffic:
    """What an attendance service asks for on an ordinary morning."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._dice = random.Random(7)

    async def round(self) -> None:
        """Some logins and look-ups."""
        for _ in range(self._dice.randint(1, 4)):
            user = (
                f"user-{self._dice.randint(1, 18) if self._dice.random() < _KNOWN else self._newcomer():02}"
            )
            business = f"biz-{self._dice.randint(1, 3):02}"
            await self._stage.ask(USER, (user,))
            await self._stage.ask(BUSINESS, (business,))
        await self.login("user-03", "biz-01")

    def _newcomer(self) -> int:
        return self._dice.randint(25, 24 + _NEWCOMERS)

    async def strangers(self) -> None:
        """Look-ups of people of whom nothing is held."""
        for number in range(3):
            await self._stage.ask(USER, (f"stranger-{number}",))

    async def login(self, user: str, business: str) -> None:
        """A login by the handshake API."""
        body = {"userId": user, "businessId": business}
        await call(self._stage, "POST", "/v1/login", body)


async def call(stage: Stage, method: str, path: str, body: object = None) -> object:
    """A call of the handshake API."""
    url = f"http://{stage.addresses['handshake']}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, json=body) as response,
    ):
        return json.loads(await response.read() or b"null")


@asynccontextmanager
async def busy(browser: Browser) -> AsyncIterator[tuple[Stage, Traffic]]:
    """A proxy that has been at work for a day."""
    with TemporaryDirectory() as directory:
        async with Stage(Path(directory)) as stage:
            stage.services.latency = _LATENCY
            for number in range(25, 25 + _NEWCOMERS):
                item = {
                    "id": f"user-{number}",
                    "name": f"Person {number}",
                    "email": f"person{number}@example.com",
                }
                stage.services.users[f"user-{number}"] = json.dumps(item).encode()
            traffic = Traffic(stage)
            for user in list(USERS)[:20]:
                await stage.ask(USER, (user,))
            stage.later += _LATER
            for user in ("user-21", "user-22"):
                found = await call(stage, "POST", "/v1/users/ensure", {"userId": user})
                assert isinstance(found, dict)
                await call(stage, "DELETE", f"/v1/users/{found['id']}")
            yield stage, traffic


async def watched(seat: Seat, traffic: Traffic) -> None:
    """Five minutes of it."""
    for _ in range(_ROUNDS):
        await traffic.round()
        await seat.poll()


async def take(seat: Seat, name: str) -> None:
    """Keep what is to be seen."""
    PLACE.mkdir(exist_ok=True)
    await seat.page.screenshot(path=PLACE / f"{name}.png")


async def pictures(browser: Browser) -> None:
    """All of them."""
    async with busy(browser) as (stage, traffic):
        address = stage.addresses["handshake"]
        async with opened(browser) as tab, seated(tab, address, (1360, 1250)) as seat:
            await watched(seat, traffic)
            await take(seat, "inspector-light")
            await seat.page.emulate_media(color_scheme="dark")
            await take(seat, "inspector-dark")
            await seat.page.emulate_media(color_scheme="light")
            await seat.page.set_viewport_size({"width": 1140, "height": 800})
            await seat.look_up("user-19")
            await seat.page.get_by_role("button", name="Show data").press("Enter")
            await seat.page.locator("pre").wait_for()
            await take(seat, "inspector-look-up")
            await seat.page.set_viewport_size({"width": 1140, "height": 660})
            await seat.page.get_by_role("button", name="Erase…").press("Enter")
            await take(seat, "inspector-erase")
        async with opened(browser, device_scale_factor=1.5) as tab, seated(tab, address, PHONE) as seat:
            await watched(seat, traffic)
            await take(seat, "inspector-phone")
            await seat.look_up("user-05")
            await take(seat, "inspector-phone-look-up")
        async with opened(browser) as tab, seated(tab, address, (1140, 660)) as seat:
            await watched(seat, traffic)
            await stage.services.stop()
            for _ in range(8):
                await traffic.round()
                await traffic.strangers()
                await seat.poll()
            await take(seat, "inspector-outage")


async def main() -> None:
    """Entry point."""
    path = shutil.which("chromium")
    if path is None:
        sys.exit("chromium is missing: apt-get install chromium")
    async with launched(path) as browser:
        await pictures(browser)


if __name__ == "__main__":
    asyncio.run(main())
