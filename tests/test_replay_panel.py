"""Replays and exports as the page shows and saves them."""

import json

import pytest

from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.ui import replay_panel
from hermes_ui.ui.bridge import Fields
from storage.errors import StorageError
from storage.rows import NewMessage
from tests.house import OWNER, ended, open_house


@pytest.fixture
def chat(store, tmp_path):
    with open_house(store, tmp_path / "personas", ScriptedEngine("The *lamp* is lit.")) as service:
        yield service


@pytest.fixture
def conversation(chat):
    started = chat.start(OWNER, "ava")
    ended(chat, chat.send(OWNER, started.id, "Fog: <b>again</b>?"))
    return started


def scenes(chat, conversation):
    return list(replay_panel.scenes(chat, OWNER, conversation.id, float("inf")))


def test_a_replay_ends_with_the_whole_conversation(chat, conversation):
    last = scenes(chat, conversation)[-1]

    assert last["over"]
    assert last["open"] == ""
    assert len(last["page"]) == 3
    assert "&lt;b&gt;again&lt;/b&gt;" in last["page"][1]
    assert "<em>lamp</em>" in last["page"][2]


def test_a_long_replay_turns_the_page(chat, conversation):
    parent = chat.store.conversation(OWNER, conversation.id).leaf_id
    for number in range(replay_panel.PAGE_MESSAGES):
        message = NewMessage("user", f"message {number}")
        parent = chat.store.append(OWNER, conversation.id, parent, message).id

    pages = [len(scene["page"]) for scene in scenes(chat, conversation)]

    assert max(pages) == replay_panel.PAGE_MESSAGES
    assert pages[-1] == 3


@pytest.mark.parametrize(("to", "ending"), [("markdown", "md"), ("json", "json")])
def test_an_export_is_a_file_named_after_the_conversation(chat, conversation, to, ending):
    export = replay_panel.actions(chat)["export"]

    answer = export(OWNER, Fields({"conversation": conversation.id, "format": to}))

    assert answer["name"] == f"Fog-b-again-b.{ending}"
    assert "The *lamp* is lit." in answer["text"]
    if to == "json":
        assert json.loads(answer["text"])["assistant"] == "Ava"


def test_an_unknown_format_is_refused(chat, conversation):
    export = replay_panel.actions(chat)["export"]

    with pytest.raises(StorageError, match="is not a format"):
        export(OWNER, Fields({"conversation": conversation.id, "format": "exe"}))
