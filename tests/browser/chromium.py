"""A headless Chromium, and pages that notice what a good page does not do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request, Route, async_playwright

ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 10_000
"""Milliseconds after which a test gives up on the page; nothing takes that long when all is well."""
_START = datetime(2026, 3, 2, 9, tzinfo=UTC)
DESKTOP, PHONE = (1360, 900), (360, 740)


@asynccontextmanager
async def launched(path: str) -> AsyncIterator[Browser]:
    """The browser, with a profile of its own that goes with it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGS))
        try:
            yield browser
        finally:
            await browser.close()


class Late:
    """A call of the page that is on its way until the test lets it go on."""

    def __init__(self, page: Page, about: str) -> None:
        self._page, self._about = page, about
        self._caught: asyncio.Future[Route] = asyncio.get_running_loop().create_future()

    async def catch(self, route: Route) -> None:
        """Keep the first call that is about this."""
        if self._about in (route.request.post_data or "") and not self._caught.done():
            self._caught.set_result(route)
        else:
            await route.fallback()

    async def goes_on(self) -> None:
        """Let it, and wait until the page has had its answer."""
        route = await asyncio.wait_for(self._caught, PATIENCE / 1000)

        def is_it(request: Request) -> bool:
            return request == route.request

        async with self._page.expect_event("requestfinished", is_it):
            await route.continue_()
        # Another answer comes after that one, and after what was done with it.
        await self._page.evaluate("fetch('/inspector/icon.svg').then((response) => response.text())")


@dataclass
class Seat:
    """A tab on the Inspector. Time in it moves only when the test says so."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    """What the console had to say, violations of the policy and errors of the script among it."""
    asked: list[str] = field(default_factory=list)
    """Every URL that was requested."""

    async def poll(self, seconds: float = 2.0) -> None:
        """Let that time go by, and the snapshot arrive that is asked for in it."""
        async with self.page.expect_response("**/v1/inspector"):
            await self.page.clock.run_for(int(seconds * 1000))

    async def look_up(self, entity: str, resource: str = "user") -> None:
        """Look an entity up, and wait until it is shown."""
        await self.page.get_by_label("Resource", exact=True).select_option(resource)
        await self.page.get_by_label("Id", exact=True).fill(entity)
        await self.page.get_by_role("button", name="Look up").click()
        await self.page.locator("#found-title", has_text=entity).wait_for()

    @asynccontextmanager
    async def late(self, path: str, about: str = "") -> AsyncIterator[Late]:
        """The first call of that path with that in its body is late, if it is made in here."""
        late = Late(self.page, about)
        await self.page.route(f"**{path}", late.catch)
        yield late
        await self.page.unroute(f"**{path}", late.catch)

    @property
    def strangers(self) -> list[str]:
        """Requests to anybody else."""
        return [url for url in self.asked if "{0.scheme}://{0.netloc}".format(urlsplit(url)) != self.origin]


@asynccontextmanager
async def opened(browser: Browser, **context: Any) -> AsyncIterator[Page]:
    """A tab with nothing in it yet, whose time stands still."""
    apart = await browser.new_context(reduced_motion="reduce", locale="en-GB", timezone_id="UTC", **context)
    apart.set_default_timeout(PATIENCE)
    try:
        page = await apart.new_page()
        await page.clock.install(time=_START)
        await page.clock.pause_at(_START + timedelta(seconds=1))
        yield page
    finally:
        await apart.close()


@asynccontextmanager
async def seated(page: Page, address: str, size: tuple[int, int] = DESKTOP) -> AsyncIterator[Seat]:
    """Somebody who opens the page of the listener at that address in this tab, whatever was done in it before."""
    seat = Seat(page, f"http://{address}")

    def heard(message: ConsoleMessage) -> None:
        seat.complaints.append(message.text)

    def failed(error: Error) -> None:
        seat.complaints.append(str(error))

    def sent(request: Request) -> None:
        seat.asked.append(request.url)

    await page.set_viewport_size({"width": size[0], "height": size[1]})
    await page.emulate_media(color_scheme="light")
    page.on("console", heard)
    page.on("pageerror", failed)
    page.on("request", sent)
    try:
        await page.goto(f"{seat.origin}/")
        yield seat
    finally:
        page.remove_listener("console", heard)
        page.remove_listener("pageerror", failed)
        page.remove_listener("request", sent)
        await page.unroute_all()
        await page.context.set_offline(False)
