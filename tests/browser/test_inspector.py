"""The Inspector in a real Chromium, on a whole proxy over real sockets."""

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.chromium import PHONE, Seat, seated
from tests.browser.inspected import answering, cell, inspected, untroubled
from tests.integration.handshake import USER, handshake, internal_id, user_item

SECRET = "s3cret-token"
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(90)]


async def test_the_figures_are_there_and_follow_the_traffic(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path) as (there, seat):
        page = seat.page
        await expect(cell(seat, "fetched", 1)).to_have_text("1")
        await expect(cell(seat, "fetched")).not_to_have_text("0")  # one look is no rate
        await there.login()
        await there.login()
        await seat.poll()
        await expect(cell(seat, "fresh copy")).to_have_text("2")
        await expect(cell(seat, "fetched")).to_have_text("0")
        await expect(cell(seat, "never seen before", 1)).to_have_text("1")
        card = page.get_by_role("article", name="user")
        await expect(card.locator(".big")).to_have_text("100 %")
        await expect(card).to_contain_text("66.6 % since start")
        await expect(page.get_by_role("article", name="main")).to_contain_text("circuit closed")
        await expect(page.get_by_role("article", name="store")).to_contain_text("of 64 MiB")
        await expect(page.locator("#routes")).to_contain_text("login")
        await untroubled(seat)
        there.tick(86400 * 2)
        await seat.poll()
        await expect(card).to_contain_text("stale1, 100 %")
        await there.ok("DELETE", f"/v1/users/{internal_id(USER)}")
        await seat.poll()
        await expect(page.locator("#invalidations")).to_contain_text("erasure")
        # A minute later nothing of it is of the last minute.
        for _ in range(3):
            await seat.poll(21)
        await expect(cell(seat, "fresh copy")).to_have_text("0")
        await expect(card).to_contain_text("idle in the last minute")


async def test_an_outage_is_said_in_words(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path) as (there, seat):
        await there.services.stop()
        for number in range(6):
            await there.call("POST", "/v1/users/ensure", {"userId": f"user-{number}"})
        await seat.poll()
        attention = seat.page.locator("#attention")
        await expect(attention).to_contain_text("The circuit of main is open")
        await expect(attention).to_contain_text("6 user ids asked for in the last minute had no answer")
        await expect(seat.page.get_by_role("article", name="main")).to_contain_text("circuit open")
        await seat.look_up(USER)
        await seat.page.get_by_role("button", name="Refresh…").click()
        await seat.page.get_by_role("button", name="Refresh", exact=True).click()
        await expect(seat.page.locator("#look-up-error")).to_contain_text(
            "The upstream gave no usable answer"
        )
        await expect(seat.page.locator("#found")).to_contain_text("A copy is held, and it is fresh.")
        seat.complaints.clear()  # the browser notes the 503


async def test_it_asks_while_somebody_looks_and_goes_on_when_there_is_no_answer(
    tab: Page, tmp_path: Path
) -> None:
    async with inspected(tab, tmp_path) as (_, seat):
        page = seat.page
        state, attention = page.locator("#state"), page.locator("#attention")
        await page.get_by_role("button", name="Pause").click()
        await expect(state).to_have_text("paused")
        before = len(seat.asked)
        await page.clock.run_for(10_000)
        assert len(seat.asked) == before
        await page.context.set_offline(True)
        await page.get_by_role("button", name="Resume").click()
        await expect(attention).to_contain_text("The proxy gave no answer. What is shown is of ")
        await expect(page.locator("main")).to_have_class("old")
        await expect(state).to_have_text("no answer")
        await expect(state).to_have_class("pill bad")
        await page.context.set_offline(False)
        await seat.poll()
        await untroubled(seat)
        await expect(page.locator("main")).to_have_class("")
        await expect(state).to_have_text("ready")
        # An answer that is of no use is none.
        useless = (
            (500, '{"detail": "It broke."}', "It broke."),
            (200, "null", "This page could not use the answer"),
        )
        for status, body, why in useless:
            await page.route("**/v1/inspector", answering(status, body))
            await seat.poll()
            await expect(state).to_have_text("no answer")
            await expect(attention).to_contain_text(why)
            await page.unroute("**/v1/inspector")
            await seat.poll()
            await expect(state).to_have_text("ready")
        seat.complaints.clear()  # the browser notes the failures


