"""A stored conversation plays back as it was said."""

import time
from itertools import pairwise

import pytest

from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.replay import play
from storage.errors import NotFound
from tests.house import OWNER, STRANGER, ended, open_house

INSTANT = float("inf")


@pytest.fixture
def conversation(store, tmp_path):
    with open_house(store, tmp_path / "p", ScriptedEngine("a b c d e f", delay_s=0.1)) as chat:
        conversation = chat.start(OWNER, "ava")
        ended(chat, chat.send(OWNER, conversation.id, "Hello"))
        return conversation


def test_every_message_is_played_once_whole(store, conversation):
    played = [each.text for each in play(OWNER, store, conversation.id, speed=INSTANT) if each.done]

    assert played == [row.content for row in store.window(OWNER, conversation.id).messages]


def test_a_reply_grows_as_it_did(store, conversation):
    texts = [
        each.text
        for each in play(OWNER, store, conversation.id, speed=100)
        if each.message.role == "assistant" and each.message.parent_id
    ]

    assert texts[-1] == "a b c d e f"
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


def test_playing_takes_the_recorded_time(store, conversation):
    reply = store.window(OWNER, conversation.id).messages[-1]
    recorded_s = store.seal(OWNER, reply.id).chunks[-1][0] / 1000

    began = time.monotonic()
    for _ in play(OWNER, store, conversation.id, speed=1.0):
        pass

    assert time.monotonic() - began >= recorded_s


def test_a_stranger_sees_nothing(store, conversation):
    with pytest.raises(NotFound):
        next(play(STRANGER, store, conversation.id))
