"""What the page may ask of a conversation, without a browser."""

from types import SimpleNamespace

import pytest

from hermes_ui.api.doors import OWNER_HEADER
from hermes_ui.errors import NothingToDo
from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.ui import chat_panel, words
from hermes_ui.ui.bridge import Fields, door
from storage.errors import NotFound
from storage.rows import NewMessage
from tests.house import OWNER, STRANGER, ended, open_house


@pytest.fixture
def chat(store, tmp_path):
    engine = ScriptedEngine(lambda _: "The lamp is lit.\n\nSit down.", delay_s=0.01)
    with open_house(store, tmp_path / "personas", engine) as service:
        yield service


@pytest.fixture
def conversation(chat):
    return chat.start(OWNER, "ava")


@pytest.fixture
def ask(chat):
    """Asks an action as the page's script does."""
    actions = chat_panel.actions(chat)

    def asked(action, *, owner=OWNER, **fields):
        return actions[action](owner, Fields(fields))

    return asked


@pytest.fixture
def long_conversation(chat, conversation):
    parent = conversation.leaf_id
    for number in range(1, 400):
        role = "user" if number % 2 else "assistant"
        message = NewMessage(role, f"message {number}")
        parent = chat.store.append(OWNER, conversation.id, parent, message).id
    return chat.store.conversation(OWNER, conversation.id)


def numbers(view):
    """The first and the last message of a window of the long conversation."""
    texts = [item["html"].split("message ")[-1].split("<")[0] for item in view["items"]]
    return texts[0], texts[-1]


def test_a_view_is_bounded_however_long_the_conversation_is(ask, long_conversation):
    view = ask("view", conversation=long_conversation.id, limit=10_000)

    assert len(view["items"]) == chat_panel.MOST_MESSAGES


def test_a_view_shows_the_newest_messages_first_asked_for(ask, long_conversation):
    view = ask("view", conversation=long_conversation.id)

    assert numbers(view) == ("350", "399")
    assert view["earlier"] == words.EARLIER_MESSAGES.format(count=350)
    assert view["newer"] == view["end"] == ""


def test_earlier_messages_are_a_page_away(ask, long_conversation):
    newest = ask("view", conversation=long_conversation.id)

    view = ask("view", conversation=long_conversation.id, end=newest["items"][0]["id"])

    assert numbers(view) == ("301", "350")
    assert view["newer"] == words.NEWER_MESSAGES.format(count=49)


def test_newer_messages_lead_back_to_the_end(ask, long_conversation):
    newest = ask("view", conversation=long_conversation.id)
    earlier = ask("view", conversation=long_conversation.id, end=newest["items"][0]["id"])

    view = ask("view", conversation=long_conversation.id, after=earlier["items"][-1]["id"])

    assert numbers(view)[1] == "399"
    assert view["end"] == ""


def test_a_swipe_far_up_stays_in_sight(chat, ask, long_conversation):
    path = chat.store.path(OWNER, long_conversation.leaf_id)
    chat.edit(OWNER, path[100].id, "another message")
    old = path[100].id

    view = ask("switch", conversation=long_conversation.id, message=old)

    assert old in [item["id"] for item in view["items"]]


def test_a_strangers_conversation_is_not_there(ask, conversation):
    with pytest.raises(NotFound):
        ask("view", owner=STRANGER, conversation=conversation.id)


def test_sending_answers_with_the_message_and_the_run_that_replies(chat, ask, conversation):
    view = ask("send", conversation=conversation.id, text="Hello", leaf=conversation.leaf_id)

    assert "Hello" in view["items"][-1]["html"]
    assert view["run"]
    assert view["runs_here"]
    ended(chat, chat.store.run(OWNER, view["run"]))


def test_sending_twice_after_a_lost_answer_sends_once(chat, ask, conversation):
    first = ask("send", conversation=conversation.id, text="Hello", leaf=conversation.leaf_id)
    ended(chat, chat.store.run(OWNER, first["run"]))

    again = ask("send", conversation=conversation.id, text="Hello", leaf=conversation.leaf_id)

    assert "stale" not in again
    assert len(again["items"]) == 3


def test_a_tab_that_is_behind_is_told_and_sends_nothing(chat, ask, conversation):
    first = ask("send", conversation=conversation.id, text="Hello", leaf=conversation.leaf_id)
    ended(chat, chat.store.run(OWNER, first["run"]))

    behind = ask("send", conversation=conversation.id, text="Other", leaf=conversation.leaf_id)

    assert behind["stale"] == words.ELSEWHERE
    assert len(behind["items"]) == 3


