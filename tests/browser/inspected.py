"""A proxy, and a tab that watches it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route, expect

from tests.browser.chromium import DESKTOP, Seat, seated
from tests.integration.handshake import Handshake, handshake


@asynccontextmanager
async def inspected(
    tab: Page, directory: Path, size: tuple[int, int] = DESKTOP
) -> AsyncIterator[tuple[Handshake, Seat]]:
    """A proxy that has seen one login, and a tab that watches it. At the end the page must have behaved."""
    async with handshake(directory) as there:
        await there.login()
        await there.proxy.durable()
        async with seated(tab, there.proxy.addresses["handshake"], size) as seat:
            await expect(seat.page.locator("#state")).to_have_text("ready")
            yield there, seat
            assert seat.complaints == []
            assert seat.strangers == []


def answering(status: int, body: str) -> Callable[[Route], Awaitable[None]]:
    """What answers in place of the proxy."""

    async def answer(route: Route) -> None:
        await route.fulfill(status=status, content_type="application/json", body=body)

    return answer


async def untroubled(seat: Seat) -> None:
    """Look until nothing needs attention: on a busy machine the event loop is late at times, and the page says so."""
    while await seat.page.locator("#attention").text_content() != "Nothing needs attention.":
        await seat.poll()


def cell(seat: Seat, row: str, column: int = 0) -> Any:
    """A figure in the card of users: in the row of that name, the column after it."""
    card = seat.page.get_by_role("article", name="user")
    return (
        card.get_by_role("row")
        .filter(has=seat.page.get_by_role("rowheader", name=row))
        .get_by_role("cell")
        .nth(column)
    )
