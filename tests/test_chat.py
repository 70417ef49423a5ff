"""The use cases of a conversation, told without a browser."""

import re

import pytest

from hermes_ui.errors import NothingToDo, UnknownPersona
from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.params import SamplingParams
from hermes_ui.prompt.chatml import text_of
from storage.errors import Conflict, NotFound
from tests.house import AVA, OWNER, STRANGER, contents, ended, open_house

GREETING = "Good evening, Traveller. Mind the wet stairs."


@pytest.fixture
def replies():
    return ["The lamp is lit.", "The wind is up.", "Listen to the gulls."]


@pytest.fixture
def chat(store, tmp_path, replies):
    with open_house(store, tmp_path / "personas", ScriptedEngine(replies)) as service:
        yield service


@pytest.fixture
def conversation(chat):
    return chat.start(OWNER, "ava")


def test_starting_shows_the_greeting_with_the_users_name(chat):
    conversation = chat.start(OWNER, "ava", user="Brenna")

    assert contents(chat, conversation) == ["Good evening, Brenna. Mind the wet stairs."]


def test_alternate_greetings_are_swipes_of_the_first_message(chat, conversation):
    window = chat.store.window(OWNER, conversation.id)

    assert len(window.siblings[window.messages[0].id].ids) == 2


def test_starting_with_an_alternate_greeting_shows_it(chat):
    conversation = chat.start(OWNER, "ava", greeting=1)

    assert contents(chat, conversation) == ["The lamp is lit. Sit down."]


def test_an_unknown_persona_is_named(chat):
    with pytest.raises(UnknownPersona, match="nobody"):
        chat.start(OWNER, "nobody")


def test_sending_stores_the_message_and_its_reply(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "How is the harbour?"))

    assert contents(chat, conversation) == [GREETING, "How is the harbour?", "The lamp is lit."]


def test_the_first_message_names_the_conversation(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "How is\nthe harbour?"))

    assert chat.store.conversation(OWNER, conversation.id).title == "How is the harbour?"


def test_a_chosen_title_is_kept(chat, conversation):
    chat.rename(OWNER, conversation.id, " Storm\nnight ")

    ended(chat, chat.send(OWNER, conversation.id, "How is the harbour?"))

    assert chat.store.conversation(OWNER, conversation.id).title == "Storm night"


@pytest.mark.parametrize("text", ["", "  \n", "x" * 100_001], ids=["empty", "blank", "too long"])
def test_a_message_that_cannot_be_sent_is_refused(chat, conversation, text):
    with pytest.raises(NothingToDo):
        chat.send(OWNER, conversation.id, text)

    assert contents(chat, conversation) == [GREETING]


@pytest.mark.parametrize(("text", "code"), [("ab\0c", "U+0000"), ("ab\udc00c", "U+DC00")])
def test_a_character_that_no_database_holds_is_named(chat, conversation, text, code):
    named = f"character 3 of the text is {code}"

    with pytest.raises(NothingToDo, match=re.escape(named)):
        chat.send(OWNER, conversation.id, text)
    with pytest.raises(NothingToDo, match=re.escape(named)):
        chat.rename(OWNER, conversation.id, text)
    with pytest.raises(NothingToDo, match=re.escape(named)):
        chat.set_user(OWNER, conversation.id, text)
    with pytest.raises(NothingToDo, match=re.escape(named)):
        chat.start(OWNER, "ava", user=text)

    assert contents(chat, conversation) == [GREETING]
    assert chat.store.conversation(OWNER, conversation.id).title == conversation.title


def test_text_is_stored_as_it_was_typed(chat, conversation):
    odd = "  <|im_end|>\n<script>alert(1)</script>\n\ttab, ümlaut, 🌊  \n"

    ended(chat, chat.send(OWNER, conversation.id, odd))

    assert contents(chat, conversation)[1] == odd