def test_a_reply_being_regenerated_leaves_the_window(chat, ask, conversation):
    first = ask("send", conversation=conversation.id, text="Hello", leaf=conversation.leaf_id)
    ended(chat, chat.store.run(OWNER, first["run"]))
    reply = ask("view", conversation=conversation.id)["items"][-1]["id"]

    view = ask("regenerate", conversation=conversation.id, message=reply)

    assert reply not in [item["id"] for item in view["items"]]
    ended(chat, chat.store.run(OWNER, view["run"]))


def test_following_sends_finished_blocks_once_and_the_open_one_apart(chat, ask, conversation):
    view = ask("send", conversation=conversation.id, text="Hello", leaf=conversation.leaf_id)

    updates = list(chat_panel.followed(chat, OWNER, view["run"]))

    assert updates[-1]["state"] == "done"
    assert updates[-1]["blocks"] == ['<p dir="auto">The lamp is lit.</p>\n']
    assert updates[-1]["open"] == '<p dir="auto">Sit down.</p>\n'
    assert updates[0]["blocks"] == []


def test_the_pulse_changes_with_the_conversation(chat, ask, conversation):
    before = ask("pulse", conversation=conversation.id)
    assert before == ask("pulse", conversation=conversation.id)

    chat.store.rename(OWNER, conversation.id, "Fog")

    assert ask("pulse", conversation=conversation.id) != before


def test_undo_says_when_there_is_nothing_to_undo(ask, conversation):
    assert ask("undo", conversation=conversation.id)["notice"] == words.NOTHING_TO_UNDO


def test_a_deleted_message_comes_back(ask, conversation):
    shown = ask("view", conversation=conversation.id)["items"]
    left = ask("delete", conversation=conversation.id, message=shown[0]["id"])["items"]
    assert [each["id"] for each in left] != [shown[0]["id"]]

    view = ask("undo", conversation=conversation.id)

    assert view["items"] == shown
    assert view["notice"] == ""


def test_a_message_without_a_reply_can_get_one(chat, ask, conversation):
    chat.store.append(OWNER, conversation.id, conversation.leaf_id, NewMessage("user", "Hello?"))
    assert ask("view", conversation=conversation.id)["unanswered"]

    view = ask("answer", conversation=conversation.id)

    assert not view["unanswered"]
    assert ended(chat, chat.store.run(OWNER, view["run"])).state == "done"


def test_a_message_with_a_reply_gets_no_other(ask, conversation):
    with pytest.raises(NothingToDo):
        ask("answer", conversation=conversation.id)


def test_the_name_given_once_holds_for_the_next_chat(chat, ask, conversation):
    chat.set_user(OWNER, conversation.id, "Brenna")

    view = ask("start", slug="ava")

    assert "Good evening, Brenna." in view["items"][0]["html"]


def test_a_conversation_knows_when_its_persona_has_a_newer_version(chat, ask, conversation):
    assert not ask("view", conversation=conversation.id)["outdated"]
    chat.catalog.save(OWNER, "name: Ava\ngreeting: Hello.\n", slug="ava")

    assert ask("view", conversation=conversation.id)["outdated"]
    assert not ask("pin", conversation=conversation.id)["outdated"]


def test_the_picture_of_an_unknown_version_is_empty(ask):
    assert ask("avatars", digests=["nothing"]) == {"avatars": {"nothing": ""}}


def test_what_the_script_sends_of_a_wrong_type_reads_as_missing():
    fields = Fields({"text": 3, "number": "4", "texts": [1, "a"], "mapping": []})

    assert fields.text("text") == ""
    assert fields.number("number") is None
    assert fields.texts("texts") == ["a"]
    assert fields.mapping("mapping") == {}
    assert Fields(None).text("any") == ""


def test_a_defect_is_told_and_logged(caplog):
    def broken(owner, fields):
        raise ZeroDivisionError("somewhere deep")

    ask = door({"view": broken})
    request = SimpleNamespace(headers={OWNER_HEADER: OWNER})

    assert ask({"do": "view"}, request) == {"error": words.DEFECT}
    assert ask({"do": "nothing"}, request) == {"error": words.DEFECT}
    assert "somewhere deep" in caplog.text
    assert "'nothing'" in caplog.text
