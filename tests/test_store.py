"""What the store promises, on SQLite and on PostgreSQL alike."""

import hashlib
import inspect
import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine

from storage.errors import BadExport, Conflict, DatabaseTooNew, NotFound, StorageUnavailable
from storage.formats import FORMATS, export, import_json
from storage.ids import now
from storage.rows import ConversationRow, NewMessage, Window
from storage.store import Store

AVA, EVE = "ava", "eve"
ROOMS = {"title": "Ava", "persona_slug": "ava", "persona_digest": "0" * 64, "settings": {}}


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'hermes.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
        server = create_engine(url)
        with server.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        server.dispose()
    opened = Store.open(url)
    yield opened
    opened.close()


@pytest.fixture
def conversation(store) -> ConversationRow:
    return store.create_conversation(AVA, **ROOMS, greetings=["Hello.", "Good evening."])


def begin(store, conversation, **given):
    """A run under the leaf, or wherever `given` says."""
    leaf = store.conversation(AVA, conversation.id).leaf_id
    values = {"server_id": "s", "request": {}, "parent_id": leaf} | given
    return store.start_run(AVA, conversation.id, **values)


def finish(store, run, said="Yes."):
    reply = NewMessage("assistant", said, finish_reason="stop")
    return store.finish_run(AVA, run.id, reply, {"seed": 7}, [(12, len(said))])


def said(window: Window) -> list[str]:
    return [row.content for row in window.messages]


def shown(store, conversation) -> list[str]:
    return said(store.window(AVA, conversation.id))


def long_conversation(store, n_messages: int) -> ConversationRow:
    conversation = store.create_conversation(AVA, **ROOMS)
    parent = None
    for index in range(n_messages):
        parent = store.append(AVA, conversation.id, parent, NewMessage("user", str(index))).id
    return conversation


def test_greetings_are_swipes_in_their_order(store, conversation):
    window = store.window(AVA, conversation.id)
    (greeting,) = window.messages

    ids = window.siblings[greeting.id].ids

    assert [store.message(AVA, each).content for each in ids] == ["Hello.", "Good evening."]


def test_a_turn_is_stored_with_its_seal(store, conversation):
    run = begin(store, conversation, user_message=NewMessage("user", "Is it late?"))

    reply = finish(store, run)

    assert shown(store, conversation) == ["Hello.", "Is it late?", "Yes."]
    seal = store.seal(AVA, reply.id)
    assert (seal.body, seal.chunks) == ({"seed": 7}, [[12, 4]])
    assert reply.id == run.message_id


def test_text_comes_back_to_the_letter(store, conversation):
    odd = "  \ttabs, ümlaut, 日本, 🌊\u200d, <|im_end|>\r\n\n"

    row = store.append(AVA, conversation.id, conversation.leaf_id, NewMessage("user", odd))

    assert store.message(AVA, row.id).content == odd


def test_a_second_run_in_a_conversation_is_refused(store, conversation):
    begin(store, conversation)

    with pytest.raises(Conflict):
        begin(store, conversation, user_message=NewMessage("user", "Again"))

    assert shown(store, conversation) == ["Hello."]


def test_a_run_is_finished_once(store, conversation):
    run = begin(store, conversation)
    finish(store, run)

    with pytest.raises(Conflict):
        finish(store, run)

    assert shown(store, conversation) == ["Hello.", "Yes."]


def test_a_reply_does_not_pull_back_a_reader_who_moved_on(store, conversation):
    run = begin(store, conversation)
    other = store.siblings(AVA, conversation.leaf_id)[1]
    store.move_leaf(AVA, conversation.id, other.id)

    finish(store, run)

    assert shown(store, conversation) == ["Good evening."]


def test_a_checkpoint_passes_on_a_wish_to_stop(store, conversation):
    run = begin(store, conversation)
    before = store.checkpoint(run.id, text="Ye", reasoning="", chunks=[(1, 2)])

    store.request_stop(AVA, run.id)

    assert (before, store.checkpoint(run.id, text="Yes", reasoning="", chunks=[])) == (False, True)


