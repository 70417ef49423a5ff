"""The chat page in a real browser: what people do all day, and what must never happen."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, Tabs
from tests.browser.serve import FIRST, LAST, SLOWLY

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)} {{alert}} [x](javascript:alert(3))"
SPOKEN = FIRST.replace("*", "")


def start_chat(page: Page) -> None:
    page.get_by_role("button", name="Chat with Mara Voss").click()
    expect(page.locator(".messages .message")).to_have_count(1)


def own_tab(tabs: Tabs, server: Server, width: int = 1280, height: int = 800) -> Page:
    """A tab whose state no other test meets, once nothing moves in it any more."""
    page = tabs.open(width, height)
    page.goto(server.url)
    page.wait_for_timeout(1_000)
    return page


def start_another(page: Page) -> None:
    page.wait_for_timeout(1_000)  # until nothing moves, or a click is tried twice
    before = page.url
    page.get_by_role("button", name="New chat").click()
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Chat with Mara Voss").click()
    page.wait_for_url(lambda url: "?c=" in url and url != before)


def say(page: Page, text: str) -> None:
    page.locator("[data-part=input]").fill(text)
    page.keyboard.press("Enter")


def begin_reply(page: Page, text: str) -> None:
    say(page, text)
    expect(page.locator(".live .text")).to_contain_text("You came back")


def expect_whole_reply(page: Page) -> None:
    last = page.locator(".messages .message").last.locator(".text")
    expect(last).to_contain_text(SPOKEN)
    expect(last).to_contain_text(LAST)
    expect(page.locator(".live")).to_have_count(0)


def stop(page: Page) -> None:
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".live")).to_have_count(0)


def test_one_click_starts_a_chat_with_its_greeting(page: Page):
    page.get_by_role("button", name="Chat with Mara Voss").click()

    expect(page.locator(".messages .text")).to_have_text('The door is ajar. "Mind the third step."')


def test_a_reply_is_seen_while_it_is_written_and_stays(page: Page):
    start_chat(page)

    begin_reply(page, "Hello")

    expect(page.locator(".live .text")).not_to_contain_text(LAST)
    expect_whole_reply(page)


def test_stop_keeps_what_was_said(page: Page):
    start_chat(page)
    begin_reply(page, SLOWLY)

    stop(page)

    last = page.locator(".messages .message").last
    expect(last.locator(".text")).to_contain_text("You came back")
    expect(last.locator(".text")).not_to_contain_text(LAST)
    expect(last.locator(".badge")).to_have_text("stopped")


def test_a_refresh_in_the_middle_of_a_reply_goes_on_with_it(page: Page):
    start_chat(page)
    begin_reply(page, "Hello")

    page.reload()

    expect(page.locator(".messages .message.user")).to_have_count(1)
    expect_whole_reply(page)
    expect(page.locator(".messages .message")).to_have_count(3)


def test_a_second_tab_sees_the_reply_and_its_stop(page: Page):
    start_chat(page)
    begin_reply(page, SLOWLY)
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.locator(".live .text")).to_contain_text("You came back")

    stop(page)

    expect(second.locator(".messages .badge")).to_have_text("stopped")


def test_a_tab_that_waits_notices_what_another_one_does(page: Page):
    start_chat(page)
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.locator(".messages .message")).to_have_count(1)

    begin_reply(second, "From the other tab")

    expect(page.locator(".messages .message.user .text")).to_have_text("From the other tab")


def test_swipes_show_another_greeting(page: Page):
    start_chat(page)

    page.get_by_role("button", name="Next swipe").click()

    expect(page.locator(".messages .text")).to_have_text('"You are late," she says.')
    expect(page.locator(".swipes")).to_contain_text("2/2")


def test_regenerating_adds_a_swipe(page: Page):
    start_chat(page)
    say(page, "Hello")
    expect_whole_reply(page)

    page.get_by_role("button", name="Regenerate").last.click()

    expect(page.locator(".live")).to_have_count(1)
    expect(page.locator(".messages .message")).to_have_count(2)
    expect_whole_reply(page)
    expect(page.locator(".messages .message").last.locator(".swipes")).to_contain_text("2/2")


def test_an_edited_message_gets_a_new_reply(page: Page):
    start_chat(page)
    begin_reply(page, SLOWLY)
    stop(page)
    page.locator(".message.user").hover()
    page.locator(".message.user [data-action=edit]").click()

    page.locator(".editing textarea").fill("Good evening")
    page.get_by_role("button", name="Save and send").click()

    expect(page.locator(".message.user .text")).to_have_text("Good evening")
    expect_whole_reply(page)


def test_a_deleted_message_comes_back_with_undo(page: Page):
    start_chat(page)
    begin_reply(page, SLOWLY)
    stop(page)
    page.get_by_role("button", name="Delete").last.click()
    expect(page.locator(".messages .message")).to_have_count(2)

    page.locator(".notice").get_by_role("button", name="Undo").click()

    expect(page.locator(".messages .message")).to_have_count(3)


def test_a_conversation_is_renamed_found_deleted_and_restored(page: Page):
    start_chat(page)
    page.locator("[data-part=title]").click()
    page.keyboard.type("The <b>fog</b> bell")
    page.keyboard.press("Enter")
    page.locator("[data-part=search]").fill("fog")
    row = page.locator(".rows .row")
    expect(row).to_have_count(1)
    expect(row.locator(".title")).to_have_text("The <b>fog</b> bell")
    row.hover()
    row.locator("[data-action=row-menu]").click()

    page.get_by_role("menuitem", name="Delete").click()

    expect(row).to_have_count(0)
    expect(page.locator(".pg-card").first).to_be_visible()
    page.locator(".notice").get_by_role("button", name="Undo").click()
    expect(row).to_have_count(1)


def test_what_a_stranger_writes_is_shown_and_never_run(page: Page):
    start_chat(page)

    say(page, HOSTILE)

    expect(page.locator(".message.user .text")).to_have_text(HOSTILE)
    expect(page.locator("[data-part=title]")).to_contain_text("<img src=x")
    expect_whole_reply(page)


def test_three_quick_clicks_send_once(page: Page):
    start_chat(page)
    page.locator("[data-part=input]").fill("Only once")

    page.locator("[data-part=send]").evaluate("b => { b.click(); b.click(); b.click(); }")

    expect_whole_reply(page)
    expect(page.locator(".message.user")).to_have_count(1)


def test_an_unknown_conversation_leads_to_the_gallery(tabs: Tabs, server: Server):
    page = tabs.open()

    page.goto(f"{server.url}/?c=nonsense")

    expect(page.locator(".notice")).to_contain_text("This conversation is not here")
    expect(page.locator(".pg-card").first).to_be_visible()
    expect(page).to_have_url(f"{server.url}/")


def test_a_phone_shows_everything(tabs: Tabs, server: Server):
    page = tabs.open(390, 844, has_touch=True, is_mobile=True)
    page.goto(server.url)
    start_chat(page)
    say(page, "A-word-without-any-place-to-break-" * 6)
    page.get_by_role("button", name="Send").click()

    expect_whole_reply(page)

    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator("[data-part=send]").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 844
    page.locator(".head [data-action=open-sidebar]").click()
    expect(page.get_by_role("button", name="New chat")).to_be_in_viewport()


def test_a_page_that_gets_narrower_still_shows_the_newest_message(tabs: Tabs, server: Server):
    page = tabs.open(1280, 500)
    page.goto(server.url)
    start_chat(page)
    say(page, "A long walk along the shore. " * 60)
    expect_whole_reply(page)

    page.set_viewport_size({"width": 390, "height": 500})

    expect(page.locator(".messages .message").last).to_be_in_viewport()
    expect(page.locator("[data-part=newest]")).to_be_hidden()


def test_a_title_with_spaces_is_typed_in_the_list_of_chats(tabs: Tabs, server: Server):
    page = own_tab(tabs, server)
    start_chat(page)
    start_another(page)
    here = page.url
    other = page.locator(".rows .row:not(.active)").first
    other.hover()
    other.locator("[data-action=row-menu]").click()
    page.get_by_role("menuitem", name="Rename").click()

    page.keyboard.type("Two words here")
    page.keyboard.press("Enter")

    expect(page.locator(".rows .title").filter(has_text="Two words here")).to_have_count(1)
    assert page.url == here
    expect(page.locator("[data-part=input]")).to_have_value("")


def test_going_back_closes_what_speaks_of_the_chat_that_is_left(tabs: Tabs, server: Server):
    page = own_tab(tabs, server)
    start_chat(page)
    start_another(page)
    page.get_by_role("button", name="Settings").click()
    expect(page.locator("[data-part=drawer]")).to_be_visible()

    page.go_back()

    expect(page.locator("[data-part=drawer]")).to_be_hidden()


def test_every_step_of_a_slider_counts_however_quick(tabs: Tabs, server: Server):
    page = own_tab(tabs, server)
    start_chat(page)
    page.get_by_role("button", name="Settings").click()
    slider = page.locator("[data-part=drawer] input[type=range][name=temperature]")
    slider.focus()

    for _ in range(8):
        page.keyboard.press("ArrowRight")

    expect(page.locator("[data-field=temperature].changed")).to_be_visible()
    expect(slider).to_have_value("1.2")
    expect(slider).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Settings").click()
    expect(slider).to_have_value("1.2")


def distance_from_the_end(page: Page) -> float:
    return page.evaluate(
        """() => { const box = document.querySelector("[data-part=scroller]");
        return box.scrollHeight - box.scrollTop - box.clientHeight; }"""
    )


def test_whoever_scrolls_up_a_little_while_a_reply_is_written_stays_there(
    tabs: Tabs, server: Server
):
    page = own_tab(tabs, server, 1000, 420)
    start_chat(page)
    say(page, "A long walk along the shore. " * 40)
    expect_whole_reply(page)
    begin_reply(page, SLOWLY)
    page.locator("[data-part=scroller]").hover()

    for _ in range(3):
        page.mouse.wheel(0, -20)
        page.wait_for_timeout(400)

    assert distance_from_the_end(page) > 20
    page.mouse.wheel(0, 500)
    page.wait_for_timeout(800)
    assert distance_from_the_end(page) < 4
    stop(page)


def test_lines_that_are_typed_do_not_cover_the_newest_message(tabs: Tabs, server: Server):
    page = own_tab(tabs, server, 1000, 420)
    start_chat(page)
    say(page, "A long walk along the shore. " * 40)
    expect_whole_reply(page)

    for _ in range(6):
        page.keyboard.type("a line")
        page.keyboard.press("Shift+Enter")

    expect(page.locator("[data-part=newest]")).to_be_hidden()
    assert distance_from_the_end(page) < 4


def test_a_card_that_is_clicked_twice_starts_one_chat(tabs: Tabs, server: Server):
    page = own_tab(tabs, server)
    before = page.evaluate("history.length")

    page.get_by_role("button", name="Chat with Mara Voss").dblclick()

    expect(page.locator(".messages .message")).to_have_count(1)
    page.wait_for_timeout(1_000)
    assert page.evaluate("history.length") == before + 1
