"""The list of conversations: grouped by the reader's day, searched, deleted, restored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.ui import sidebar, words
from hermes_ui.ui.bridge import Fields
from storage.rows import ConversationRow
from tests.house import OWNER, STRANGER, open_house

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
HERE = timedelta(0)


def row(then: datetime, title: str = "Fog", **changes: Any) -> ConversationRow:
    given: dict[str, Any] = {
        "id": "c" * 32,
        "owner": OWNER,
        "title": title,
        "persona_slug": "ava",
        "persona_digest": "d" * 64,
        "leaf_id": None,
        "settings": {},
        "created_at": then,
        "updated_at": then,
        "deleted_at": None,
    }
    return ConversationRow(**(given | changes))


@pytest.fixture
def chat(store, tmp_path):
    with open_house(store, tmp_path / "personas", ScriptedEngine("Hi.")) as service:
        yield service


@pytest.fixture
def ask(chat):
    actions = sidebar.actions(chat)
    return lambda action, owner=OWNER, **fields: actions[action](owner, Fields(fields))


@pytest.mark.parametrize(
    ("ago", "group"),
    [
        pytest.param(timedelta(hours=1), words.TODAY, id="an hour"),
        pytest.param(timedelta(hours=13), words.YESTERDAY, id="before midnight"),
        pytest.param(timedelta(days=3), words.THIS_WEEK, id="three days"),
        pytest.param(timedelta(days=20), words.THIS_MONTH, id="three weeks"),
        pytest.param(timedelta(days=300), words.EARLIER, id="months"),
    ],
)
def test_conversations_stand_under_their_day(ago, group):
    html = sidebar.listing([row(NOW - ago)], {}, now=NOW, offset=HERE)

    assert f"<h3>{group}</h3>" in html


def test_the_day_is_the_readers_day():
    evening = NOW - timedelta(hours=11)

    html = sidebar.listing([row(evening)], {}, now=NOW, offset=timedelta(hours=-5))

    assert words.YESTERDAY in html


def test_a_day_is_headed_once():
    rows = [row(NOW - timedelta(minutes=minutes)) for minutes in (1, 2, 3)]

    assert sidebar.listing(rows, {}, now=NOW, offset=HERE).count("<h3>") == 1


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        pytest.param(timedelta(seconds=5), "now", id="now"),
        pytest.param(timedelta(minutes=5), "5 min", id="minutes"),
        pytest.param(timedelta(hours=5), "5 h", id="hours"),
        pytest.param(timedelta(days=2), "Mon", id="a weekday"),
        pytest.param(timedelta(days=40), "10 Apr", id="a date"),
        pytest.param(timedelta(days=400), "Apr 2025", id="last year"),
    ],
)
def test_times_are_short(ago, shown):
    assert sidebar.ago(NOW - ago, NOW) == shown


def test_titles_are_text():
    html = sidebar.listing([row(NOW, "<img src=x>\"'")], {}, now=NOW, offset=HERE)

    assert "<img" not in html
    assert 'aria-label="Options for &lt;img src=x&gt;&quot;&#x27;"' in html


def test_search_finds_titles(chat, ask):
    chat.store.rename(OWNER, chat.start(OWNER, "ava").id, "Fog bell")
    chat.start(OWNER, "ava")

    html = ask("conversations", query="bell")["html"]

    assert html.count("data-conversation") == 1
    assert "Fog bell" in html


def test_a_long_list_says_that_there_is_more(chat, ask):
    for _ in range(3):
        chat.start(OWNER, "ava")

    answer = ask("conversations", limit=2)

    assert answer["html"].count("data-conversation") == 2
    assert answer["more"]


def test_a_deleted_conversation_can_be_restored(chat, ask):
    conversation = chat.start(OWNER, "ava")
    ask("remove", conversation=conversation.id)
    assert words.NO_CONVERSATIONS in ask("conversations")["html"]
    assert conversation.id in ask("conversations", list="deleted")["html"]

    ask("restore", conversation=conversation.id)

    assert conversation.id in ask("conversations")["html"]


def test_a_stranger_sees_nothing(chat, ask):
    chat.start(OWNER, "ava")

    assert "data-conversation" not in ask("conversations", owner=STRANGER)["html"]


def test_an_empty_title_renames_nothing(chat, ask):
    conversation = chat.start(OWNER, "ava")

    assert ask("rename", conversation=conversation.id, title="  ")["title"] == "Ava"
