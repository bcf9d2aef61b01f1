"""The look-up of the Inspector in a real Chromium: what it shows, refreshes and erases."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.chromium import Seat
from tests.browser.inspected import answering, inspected
from tests.integration.handshake import USER, Handshake, internal_id, user_item

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(90)]


async def test_look_up_by_either_id(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path) as (there, seat):
        found = seat.page.locator("#found")
        asked = there.services.fetched.total()
        await seat.look_up(USER)
        await expect(found).to_contain_text("A copy is held, and it is fresh.")
        await expect(found).to_contain_text("would be a hit.")
        await expect(found).to_contain_text(internal_id(USER))
        await expect(found.get_by_role("listitem").filter(has_text="fresh:")).to_have_attribute(
            "aria-current", "step"
        )
        await expect(found).not_to_contain_text("example.org")
        there.tick(86400 * 1.5)
        await seat.page.get_by_label("Id", exact=True).fill(internal_id(USER))
        await seat.page.get_by_role("button", name="Look up").click()
        await expect(found).to_contain_text("A copy is held, past its freshness.")
        await expect(found).to_contain_text("would be given the stale copy.")
        await seat.page.get_by_role("button", name="Show data").click()
        await expect(found.get_by_role("region", name="Data")).to_contain_text(
            f'"email": "{USER}@example.org"'
        )
        await seat.look_up("nobody")
        await expect(found).to_contain_text("Nothing is held of it.")
        await expect(seat.page.get_by_role("button", name="Erase…")).to_have_count(0)
        await seat.look_up("ext-biz-456", "business")
        await expect(found).to_contain_text("past its freshness")
        hint = found.get_by_text("White space stands before or after this id")
        await expect(hint).to_have_count(0)
        await seat.look_up(f"{USER} ")
        await expect(found).to_contain_text("Nothing is held of it.")
        await expect(hint).to_be_visible()
        assert there.services.fetched.total() == asked, "nothing is fetched by looking"
        assert [text for text in seat.complaints if "422" not in text] == []
        seat.complaints.clear()  # the browser notes that the API was asked for the internal id as an external one


async def test_refresh_fetches_once_it_is_confirmed(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path) as (there, seat):
        there.services.users[USER] = user_item(USER, name="Another name")
        await seat.look_up(USER)
        asked = there.services.fetched[USER]
        await seat.page.get_by_role("button", name="Refresh…").click()
        await seat.page.get_by_role("button", name="Cancel").click()
        await seat.page.get_by_role("button", name="Refresh…").click()
        assert there.services.fetched[USER] == asked
        await seat.page.get_by_role("button", name="Refresh", exact=True).click()
        await expect(seat.page.get_by_role("status")).to_have_text("Fetched: version 2.")
        assert there.services.fetched[USER] == asked + 1


async def test_erase_needs_the_word_and_can_be_cancelled(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path) as (there, seat):
        page = seat.page
        await seat.look_up(USER)
        dialog, go = page.locator("#erase-dialog"), page.locator("#erase-go")
        await page.get_by_role("button", name="Erase…").click()
        await expect(dialog).to_contain_text(internal_id(USER))
        await expect(dialog).to_contain_text("On this replica alone")
        await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
        await expect(go).to_be_disabled()
        word = page.get_by_label("Type erase to confirm")
        await word.fill("era")
        await word.press("Enter")
        await expect(dialog).to_be_visible()
        await word.fill("erase")
        await expect(go).to_be_enabled()
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        assert (await there.ok("POST", "/v1/users/exists", {"userId": USER}))["exists"]
        await page.get_by_role("button", name="Erase…").click()
        await expect(go).to_be_disabled()
        await word.fill("erase")
        await go.click()
        await expect(page.get_by_role("status")).to_have_text("Erased on this replica.")
        await expect(page.locator("#found")).to_contain_text("Nothing is held of it.")
        await expect(page.locator("#found-title")).to_be_focused()
        assert not (await there.ok("POST", "/v1/users/exists", {"userId": USER}))["exists"]


OTHER = "ext-user-789"


@asynccontextmanager
async def of_two(tab: Page, directory: Path) -> AsyncIterator[tuple[Handshake, Seat]]:
    """Two users are held."""
    async with inspected(tab, directory) as (there, seat):
        there.services.users[OTHER] = user_item(OTHER)
        await there.ensure(OTHER)
        yield there, seat


async def test_what_is_confirmed_is_done_to_the_entity_that_the_dialog_shows(
    tab: Page, tmp_path: Path
) -> None:
    async with of_two(tab, tmp_path) as (there, seat):
        page = seat.page
        async with seat.late("/v1/users/explain", USER) as slow:
            await page.get_by_label("Id", exact=True).fill(USER)
            await page.get_by_role("button", name="Look up").click()
            await seat.look_up(OTHER)
            await page.get_by_role("button", name="Erase…").click()
            await slow.goes_on()
        await expect(page.locator("#erase-dialog")).to_contain_text(internal_id(OTHER))
        await expect(page.locator("#found-title")).to_contain_text(OTHER)
        await page.get_by_label("Type erase to confirm").fill("erase")
        await page.locator("#erase-go").click()
        await expect(page.get_by_role("status")).to_have_text("Erased on this replica.")
        await expect(page.locator("#found")).to_contain_text("Nothing is held of it.")
        assert (await there.ok("POST", "/v1/users/exists", {"userId": USER}))["exists"]
        assert not (await there.ok("POST", "/v1/users/exists", {"userId": OTHER}))["exists"]


async def test_what_came_of_a_change_is_said_of_its_own_entity(tab: Page, tmp_path: Path) -> None:
    async with of_two(tab, tmp_path) as (there, seat):
        page = seat.page
        title, buttons = page.locator("#found-title"), page.locator("#found button")
        await seat.look_up(USER)
        async with seat.late("/v1/users/refresh") as slow:
            await page.get_by_role("button", name="Refresh…").click()
            await page.get_by_role("button", name="Refresh", exact=True).click()
            for button in await buttons.all():
                await expect(button).to_be_disabled()
            await page.get_by_role("button", name="Erase…").dispatch_event("click")  # one thing at a time
            await expect(page.locator("#erase-dialog")).to_be_hidden()
            await seat.look_up(OTHER)
            await expect(buttons.first).to_be_enabled()
            await slow.goes_on()
        await expect(page.get_by_role("status")).to_have_text(f"{USER}: Fetched: version 1.")
        await expect(title).to_contain_text(OTHER)
        await there.services.stop()
        async with seat.late("/v1/users/refresh") as slow:
            await page.get_by_role("button", name="Refresh…").click()
            await page.get_by_role("button", name="Refresh", exact=True).click()
            await seat.look_up(USER)
            await slow.goes_on()
        alert = page.locator("#look-up-error")
        await expect(alert).to_contain_text(f"{OTHER}: The upstream gave no usable answer")
        await expect(title).to_contain_text(USER)
        # Not even what nobody thought of is shown as the error of a script.
        await page.route("**/v1/users/explain", answering(200, "{}"))
        await page.get_by_role("button", name="Look up").click()
        await expect(alert).to_contain_text("This page could not use the answer")
        seat.complaints.clear()  # the browser notes the 503, and the page what it could not use