def test_a_stale_run_becomes_an_interrupted_message_once(store, conversation):
    run = begin(store, conversation)
    store.checkpoint(run.id, text="It was", reasoning="", chunks=[(1, 6)])
    (stale,) = store.stale_runs(-1)

    first, second = store.interrupt_run(stale.id, -1), store.interrupt_run(stale.id, -1)

    assert (first.content, first.finish_reason, second) == ("It was", "interrupted", None)
    assert shown(store, conversation) == ["Hello.", "It was"]
    assert store.active_run(AVA, conversation.id) is None


def test_a_stale_run_that_said_nothing_beyond_its_prefix_stores_nothing(store, conversation):
    run = begin(store, conversation, prefix="Hello")
    store.checkpoint(run.id, text="Hello", reasoning="", chunks=[])

    assert store.interrupt_run(run.id, -1) is None

    assert shown(store, conversation) == ["Hello."]
    assert store.active_run(AVA, conversation.id) is None


def test_a_stale_run_that_was_written_to_after_all_goes_on(store, conversation):
    run = begin(store, conversation)
    time.sleep(0.3)
    (stale,) = store.stale_runs(0.2)
    store.checkpoint(run.id, text="It was", reasoning="", chunks=[(1, 6)])

    assert store.interrupt_run(stale.id, 60) is None

    assert store.active_run(AVA, conversation.id).id == run.id


def test_a_living_run_is_not_stale(store, conversation):
    begin(store, conversation)

    assert store.stale_runs(60) == []


def test_a_server_whose_clock_is_wrong_is_not_taken_for_dead(store, conversation, monkeypatch):
    if not store.location.startswith("postgresql"):
        pytest.skip("all servers of a SQLite file have one clock")
    early = now() - timedelta(hours=1)
    monkeypatch.setattr("storage.base.now", lambda: early)
    run = begin(store, conversation)
    store.checkpoint(run.id, text="It was", reasoning="", chunks=[(1, 6)])
    monkeypatch.undo()

    assert store.stale_runs(60) == []


def test_tool_rounds_go_on_under_their_answers(store, conversation):
    run = begin(store, conversation)
    call = NewMessage("assistant", "", tool_calls=({"id": "1", "name": "roll"},))

    run = store.advance_run(AVA, run.id, call, {}, [], NewMessage("tool", "6"))
    finish(store, run, "A six!")

    roles = [row.role for row in store.window(AVA, conversation.id).messages]
    assert roles == ["assistant", "assistant", "tool", "assistant"]


def test_undo_and_redo_walk_over_the_moves(store, conversation):
    store.rename(AVA, conversation.id, "Storm")
    store.delete_message(AVA, conversation.leaf_id)

    store.undo(AVA, conversation.id)
    assert shown(store, conversation) == ["Hello."]
    store.undo(AVA, conversation.id)
    assert store.conversation(AVA, conversation.id).title == "Ava"
    assert store.undo(AVA, conversation.id) is None
    store.redo(AVA, conversation.id)
    store.redo(AVA, conversation.id)
    assert store.conversation(AVA, conversation.id).title == "Storm"
    assert shown(store, conversation) == ["Good evening."]


def test_a_new_move_ends_what_can_be_redone(store, conversation):
    store.rename(AVA, conversation.id, "Storm")
    store.undo(AVA, conversation.id)
    store.rename(AVA, conversation.id, "Calm")

    assert store.redo(AVA, conversation.id) is None


def test_a_move_that_was_given_up_is_never_made_again(store, conversation):
    store.delete_message(AVA, conversation.leaf_id)
    store.undo(AVA, conversation.id)
    store.rename(AVA, conversation.id, "Calm")
    store.undo(AVA, conversation.id)

    store.redo(AVA, conversation.id)

    assert store.conversation(AVA, conversation.id).title == "Calm"
    assert store.redo(AVA, conversation.id) is None
    assert shown(store, conversation) == ["Hello."]


