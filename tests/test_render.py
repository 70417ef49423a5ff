"""Message bubbles: who speaks, what can be done, and nothing that runs."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from hermes_ui.ui import render
from storage.rows import MessageRow

HOSTILE = "<img src=x onerror=alert(1)>\"'`${alert(2)}"


def row(role: str = "assistant", content: str = "Hello.", **changes: Any) -> MessageRow:
    given: dict[str, Any] = {
        "id": "a" * 32,
        "owner": "local",
        "conversation_id": "c" * 32,
        "parent_id": "b" * 32,
        "depth": 3,
        "role": role,
        "content": content,
        "tool_calls": (),
        "tool_results": (),
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "finish_reason": "stop" if role == "assistant" else None,
        "model_id": None,
        "prompt_tokens": None,
        "completion_tokens": None,
        "cached_tokens": None,
        "prefix_chars": 0,
        "deleted_at": None,
    }
    return MessageRow(**(given | changes))


def bubble(message: MessageRow, *, name: str = "Mara", siblings: Any = (0, ())) -> str:
    return render.message(message, name=name, digest="d" * 64, siblings=siblings)


def actions_in(html: str) -> list[str]:
    return re.findall(r'data-action="([a-z-]+)"', html)


def test_a_reply_can_be_copied_edited_redone_continued_deleted_explained():
    html = bubble(row())

    assert actions_in(html) == ["copy", "edit", "regenerate", "resume", "delete", "seal"]


def test_what_the_user_said_can_be_copied_edited_deleted():
    assert actions_in(bubble(row("user"))) == ["copy", "edit", "delete"]


def test_a_greeting_cannot_be_regenerated():
    html = bubble(row(parent_id=None, finish_reason=None))

    assert actions_in(html) == ["copy", "edit", "delete"]


def test_every_button_has_a_label():
    html = bubble(row(), siblings=(1, ("x", "y", "z")))

    buttons = re.findall(r"<button [^>]*>", html)
    assert buttons
    assert all("aria-label=" in button for button in buttons if "link" not in button)


def test_swipes_lead_to_the_neighbours():
    html = bubble(row(), siblings=(1, ("one", "two", "three")))

    assert "2/3" in html
    assert re.findall(r'data-to="(\w+)"', html) == ["one", "three"]


def test_the_first_swipe_has_nothing_before_it():
    html = bubble(row(), siblings=(0, ("one", "two")))

    assert re.findall(r'data-to="(\w+)"', html) == ["two"]
    assert "disabled" in html


def test_one_version_shows_no_swipes():
    assert "swipes" not in bubble(row(), siblings=(0, ("one",)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"finish_reason": "cancelled"}, "stopped", id="stopped"),
        pytest.param(
            {"finish_reason": "length", "completion_tokens": 512}, "cut at 512 tokens", id="cut"
        ),
        pytest.param({"finish_reason": "interrupted"}, "interrupted", id="interrupted"),
    ],
)
def test_a_reply_that_did_not_end_by_itself_says_so(changes, said):
    assert f'<span class="badge">{said}</span>' in bubble(row(**changes))


@pytest.mark.parametrize("reason", ["length", "interrupted"])
def test_a_reply_that_was_cut_offers_to_go_on(reason):
    header = bubble(row(finish_reason=reason)).split("</header>")[0]

    assert 'data-action="resume"' in header


def test_names_are_text():
    html = bubble(row(), name=HOSTILE)

    assert "<img" not in html
    assert "&lt;img" in html


def test_a_name_cannot_leave_its_attribute():
    article = re.match(
        r'<article class="[^"]*" data-id="\w+" aria-label="[^"]*">', bubble(row(), name=HOSTILE)
    )

    assert article is not None


def test_tool_answers_are_text():
    html = bubble(row("tool", "", tool_results=({"name": HOSTILE, "content": HOSTILE},)))

    assert "<img" not in html


def test_a_call_without_words_takes_no_room_for_them():
    call = {"id": "1", "name": "roll_dice", "arguments": "{}"}

    assert "wordless" in bubble(row(content="", tool_calls=(call,)))
    assert "wordless" not in bubble(row(content="I roll.", tool_calls=(call,)))
    assert "wordless" not in bubble(row(content=""))


def test_only_the_persona_has_a_picture():
    assert 'data-avatar="dd' in render.avatar("Mara", "d" * 64)
    assert "data-avatar" not in render.avatar("You", "")


def test_a_message_without_words_says_so():
    assert "(no words)" in bubble(row(content=" "))
