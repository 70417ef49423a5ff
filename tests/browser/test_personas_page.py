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