async def test_the_whole_of_it_by_keyboard(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path) as (there, seat):
        keys = seat.page.keyboard
        await keys.press("Tab")
        await expect(seat.page.get_by_role("link", name="Skip to the look-up")).to_be_focused()
        await keys.press("Enter")
        await keys.press("Tab")
        await keys.type("u")
        await keys.press("Tab")
        await keys.type(USER)
        await keys.press("Enter")
        await expect(seat.page.locator("#found-title")).to_be_focused()
        for name in ("Show data", "Refresh…", "Erase…"):
            await keys.press("Tab")
            await expect(seat.page.get_by_role("button", name=name)).to_be_focused()
        await keys.press("Enter")
        await expect(seat.page.get_by_role("button", name="Cancel")).to_be_focused()
        await keys.press("Shift+Tab")
        await keys.type("erase")
        await keys.press("Enter")
        await expect(seat.page.get_by_role("status")).to_have_text("Erased on this replica.")
        assert not (await there.ok("POST", "/v1/users/exists", {"userId": USER}))["exists"]


HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</span><script>alert(1)</script>",
    "\"'><svg onload=alert(1)>\u202e",
)
ODD = b'{"id": "odd", "name": "a,\\"entity\\":[", "big": 12345678901234567890, "none": [], "price": 1.50}'


async def test_what_an_id_or_an_item_says_is_text_and_shown_as_it_was_sent(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path) as (there, seat):
        there.services.users |= {entity: user_item(entity, name=f"{entity} and </pre>") for entity in HOSTILE}
        there.services.users["odd"] = ODD
        found = seat.page.locator("#found")
        for entity in (*HOSTILE, "odd"):
            await there.ensure(entity)
            await seat.look_up(entity)
            await seat.page.get_by_role("button", name="Show data").click()
            shown = await found.locator("pre").inner_text()
            assert json.loads(shown)["data"] == json.loads(there.services.users[entity])
        assert await found.locator("img, script, svg").count() == 0
        assert all(
            text in shown for text in ('"big": 12345678901234567890,\n', '"price": 1.50', '"none": [],\n')
        )


