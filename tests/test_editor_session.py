"""A persona being edited: what the page hands in, after a restart too."""

from hermes_ui.ui.editor_fields import ENTRY
from hermes_ui.ui.editor_session import Session

TEXT = """\
name: Ava
lorebook:
  entries:
    - {keys: [ghost], content: A ghost.}
    - {keys: [bell], content: A bell.}
    - {keys: [fog], content: The fog.}
"""
CONTENT = f"{ENTRY}.content"


def opened(text=TEXT):
    """A session whose page shows all of it, and what the page holds then."""
    session = Session("ava", text, text)
    _, values = session.answer()
    return session, values


def contents(session):
    return [entry["content"] for entry in session.items(ENTRY)]


def test_after_a_restart_an_edit_belongs_to_the_entry_that_is_open():
    before, values = opened()
    before.act(ENTRY, "open", 2)
    _, changed = before.answer()
    values |= changed
    restarted = Session("ava", TEXT, TEXT)

    restarted.merge(before.mark, TEXT, {**values, CONTENT: "The fog is thick."})

    assert contents(restarted) == ["A ghost.", "A bell.", "The fog is thick."]


def test_a_mark_that_means_nothing_is_the_first_entry():
    _, values = opened()
    restarted = Session("ava", TEXT, TEXT)

    restarted.merge("x//", TEXT, values)

    assert restarted.text == TEXT
    assert not restarted.dirty


def test_an_answer_that_was_overtaken_is_told():
    session, values = opened()
    first = session.mark
    session.answer()

    assert session.merge(first, TEXT, values)
    assert not session.merge(session.mark, TEXT, values)


def test_what_is_laid_aside_comes_back():
    session, _ = opened()
    assert not session.lay_aside()

    session.set(("description",), "She keeps a lamp.")
    assert session.lay_aside()
    session.write(TEXT)
    session.undo()

    assert "She keeps a lamp." in session.text