def test_the_root_of_a_branch_is_found_from_any_of_its_messages(store, conversation):
    question = store.append(AVA, conversation.id, conversation.leaf_id, NewMessage("user", "So?"))

    for message_id in (conversation.leaf_id, question.id):
        assert store.root(AVA, message_id).content == "Hello."
    with pytest.raises(NotFound):
        store.root("somebody else", question.id)


def test_a_deleted_message_is_no_swipe_any_more(store, conversation):
    store.delete_message(AVA, conversation.leaf_id)

    other = store.siblings(AVA, conversation.leaf_id)

    assert [row.content for row in other] == ["Good evening."]


def test_a_deleted_swipe_leaves_the_one_before_it_with_all_that_followed(store, conversation):
    first = conversation.leaf_id
    question = store.append(AVA, conversation.id, first, NewMessage("user", "So?"))
    replies = [
        store.append(AVA, conversation.id, question.id, NewMessage("assistant", text))
        for text in ("One.", "Two.", "Three.")
    ]
    store.append(AVA, conversation.id, replies[1].id, NewMessage("user", "And?"))
    store.move_leaf(AVA, conversation.id, replies[2].id)

    store.delete_message(AVA, replies[2].id)
    assert shown(store, conversation) == ["Hello.", "So?", "Two.", "And?"]
    store.delete_message(AVA, replies[1].id)
    assert shown(store, conversation) == ["Hello.", "So?", "One."]
    store.delete_message(AVA, replies[0].id)
    assert shown(store, conversation) == ["Hello.", "So?"]

    for _ in range(3):
        store.undo(AVA, conversation.id)
    assert shown(store, conversation) == ["Hello.", "So?", "Three."]


def test_a_deleted_first_swipe_leaves_the_one_behind_it(store, conversation):
    store.delete_message(AVA, conversation.leaf_id)

    assert shown(store, conversation) == ["Good evening."]


def test_deleting_a_swipe_that_is_not_shown_moves_nobody(store, conversation):
    other = store.siblings(AVA, conversation.leaf_id)[1]

    store.delete_message(AVA, other.id)

    assert shown(store, conversation) == ["Hello."]
    assert len(store.siblings(AVA, conversation.leaf_id)) == 1


def test_nothing_is_moved_beneath_a_reply_that_is_being_written(store, conversation):
    store.rename(AVA, conversation.id, "Storm")
    run = begin(store, conversation)

    for move in (store.undo, store.redo):
        with pytest.raises(Conflict, match="still being written"):
            move(AVA, conversation.id)
    with pytest.raises(Conflict, match="still being written"):
        store.delete_message(AVA, conversation.leaf_id)
    finish(store, run)

    assert shown(store, conversation) == ["Hello.", "Yes."]
    assert store.undo(AVA, conversation.id) is not None


def test_a_deleted_conversation_can_be_restored_whole(store, conversation):
    store.delete_conversation(AVA, conversation.id)
    assert store.conversations(AVA) == []
    assert [row.id for row in store.conversations(AVA, deleted=True)] == [conversation.id]

    store.restore_conversation(AVA, conversation.id)

    assert shown(store, conversation) == ["Hello."]


def test_conversations_come_in_pages_newest_activity_first(store):
    rows = [store.create_conversation(AVA, **ROOMS | {"title": str(n)}) for n in range(5)]
    store.rename(AVA, rows[0].id, "0 again")

    first = store.conversations(AVA, limit=3)
    rest = store.conversations(AVA, limit=3, before=first[-1].id)

    assert [row.title for row in (*first, *rest)] == ["0 again", "4", "3", "2", "1"]


@pytest.mark.parametrize(
    ("query", "found"), [("ÄRGER", True), ("zwei ärger", True), ("%", False), ("_", False)]
)
def test_titles_are_searched_in_any_case_and_literally(store, query, found):
    store.create_conversation(AVA, **ROOMS | {"title": "Ärger hoch zwei"})

    assert bool(store.conversations(AVA, query=query)) is found