async def test_the_token_is_asked_for_kept_in_the_tab_and_forgotten(tab: Page, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    async with handshake(tmp_path, handshake={"listen": "127.0.0.1:0", "token_file": str(file)}) as there:
        async with seated(tab, there.proxy.addresses["handshake"]) as seat:
            page = seat.page
            await expect(page.get_by_label("Token", exact=True)).to_be_focused()
            await expect(page.locator("main")).to_be_hidden()
            first = len(seat.asked)
            error = page.get_by_role("alert").first
            await page.keyboard.type("gehe\u202fim")
            await page.keyboard.press("Enter")
            await expect(error).to_contain_text("a browser can send printable ASCII characters alone")
            assert not any(url.endswith("/v1/inspector") for url in seat.asked[first:])
            await page.keyboard.type("wrong")
            await page.keyboard.press("Enter")
            await expect(error).to_have_text("That token was not accepted.")
            await expect(page.get_by_label("Token", exact=True)).to_be_focused()
            await page.keyboard.type(SECRET)
            await page.keyboard.press("Enter")
            await expect(page.locator("#state")).to_have_text("ready")
            await expect(page.get_by_role("heading", name="Right now")).to_be_focused()
            await seat.look_up("nobody")
            await page.reload()
            await expect(page.locator("#state")).to_have_text("ready")
            # Another one is in force from now on.
            await asyncio.to_thread(file.write_text, "another")
            await seat.poll()
            await expect(page.get_by_label("Token", exact=True)).to_be_focused()
            await page.keyboard.type("another")
            await page.keyboard.press("Enter")
            await expect(page.locator("main")).to_be_visible()
            await page.get_by_role("button", name="Forget token").click()
            await expect(page.locator("main")).to_be_hidden()
            assert await page.evaluate("sessionStorage.length + localStorage.length") == 0
            assert await page.evaluate("document.cookie") == ""
            assert all("401" in text for text in seat.complaints), seat.complaints
            assert not any(SECRET in url for url in seat.asked)


async def test_an_answer_to_a_token_that_is_gone_counts_no_longer(tab: Page, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    async with handshake(tmp_path, handshake={"listen": "127.0.0.1:0", "token_file": str(file)}) as there:
        async with seated(tab, there.proxy.addresses["handshake"]) as seat:
            page = seat.page
            field, state = page.get_by_label("Token", exact=True), page.locator("#state")
            await use(seat, SECRET)
            await expect(state).to_have_text("ready")
            async with seat.late("/v1/inspector") as poll, seat.late("/v1/users/explain") as look_up:
                await page.get_by_label("Id", exact=True).fill(USER)
                await page.get_by_role("button", name="Look up").click()
                await page.clock.run_for(2000)
                await page.get_by_role("button", name="Forget token").click()
                await poll.goes_on()
                await look_up.goes_on()
            await expect(page.locator("main")).to_be_hidden()
            await expect(page.locator("#found")).to_be_empty()
            await expect(state).to_have_text("locked")
            # A poll with the wrong token is refused after the right one has been given.
            async with seat.late("/v1/inspector") as poll:
                await use(seat, "wrong")
                await use(seat, SECRET)
                await expect(state).to_have_text("ready")
                await poll.goes_on()
            await expect(state).to_have_text("ready")
            await expect(field).to_be_hidden()
            await seat.poll()  # and it goes on
            # Nothing is shown on the word of a token of which nobody has said that it is right.
            await page.get_by_role("button", name="Pause").click()
            await page.get_by_role("button", name="Forget token").click()
            await page.context.set_offline(True)
            await use(seat, "wrong")
            await expect(page.locator("#token-error")).to_have_text("The proxy gave no answer.")
            await expect(page.locator("main")).to_be_hidden()
            await page.context.set_offline(False)
            await seat.poll()
            await expect(page.locator("#token-error")).to_have_text("That token was not accepted.")
            assert all("401" in text or "INTERNET_DISCONNECTED" in text for text in seat.complaints)


async def use(seat: Seat, token: str) -> None:
    await seat.page.get_by_label("Token", exact=True).fill(token)
    await seat.page.keyboard.press("Enter")


async def test_without_resources_there_is_nothing_to_look_up(tab: Page, tmp_path: Path) -> None:
    async with handshake(tmp_path, resources={}) as there:
        async with seated(tab, there.proxy.addresses["handshake"]) as seat:
            await expect(seat.page.get_by_text("No resource is configured, so")).to_be_visible()
            await expect(seat.page.locator("#look-up-form")).to_be_hidden()
            await expect(seat.page.locator("#attention")).to_contain_text("No resource is configured")
            assert seat.complaints == []


async def overflow(seat: Seat) -> int:
    return int(
        await seat.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
    )


async def test_it_fits_a_phone(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path, PHONE) as (there, seat):
        long = "x" * 1024
        await there.ok("DELETE", f"/v1/users/{internal_id(USER)}")
        there.services.users[long] = user_item(long)
        await there.ensure(long)
        await seat.poll()
        assert await overflow(seat) <= 0
        await seat.page.get_by_role("link", name="Look up", exact=True).click()
        await seat.look_up(long)
        await seat.page.get_by_role("button", name="Show data").click()
        await seat.page.locator("pre").wait_for()
        assert await overflow(seat) <= 0
        await seat.page.get_by_role("button", name="Erase…").click()
        assert await overflow(seat) <= 0
        box = await seat.page.locator("#erase-dialog").bounding_box()
        assert box is not None
        assert box["width"] <= PHONE[0]
        small = await seat.page.evaluate(
            "[...document.querySelectorAll('button, select, input')].filter(e => e.offsetParent)"
            ".map(e => e.getBoundingClientRect().height).filter(height => height < 44)"
        )
        assert small == [], "a finger needs 44 pixels"


# As WCAG 2.2 has it: of every text that can be seen, its contrast against what is behind it.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => color.slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const seen = [...document.querySelectorAll("body *")].filter((node) => node.offsetParent && !node.disabled
    && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  return seen.map((node) => {
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    return [Math.round(100 * (a + 0.05) / (b + 0.05)) / 100, node.textContent.slice(0, 30)];
  });
}"""


async def test_every_text_can_be_read_in_both_schemes(tab: Page, tmp_path: Path) -> None:
    async with inspected(tab, tmp_path) as (there, seat):
        await there.services.stop()
        for number in range(6):
            await there.call("POST", "/v1/users/ensure", {"userId": f"user-{number}"})
        await seat.poll()
        await seat.look_up(USER)
        grounds = set()
        for scheme in ("light", "dark"):
            await seat.page.emulate_media(color_scheme=scheme)
            grounds.add(await seat.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            texts = await seat.page.evaluate(CONTRAST)
            assert len(texts) > 50
            assert [text for text in texts if text[0] < 4.5] == [], scheme
        assert len(grounds) == 2
