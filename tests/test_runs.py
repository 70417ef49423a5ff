"""A reply belongs to the server: it outlives its followers, and a dead server loses no word."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from hermes_ui.errors import EngineError
from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.messages import ToolCall
from hermes_ui.runs import LEASE_S
from storage.errors import NotFound
from storage.store import Store
from tests.house import OWNER, STRANGER, contents, ended, open_house

SLOW_REPLY = " ".join(f"word{n}" for n in range(40))


@pytest.fixture
def chat(store, tmp_path):
    engine = ScriptedEngine(SLOW_REPLY, delay_s=0.02)
    with open_house(store, tmp_path / "personas", engine) as service:
        yield service


@pytest.fixture
def conversation(chat):
    return chat.start(OWNER, "ava")


def wait_until(is_true) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.02)


def test_followers_see_the_reply_grow(chat, conversation):
    run = chat.send(OWNER, conversation.id, "Hello")

    texts = [progress.text for progress in chat.runs.follow(OWNER, run.id)]

    assert texts[-1] == SLOW_REPLY
    assert len(set(texts)) > 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


def test_a_reply_goes_on_when_its_follower_leaves(chat, conversation):
    run = chat.send(OWNER, conversation.id, "Hello")
    follower = chat.runs.follow(OWNER, run.id)
    next(follower)

    follower.close()

    assert ended(chat, run).state == "done"
    assert contents(chat, conversation)[-1] == SLOW_REPLY


def test_a_late_follower_gets_the_whole_reply(chat, conversation):
    run = chat.send(OWNER, conversation.id, "Hello")
    ended(chat, run)

    assert ended(chat, run).state == "done"


def test_stopping_keeps_what_was_said_and_frees_the_engine(chat, conversation):
    run = chat.send(OWNER, conversation.id, "Hello")
    for progress in chat.runs.follow(OWNER, run.id):
        if progress.text:
            break

    chat.runs.stop(OWNER, run.id)

    assert ended(chat, run).state == "done"
    message = chat.store.window(OWNER, conversation.id).messages[-1]
    assert message.finish_reason == "cancelled"
    assert message.content
    assert SLOW_REPLY.startswith(message.content)
    assert chat.host.engine(timeout_s=1).active == 0


def test_a_stranger_can_neither_follow_nor_stop(chat, conversation):
    run = chat.send(OWNER, conversation.id, "Hello")

    with pytest.raises(NotFound):
        next(iter(chat.runs.follow(STRANGER, run.id)))
    with pytest.raises(NotFound):
        chat.runs.stop(STRANGER, run.id)

    assert ended(chat, run).text == SLOW_REPLY


def test_every_reply_is_sealed(chat, conversation):
    run = chat.send(OWNER, conversation.id, "Hello")
    ended(chat, run)

    message = chat.store.window(OWNER, conversation.id).messages[-1]
    seal = chat.store.seal(OWNER, message.id)
    assert seal.body["persona"] == conversation.persona_digest
    assert seal.body["params"]["seed"] is not None
    assert seal.body["prompt"]["tokens"] == message.prompt_tokens
    assert seal.body["engine"]["model_id"] == message.model_id
    assert sum(n_chars for _, n_chars in seal.chunks) == len(message.content)


def test_closing_the_server_keeps_what_was_said(store, tmp_path):
    with open_house(store, tmp_path / "p", ScriptedEngine(SLOW_REPLY, delay_s=0.05)) as chat:
        conversation = chat.start(OWNER, "ava")
        run = chat.send(OWNER, conversation.id, "Hello")
        for progress in chat.runs.follow(OWNER, run.id):
            if progress.text:
                break

    message = store.window(OWNER, conversation.id).messages[-1]
    assert message.finish_reason == "interrupted"
    assert SLOW_REPLY.startswith(message.content)


class BreaksAfter(ScriptedEngine):
    """Says a few words and then fails, as an engine does that runs out of memory."""

    def stream(self, prompt, params):
        events = super().stream(prompt, params)
        for _ in range(3):
            yield next(events)
        raise EngineError("out of memory")


def test_a_failing_engine_leaves_what_it_said(store, tmp_path):
    with open_house(store, tmp_path / "p", BreaksAfter(SLOW_REPLY)) as chat:
        conversation = chat.start(OWNER, "ava")

        last = ended(chat, chat.send(OWNER, conversation.id, "Hello"))

    assert (last.state, last.error) == ("failed", "out of memory")
    message = store.window(OWNER, conversation.id).messages[-1]
    assert message.finish_reason == "interrupted"
    assert message.content
    assert SLOW_REPLY.startswith(message.content)
    seal = store.seal(OWNER, message.id).body
    assert seal["error"] == "out of memory"
    assert (seal["persona"], message.model_id) == (conversation.persona_digest, "scripted")
    assert seal["params"]["seed"] is not None


def test_a_continued_reply_that_fails_knows_what_was_there_before(store, tmp_path):
    with open_house(store, tmp_path / "p", BreaksAfter(SLOW_REPLY)) as chat:
        conversation = chat.start(OWNER, "ava")
        ended(chat, chat.send(OWNER, conversation.id, "Hello"))
        first = store.window(OWNER, conversation.id).messages[-1]

        ended(chat, chat.resume(OWNER, first.id))

    longer = store.window(OWNER, conversation.id).messages[-1]
    assert longer.content.startswith(first.content)
    assert longer.prefix_chars == len(first.content)


def test_a_reply_that_has_nothing_to_add_is_not_stored_twice(store, tmp_path):
    with open_house(store, tmp_path / "p", ScriptedEngine(["All is said.", ""])) as chat:
        conversation = chat.start(OWNER, "ava")
        ended(chat, chat.send(OWNER, conversation.id, "Hello"))
        reply = store.window(OWNER, conversation.id).messages[-1]

        last = ended(chat, chat.resume(OWNER, reply.id))

    assert last.state == "done"
    assert [row.content for row in store.siblings(OWNER, reply.id)] == ["All is said."]


def test_a_database_that_is_away_for_a_while_loses_no_word(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.database.LOCK_WAIT_S", 0.1)
    file = tmp_path / "busy.db"
    store = Store.open(f"sqlite:///{file}")
    engine = ScriptedEngine([SLOW_REPLY, SLOW_REPLY * 100], delay_s=0.01)
    with open_house(store, tmp_path / "p", engine) as chat:
        conversation = chat.start(OWNER, "ava")
        run = chat.send(OWNER, conversation.id, "Hello")
        with closing(sqlite3.connect(file, isolation_level=None)) as another:
            another.execute("BEGIN IMMEDIATE")
            notes = (progress.note for progress in chat.runs.follow(OWNER, run.id))
            assert any("locked" in note for note in notes)
            another.execute("ROLLBACK")

        assert ended(chat, run).state == "done"
        assert contents(chat, conversation)[-1] == SLOW_REPLY
        # What watches over all replies goes on too: it passes on the stop of another server.
        run = chat.send(OWNER, conversation.id, "More")
        store.request_stop(OWNER, run.id)
        assert ended(chat, run).state == "done"
        message = store.window(OWNER, conversation.id).messages[-1]
        assert message.finish_reason == "cancelled"
    store.close()


class Breaks(ScriptedEngine):
    def stream(self, prompt, params):
        raise EngineError("no memory at all")


def test_a_failure_before_the_first_word_keeps_the_users_message(store, tmp_path):
    with open_house(store, tmp_path / "p", Breaks("")) as chat:
        conversation = chat.start(OWNER, "ava")

        last = ended(chat, chat.send(OWNER, conversation.id, "Hello"))

        assert last.error == "no memory at all"
        assert contents(chat, conversation)[-1] == "Hello"


def test_tools_answer_within_one_reply(store, tmp_path):
    folder = tmp_path / "p"
    engine = ScriptedEngine(
        ['I roll. <tool_call>{"name": "roll_dice", "arguments": {"notation": "2d6"}}</tool_call>',
         "The dice have spoken."]
    )  # fmt: skip
    with open_house(store, folder, engine) as chat:
        (folder / "gm.yaml").write_text(
            "name: Gil\ndescription: A game master.\ntools: [roll_dice]\n"
        )
        conversation = chat.start(OWNER, "gm")

        last = ended(chat, chat.send(OWNER, conversation.id, "Attack!"))

        user, call, answer, reply = chat.store.window(OWNER, conversation.id).messages
    assert last.state == "done"
    assert (user.role, call.role, answer.role, reply.role) == (
        "user", "assistant", "tool", "assistant",
    )  # fmt: skip
    assert ToolCall(**call.tool_calls[0]).name == "roll_dice"
    assert answer.tool_results[0]["name"] == "roll_dice"
    assert reply.content == "The dice have spoken."


SERVER = """
import sys
from pathlib import Path
from hermes_ui.generation.scripted import ScriptedEngine
from storage.store import Store
from tests.house import OWNER, open_house
store = Store.open(sys.argv[1])
with open_house(store, Path(sys.argv[2]), ScriptedEngine("word " * 10_000, delay_s=0.01)) as chat:
    conversation = chat.start(OWNER, "ava")
    run = chat.send(OWNER, conversation.id, "Hello")
    print(conversation.id, flush=True)
    for _ in chat.runs.follow(OWNER, run.id):
        pass
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs kill -9")
def test_a_killed_server_loses_no_checkpointed_word(tmp_path):
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, url, str(tmp_path / "p")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    conversation_id = server.stdout.readline().strip()
    reader = Store.open(url)
    wait_until(lambda: (run := reader.active_run(OWNER, conversation_id)) and len(run.text) > 100)
    written = reader.active_run(OWNER, conversation_id).text
    server.send_signal(signal.SIGKILL)
    server.wait()
    server.stdout.close()
    time.sleep(LEASE_S)

    with open_house(reader, tmp_path / "p", ScriptedEngine("and more.")) as chat:
        message = reader.window(OWNER, conversation_id).messages[-1]
        assert message.finish_reason == "interrupted"
        assert message.content.startswith(written)

        ended(chat, chat.resume(OWNER, message.id))

        whole = reader.window(OWNER, conversation_id).messages[-1].content
        assert whole == message.content + "and more."
    reader.close()
