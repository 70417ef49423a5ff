"""A server that dies under an open tab loses nothing and doubles nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Server, Tabs, new_server

pytestmark = pytest.mark.browser


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may kill."""
    running = new_server(tmp_path)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def tab(browser: Browser, mortal: Server) -> Iterator[Page]:
    """A chat in a tab; what the browser says of refused connections is no fault here."""
    tabs = Tabs(browser, mortal.url)
    page = tabs.open()
    page.goto(mortal.url)
    page.get_by_role("button", name="Chat with Mara Voss").click()
    expect(page.locator(".messages .message")).to_have_count(1)
    yield page
    tabs.close()


def test_a_tab_outlives_its_server(tab: Page, mortal: Server):
    mortal.kill()
    tab.locator("[data-part=input]").fill("Are you there?")
    tab.keyboard.press("Enter")
    expect(tab.locator(".notice")).to_contain_text("cannot be reached")
    expect(tab.locator("[data-part=input]")).to_have_value("Are you there?")

    mortal.start()
    tab.locator("[data-part=input]").press("Enter")
    expect(tab.locator(".live .text")).to_contain_text("The sea turned over 1 times")
    mortal.kill()
    mortal.start()

    expect(tab.locator(".badge")).to_have_text("interrupted", timeout=20_000)
    expect(tab.locator(".messages .message")).to_have_count(3)
    tab.get_by_role("button", name="Continue").first.click()
    expect(tab.locator(".messages .message").last).to_contain_text("That is all", timeout=15_000)
    expect(tab.locator(".message.user")).to_have_count(1)