def test_a_window_is_a_piece_of_the_branch(store):
    conversation = long_conversation(store, 30)
    window = store.window(AVA, conversation.id, limit=10)
    assert (said(window), window.total, window.newer) == (
        [str(n) for n in range(20, 30)],
        30,
        False,
    )

    earlier = store.window(AVA, conversation.id, end=window.messages[0].parent_id, limit=10)
    assert (said(earlier), earlier.start_depth, earlier.newer) == (
        [str(n) for n in range(10, 20)], 10, True,
    )  # fmt: skip

    back = store.window_after(AVA, conversation.id, earlier.messages[-1].id, limit=10)
    assert said(back) == said(window)


def test_ancestors_are_read_lazily_and_completely(store):
    conversation = long_conversation(store, 150)
    leaf = store.conversation(AVA, conversation.id).leaf_id

    newest_first = [row.content for row in store.ancestors(AVA, leaf, page=64)]

    assert newest_first == [str(n) for n in reversed(range(150))]
    assert [row.content for row in store.path(AVA, leaf)] == [str(n) for n in range(150)]


def test_opening_takes_three_queries_however_long_the_conversation_is(store):
    conversation = long_conversation(store, 300)
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        store.window(AVA, conversation.id)
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert len(seen) <= 3


def test_switching_to_a_swipe_finds_the_newest_leaf_beneath_it(store, conversation):
    first = conversation.leaf_id
    reply = store.append(AVA, conversation.id, first, NewMessage("user", "one"))
    store.move_leaf(AVA, conversation.id, store.siblings(AVA, first)[1].id)

    assert store.descend(AVA, first) == reply.id


def test_a_reply_that_a_slow_clock_gave_a_lower_id_is_still_the_leaf(
    store, conversation, monkeypatch
):
    question = store.append(AVA, conversation.id, conversation.leaf_id, NewMessage("user", "So?"))
    monkeypatch.setattr("storage.base.new_id", lambda: "0" * len(question.id))
    reply = store.append(AVA, conversation.id, question.id, NewMessage("assistant", "Yes."))

    assert reply.id < question.id
    assert store.descend(AVA, question.id) == reply.id


def test_two_threads_that_write_at_once_lose_nothing(store, conversation):
    def write(name: str) -> None:
        for n in range(20):
            message = NewMessage("user", f"{name}{n}")
            store.append(AVA, conversation.id, conversation.leaf_id, message)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    written = {row.content for row in store.tree(AVA, conversation.id)}
    assert {f"{name}{n}" for name in "ab" for n in range(20)} <= written


def test_a_version_is_kept_once_and_a_head_can_be_removed(store):
    for text_, head in (("name: A", True), ("name: B", True), ("name: A", False)):
        digest = hashlib.sha256(text_.encode()).hexdigest()
        store.save_persona_version(AVA, "a", digest, text_, origin="editor", head=head)

    assert [row.document for row in store.persona_versions(AVA, "a")] == ["name: B", "name: A"]
    assert [row.document for row in store.persona_heads(AVA)] == ["name: B"]
    store.drop_persona_head(AVA, "a")
    assert store.persona_heads(AVA) == []
    store.restore_persona_head(AVA, "a")
    assert len(store.persona_heads(AVA)) == 1


def test_a_whole_tree_survives_export_and_import(store, conversation):
    run = begin(store, conversation, user_message=NewMessage("user", "> # `Is` it\n\n---\nlate?"))
    finish(store, run)
    finish(store, begin(store, conversation, parent_id=run.parent_id), "No.")

    copy = import_json(store, EVE, export(store, AVA, conversation.id, "json"))

    assert said(store.window(EVE, copy.id)) == shown(store, conversation)
    tree, original = store.tree(EVE, copy.id), store.tree(AVA, conversation.id)
    assert [(row.depth, row.role, row.content) for row in tree] == [
        (row.depth, row.role, row.content) for row in original
    ]
    assert not {row.id for row in tree} & {row.id for row in original}
    assert len(store.seals(EVE, copy.id)) == 2


