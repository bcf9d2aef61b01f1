"""A headless Chromium, and pages that notice what a good page does not do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

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

    @property
    def strangers(self) -> list[str]:
        """Requests to anybody else."""
        return [url for url in self.asked if "{0.scheme}://{0.netloc}".format(urlsplit(url)) != self.origin]


@asynccontextmanager
async def seated(
    browser: Browser,
    address: str,
    *,
    size: tuple[int, int] = DESKTOP,
    scheme: Literal["light", "dark"] = "light",
    **context: Any,
) -> AsyncIterator[Seat]:
    """A tab that has opened the page of the listener at that address."""
    opened = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
        **context,
    )
    opened.set_default_timeout(PATIENCE)
    try:
        page = await opened.new_page()
        seat = Seat(page, f"http://{address}")

        def heard(message: ConsoleMessage) -> None:
            seat.complaints.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: seat.complaints.append(str(error)))
        page.on("request", lambda request: seat.asked.append(request.url))
        await page.clock.install()
        await page.goto(f"{seat.origin}/")
        yield seat
    finally:
        await opened.close()
