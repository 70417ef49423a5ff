"""The persona editor, as an author meets it."""

from playwright.sync_api import Page, expect


def edit(page: Page, name: str) -> None:
    card = page.locator(".pg-card").filter(has_text=name).first
    card.get_by_role("button", name="Edit").click()
    open_form(page)
    expect(page.get_by_label("Name", exact=False).first).to_have_value(name)


def open_form(page: Page) -> None:
    """Wait until the form is there and the answer that fills it has come."""
    expect(page.locator(".pe-head")).to_be_visible()
    page.wait_for_timeout(2_000)


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()


def test_a_mistake_is_said_at_its_field_and_saving_waits(page: Page) -> None:
    edit(page, "Mara Voss")

    page.get_by_label("Name", exact=False).first.fill("")

    expect(page.get_by_role("textbox", name="Name Is missing")).to_be_visible()
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    page.get_by_label("Name", exact=False).first.fill("Mara Voss")
    expect(page.get_by_role("textbox", name="Name Is missing")).to_have_count(0)


def test_a_saved_version_joins_the_history_and_can_be_taken_back(page: Page) -> None:
    edit(page, "Mara Voss")
    page.get_by_label("Description").first.fill("She keeps two lamps.")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled()

    save(page)

    page.get_by_role("tab", name="History").click()
    page.get_by_role("button", name="Revert").first.click()
    page.get_by_role("tab", name="Who").click()
    expect(page.get_by_label("Description").first).to_have_value("A lighthouse keeper.")


def test_a_hostile_name_is_shown_as_text(page: Page) -> None:
    page.get_by_role("button", name="New persona").click()
    open_form(page)
    hostile = "<img src=x onerror=alert(1)>"

    page.get_by_label("Name", exact=False).first.fill(hostile)
    save(page)
    page.get_by_role("button", name="New chat").click()

    expect(page.locator(".pg-card").filter(has_text=hostile)).to_be_visible()


def new_persona(page: Page, description: str) -> None:
    page.get_by_role("button", name="New persona").click()
    open_form(page)
    page.get_by_label("Name", exact=False).first.fill("Ilse")
    page.get_by_label("Description").first.fill(description)
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled()
    page.wait_for_timeout(1_000)


def test_what_was_written_of_a_new_persona_survives_a_reload(page: Page) -> None:
    new_persona(page, "She winds the clocks.")

    page.reload()
    page.get_by_role("button", name="New persona").click()
    open_form(page)

    expect(page.get_by_label("Description").first).to_have_value("She winds the clocks.")


def test_a_new_persona_that_was_saved_is_no_draft_any_more(page: Page) -> None:
    new_persona(page, "She winds the clocks.")
    save(page)
    page.wait_for_timeout(1_000)
    page.get_by_role("button", name="New chat").click()

    page.get_by_role("button", name="New persona").click()
    open_form(page)

    expect(page.get_by_label("Description").first).to_have_value("")


def test_what_was_not_saved_comes_back_after_a_revert(page: Page) -> None:
    edit(page, "Mara Voss")
    page.get_by_label("Description").first.fill("She keeps two lamps.")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled()
    save(page)
    page.get_by_label("Description").first.fill("She keeps three lamps.")
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled()

    page.get_by_role("button", name="Back to the original").click()
    expect(page.get_by_label("Description").first).to_have_value("A lighthouse keeper.")
    page.locator(".pe-head").get_by_role("button", name="Undo").click()

    expect(page.get_by_label("Description").first).to_have_value("She keeps three lamps.")


def test_tab_leaves_the_yaml_as_it_is(page: Page) -> None:
    edit(page, "Mara Voss")
    code = page.locator("#pe-yaml .cm-content")
    code.click()
    before = code.inner_text()

    page.keyboard.press("Tab")

    assert not page.evaluate("document.activeElement.closest('.cm-content') !== null")
    assert code.inner_text() == before


def test_the_buttons_of_the_editor_stay_in_sight(page: Page) -> None:
    edit(page, "Mara Voss")

    page.mouse.wheel(0, 600)
    page.wait_for_timeout(300)

    assert page.evaluate("scrollY") > 100
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_in_viewport()