@pytest.mark.parametrize(
    "text_",
    ["", "[]", '{"schema": "other@1"}', '{"schema": "hermes-ui/conversation@1"}', "[" * 9999],
)
def test_a_file_that_is_no_export_is_refused(store, text_):
    with pytest.raises(BadExport):
        import_json(store, AVA, text_)

    assert store.conversations(AVA) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("messages", 0, "content"), ["a list"]),
        (("messages", 0, "content"), "\ud83d"),
        (("messages", 0, "id"), ["a list"]),
        (("messages", 0, "created_at"), "yesterday"),
        (("messages", 0), "no row"),
        (("messages",), 7),
        (("conversation", "settings"), "x"),
        (("conversation", "title"), None),
        (("seals",), [{"message_id": "none", "body": {}, "chunks": []}]),
    ],
)
def test_an_export_that_somebody_has_spoilt_is_refused(store, conversation, place, value):
    document = json.loads(export(store, AVA, conversation.id, "json"))
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value

    with pytest.raises(BadExport):
        import_json(store, EVE, json.dumps(document))

    assert store.conversations(EVE) == []


def test_markdown_keeps_every_word_inside_its_frame(store, conversation):
    evil = "# Not a title\n---\n> quote\n**Ava** · now"
    store.append(AVA, conversation.id, conversation.leaf_id, NewMessage("user", evil))

    lines = export(store, AVA, conversation.id, "markdown", assistant="A*v_a").splitlines()

    assert [line for line in lines if line.startswith("# ")] == ["# Ava"]
    assert "> # Not a title" in lines
    assert set(FORMATS) == {"markdown", "json"}


def calls_of_a_stranger(store, conversation, message, run):
    """Every public method that takes an owner, with ids that belong to somebody else."""
    new = NewMessage("user", "mine now")
    values = {
        "conversation_id": conversation.id, "message_id": message.id, "leaf_id": message.id,
        "run_id": run.id, "parent_id": message.id, "digest": "0" * 64, "slug": "ava",
        "title": "t", "placeholder": "Ava", "settings": {}, "new": new, "message": new,
        "answer": new, "seal": {}, "chunks": [], "error": "", "server_id": "s", "request": {},
    }  # fmt: skip
    for name, method in inspect.getmembers(store, inspect.ismethod):
        parameters = inspect.signature(method).parameters
        needed = [
            key for key, each in parameters.items() if each.default is each.empty and key != "owner"
        ]
        if name.startswith("_") or "owner" not in parameters or not set(needed) <= values.keys():
            continue
        if any(key.endswith("_id") and key not in ("server_id",) for key in needed):
            yield name, method, {key: values[key] for key in needed}


def test_a_stranger_finds_nothing_and_changes_nothing(store, conversation):
    run = begin(store, conversation, user_message=NewMessage("user", "secret"))
    message = store.window(AVA, conversation.id).messages[-1]
    before = export(store, AVA, conversation.id, "json")
    tried = []

    for name, method, arguments in calls_of_a_stranger(store, conversation, message, run):
        tried.append(name)
        if name in ("active_run", "seals"):
            assert not method(EVE, **arguments)
            continue
        with pytest.raises(NotFound):
            list(method(EVE, **arguments))  # a list: some answer lazily

    assert len(tried) > 25
    assert store.conversations(EVE) == []
    assert export(store, AVA, conversation.id, "json") == before


def test_a_newer_database_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "hermes.db"
    Store.open(f"sqlite:///{file}").close()
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    before = file.read_bytes()

    with pytest.raises(DatabaseTooNew, match="9999"):
        Store.open(f"sqlite:///{file}")

    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://user:secret@127.0.0.1/db",
        "postgresql://user:secret@127.0.0.1:9/db",
        "sqlite:////dev/null/hermes.db",
    ],
)
def test_a_database_that_cannot_be_had_is_one_line_without_password(url):
    with pytest.raises(StorageUnavailable) as caught:
        Store.open(url)

    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    file = tmp_path / "hermes.db"
    file.write_text("my diary, not a database at all, and longer than a header")

    with pytest.raises(StorageUnavailable):
        Store.open(f"sqlite:///{file}")

    assert file.read_text().startswith("my diary")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(StorageUnavailable):
        Store.open(f"sqlite:///{tmp_path / 'hermes.db'}")