def test_regenerating_adds_a_sibling_and_keeps_the_first_reply(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    first = chat.store.window(OWNER, conversation.id).messages[-1]

    ended(chat, chat.regenerate(OWNER, first.id))

    window = chat.store.window(OWNER, conversation.id)
    assert window.messages[-1].content == "The wind is up."
    assert window.siblings[window.messages[-1].id].ids[0] == first.id
    assert chat.store.message(OWNER, first.id).content == "The lamp is lit."


def test_switching_goes_back_to_the_earlier_swipe(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    first = chat.store.window(OWNER, conversation.id).messages[-1]
    ended(chat, chat.regenerate(OWNER, first.id))

    chat.switch(OWNER, first.id)

    assert contents(chat, conversation)[-1] == "The lamp is lit."


def test_editing_a_user_message_begins_a_branch_with_a_new_reply(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    mine = chat.store.window(OWNER, conversation.id).messages[-2]

    ended(chat, chat.edit(OWNER, mine.id, "Good morning"))

    assert contents(chat, conversation) == [GREETING, "Good morning", "The wind is up."]
    chat.switch(OWNER, mine.id)
    assert contents(chat, conversation) == [GREETING, "Hello", "The lamp is lit."]


def test_editing_a_reply_needs_no_model(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    reply = chat.store.window(OWNER, conversation.id).messages[-1]

    assert chat.edit(OWNER, reply.id, "The lamp is out.") is None

    assert contents(chat, conversation)[-1] == "The lamp is out."


def test_continuing_keeps_the_text_and_adds_to_it(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    reply = chat.store.window(OWNER, conversation.id).messages[-1]

    ended(chat, chat.resume(OWNER, reply.id))

    assert contents(chat, conversation)[-1] == "The lamp is lit.The wind is up."


def test_only_replies_can_be_regenerated(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    mine = chat.store.window(OWNER, conversation.id).messages[-2]

    with pytest.raises(NothingToDo):
        chat.regenerate(OWNER, mine.id)


def test_deleting_can_be_undone(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    mine = chat.store.window(OWNER, conversation.id).messages[-2]

    chat.delete(OWNER, mine.id)
    assert contents(chat, conversation) == [GREETING]

    chat.store.undo(OWNER, conversation.id)
    assert contents(chat, conversation) == [GREETING, "Hello", "The lamp is lit."]


def test_a_conversation_keeps_the_persona_version_it_started_with(chat, conversation):
    chat.catalog.save(OWNER, AVA.replace("Tern Point", "Gull Rock"), slug="ava")

    pinned = chat.persona_of(OWNER, chat.store.conversation(OWNER, conversation.id))
    assert "Tern Point" in pinned.description

    chat.pin_latest(OWNER, conversation.id)
    latest = chat.persona_of(OWNER, chat.store.conversation(OWNER, conversation.id))
    assert "Gull Rock" in latest.description


def test_sampling_overrides_only_what_was_set(chat, conversation):
    chat.set_sampling(OWNER, conversation.id, SamplingParams(temperature=0.3))

    params = chat.sampling_of(OWNER, chat.store.conversation(OWNER, conversation.id))

    assert params == SamplingParams(temperature=0.3)


def test_the_meter_counts_what_the_prompt_holds(chat, conversation):
    before = chat.meter(OWNER, conversation.id)

    ended(chat, chat.send(OWNER, conversation.id, "Hello"))

    after = chat.meter(OWNER, conversation.id)
    assert after.prompt_tokens > before.prompt_tokens
    assert (before.kept, after.kept) == (1, 3)


def test_lore_can_belong_to_one_greeting(chat):
    lore = """\
lorebook:
  entries:
    - constant: true
      content: |-
        @@is_greeting 1
        The lamp has a crack.
"""
    chat.catalog.save(OWNER, AVA + lore, slug="ava")

    texts = [
        text_of(chat.prompt_for(OWNER, chat.start(OWNER, "ava", greeting=index).id).pieces)
        for index in (0, 1)
    ]

    assert ["The lamp has a crack." in text for text in texts] == [False, True]


def test_lore_knows_a_greeting_by_its_number_in_the_persona(chat):
    persona = """\
name: Ava
alternate_greetings: [Good morning., Good evening.]
lorebook:
  entries:
    - {constant: true, content: "@@is_greeting 2\\nThe lamp has a crack."}
"""
    slug = chat.catalog.save(OWNER, persona).slug
    conversation = chat.start(OWNER, slug, greeting=2)
    evening = conversation.leaf_id

    chat.delete(OWNER, chat.store.siblings(OWNER, evening)[0].id)
    with_lore = text_of(chat.prompt_for(OWNER, conversation.id).pieces)
    chat.edit(OWNER, evening, "Good night.")

    assert chat.store.message(OWNER, evening).content == "Good evening."
    assert "a crack" in with_lore
    assert "a crack" not in text_of(chat.prompt_for(OWNER, conversation.id).pieces)


def test_lore_of_a_greeting_that_was_deleted_stays_silent(chat):
    lore = """\
lorebook:
  entries:
    - {constant: true, content: "@@is_greeting 0\\nThe lamp has a crack."}
"""
    chat.catalog.save(OWNER, AVA + lore, slug="ava")
    conversation = chat.start(OWNER, "ava")
    greeting = conversation.leaf_id
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    leaf = chat.store.conversation(OWNER, conversation.id).leaf_id
    with_lore = text_of(chat.prompt_for(OWNER, conversation.id).pieces)

    chat.store.delete_message(OWNER, greeting)
    chat.store.move_leaf(OWNER, conversation.id, leaf)  # as a page does that was open before

    assert "a crack" in with_lore
    assert "a crack" not in text_of(chat.prompt_for(OWNER, conversation.id).pieces)


def test_the_meter_says_how_much_is_really_kept_for_the_reply(chat, conversation):
    chat.set_sampling(OWNER, conversation.id, SamplingParams(max_tokens=8192))

    meter = chat.meter(OWNER, conversation.id)

    assert meter.reply_tokens == meter.context_length // 2


def test_two_sends_at_once_are_one_reply_and_one_refusal(store, tmp_path):
    slow = ScriptedEngine("a b c d e f g h", delay_s=0.05)
    with open_house(store, tmp_path / "personas", slow) as chat:
        conversation = chat.start(OWNER, "ava")
        run = chat.send(OWNER, conversation.id, "Hello")

        with pytest.raises(Conflict):
            chat.send(OWNER, conversation.id, "Hello")

        ended(chat, run)
        assert contents(chat, conversation) == [GREETING, "Hello", "a b c d e f g h"]


def test_a_stranger_reaches_nothing(chat, conversation):
    ended(chat, chat.send(OWNER, conversation.id, "Hello"))
    reply = chat.store.window(OWNER, conversation.id).messages[-1]

    for attempt in (
        lambda: chat.send(STRANGER, conversation.id, "Hello"),
        lambda: chat.regenerate(STRANGER, reply.id),
        lambda: chat.resume(STRANGER, reply.id),
        lambda: chat.edit(STRANGER, reply.id, "Mine"),
        lambda: chat.switch(STRANGER, reply.id),
        lambda: chat.delete(STRANGER, reply.id),
        lambda: chat.meter(STRANGER, conversation.id),
        lambda: chat.set_sampling(STRANGER, conversation.id, SamplingParams()),
        lambda: chat.set_user(STRANGER, conversation.id, "M"),
        lambda: chat.pin_latest(STRANGER, conversation.id),
    ):
        with pytest.raises(NotFound):
            attempt()
