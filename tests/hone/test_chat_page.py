"""The chat page in a real browser, against a real server with the starter."""

import asyncio
import re
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Page, expect

from hone.demo.stage import hone_server
from runtime.access.roles import Role
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL
from tests.hone.browser import open_page
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import served_app
from tests.tiny_model import build_tiny_model
from tools.spec import SideEffect
from tools.tenancy import for_tenant

ANSWER_WITHIN_MS = 30_000
SUM = "calculate expression 12 * 7"


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.keyboard.press("Enter")
    await expect(page.locator(".thinking")).to_have_count(0, timeout=ANSWER_WITHIN_MS)


@pytest.mark.timeout(240)
async def test_a_person_chats_sees_what_was_done_and_starts_afresh(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with hone_server(home, str(STARTER_MODEL)) as url:
        async with open_page(url) as page:
            await expect(page.locator(".tool-name").get_by_text("calculate", exact=True)).to_be_visible()
            await expect(page.locator("#policy")).to_have_text("base")

            await say(page, SUM)
            await expect(page.locator(".mine")).to_have_text(SUM)
            await expect(page.locator(".call .name").first).to_have_text("calculate")
            await page.locator(".call summary").first.click()
            await expect(page.locator(".call pre").first).to_contain_text("12 * 7")
            await expect(page.locator(".call pre").nth(1)).to_contain_text("84")
            trace = await page.get_by_role("link", name="trace").last.get_attribute("href")
            recorded = await asyncio.to_thread(httpx2.get, f"{url}{trace}")
            assert recorded.status_code == 200
            assert recorded.json()["spans"][0]["decision"]["kind"] == "execute"

            await say(page, "<img src=x onerror=alert(1)> & <b>bold</b>")
            await expect(page.locator(".mine").nth(1)).to_have_text("<img src=x onerror=alert(1)> & <b>bold</b>")
            await expect(page.locator(".log img")).to_have_count(0)
            await expect(page.locator(".foot .badge").last).to_have_text(
                re.compile("execute|clarify|refuse|answer|invalid")
            )
            await expect(page.locator(".foot .badge").last).to_have_attribute("title", re.compile(r"^\d+ % sure$"))

            await page.get_by_role("button", name="New conversation").click()
            await expect(page.locator(".mine")).to_have_count(0)
            await expect(page.locator("#welcome")).to_be_visible()

            await page.set_viewport_size({"width": 390, "height": 780})
            await expect(page.locator("#sidebar")).not_to_be_in_viewport()
            await page.get_by_role("button", name="Show tools").click()
            await expect(page.locator("#sidebar")).to_be_in_viewport()
            overflow = await page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0


@pytest.mark.timeout(120)
async def test_a_server_that_went_away_is_said_so_on_the_page(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as running:
        url = running.enter_context(hone_server(home, str(STARTER_MODEL)))
        async with open_page(url, may_break=True) as page:
            await say(page, "hello")
            running.close()
            await say(page, "are you there?")
            await expect(page.locator(".bubble.failed")).to_have_count(1)
            await expect(page.locator(".bubble.failed")).not_to_be_empty()


@pytest.mark.timeout(240)
async def test_a_person_approves_and_declines_by_buttons(tmp_path: Path) -> None:
    book = execute(("book", {"city": "<b>Oslo</b>"}))
    renderer = Renderer.load(build_tiny_model(tmp_path / "tiny"))
    script = [book, "Booked.", book, "Not booked."]
    tools = [tool("book", side_effect=SideEffect.WRITE)]
    with served_app(tmp_path / "home", renderer, script, tools=tools, results={"book": "yes"}) as served:
        async with open_page(served.url) as page:
            for button, state, reply in (("Approve", "ok", "Booked."), ("Decline", "declined", "Not booked.")):
                await say(page, "book it")
                await expect(page.locator(".bubble").last).to_contain_text("<b>Oslo</b>")
                await expect(page.locator(".call .state").last).to_have_text("waits for you")
                await page.get_by_role("button", name=button).last.click()
                await expect(page.locator(".bubble").last).to_have_text(reply, timeout=ANSWER_WITHIN_MS)
                await expect(page.locator(".call .state").last).to_contain_text(state)
                for each in await page.locator(".answer button").all():
                    await expect(each).to_be_disabled()


@pytest.mark.timeout(240)
async def test_where_a_key_is_needed_the_page_asks_for_it_and_keeps_it_for_the_tab(tmp_path: Path) -> None:
    renderer = Renderer.load(build_tiny_model(tmp_path / "model"))
    with ExitStack() as stack:
        served = await asyncio.to_thread(
            lambda: stack.enter_context(served_app(tmp_path / "home", renderer, ["Hello."] * 3, tools=[tool()]))
        )
        with for_tenant("acme"):
            made, key = await asyncio.to_thread(lambda: served.services.keys.create("me", role=Role.USER))
            await asyncio.to_thread(
                served.services.catalogue.add,
                tool("forecast").model_copy(update={"description": "Of <b>acme</b> alone."}),
            )
        async with open_page(served.url, may_break=True) as page:
            await expect(page.locator(".tool-name")).to_have_count(0)
            await say(page, "Hi")
            await expect(page.locator(".bubble.failed")).to_contain_text("no key was sent")
            await page.get_by_label("Key").fill("hone_no_key")
            await page.keyboard.press("Enter")
            await expect(page.locator("#key-state")).to_contain_text("not known here")
            await page.get_by_label("Key").fill(key)
            await page.keyboard.press("Enter")
            await expect(page.locator("#key-state")).to_have_text(f"You are key:{made.prefix} (user) of acme.")
            await expect(page.locator(".tool-name")).to_have_text(["forecast"])
            await page.locator(".tool-name").click()
            await expect(page.locator(".tools p")).to_have_text("Of <b>acme</b> alone.")
            await say(page, "Hi")
            await expect(page.locator(".bubble").last).to_have_text("Hello.")
            async with page.expect_popup() as opened:
                await page.get_by_role("link", name="trace").last.click()
            await expect((await opened.value).locator("pre")).to_contain_text(f'"user": "key:{made.prefix}"')
            await page.reload()
            await expect(page.locator("#key-state")).to_contain_text("You are")
