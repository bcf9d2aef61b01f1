"""One browser for the tests of a module."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Page

from tests.browser.chromium import launched, opened
from tests.needed import tool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab() -> AsyncIterator[Page]:
    """One for all of them: another takes a second of the processor."""
    async with launched(tool("chromium", "install Debian's chromium")) as browser, opened(browser) as page:
        yield page
