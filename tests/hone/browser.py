"""A real Chromium for tests of the chat page."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@asynccontextmanager
async def open_page(url: str, *, may_break: bool = False) -> AsyncIterator[Page]:
    """The page at `url`. Errors of its scripts, failed requests and dialogs end the test, unless it `may_break`."""
    executable = next((found for name in _NAMES if (found := shutil.which(name))), None)
    assert executable, f"no Chromium (looked for {', '.join(_NAMES)}): run tests/browser_environment.sh"
    broken: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=_QUIET)
        page = await browser.new_page(viewport={"width": 1200, "height": 800})
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: broken.append(f"a dialog opened: {dialog.message}"))
        await page.goto(url)
        yield page
        await browser.close()
    assert may_break or broken == []
