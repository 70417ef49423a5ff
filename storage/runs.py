"""Replies in the making: one transaction each to start, go on and end."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from storage.base import (
    StoreBase,
    as_row,
    change_conversation,
    clock,
    insert_message,
    own_conversation,
    own_run,
    refuse_while_writing,
)
from storage.errors import Conflict
from storage.ids import new_id
from storage.models import Run, Seal
from storage.rows import MessageRow, NewMessage, RunRow

RUNS = Run.__table__
Chunks = Sequence[Sequence[int]]


class RunRecords(StoreBase):
    """A reply is a run until it is a message."""

    def start_run(
        self,
        owner: str,
        conversation_id: str,
        *,
        server_id: str,
        request: dict[str, Any],
        parent_id: str | None,
        user_message: NewMessage | None = None,
        prefix: str = "",
    ) -> RunRow:
        """Store the user's message, if there is one, and begin the reply to it.

        Raises:
            Conflict: a reply is already being written in this conversation.
        """
        with self._writing() as connection:
            moment = clock(connection)
            conversation = own_conversation(connection, owner, conversation_id, lock=True)
            refuse_while_writing(connection, conversation)
            leaf = conversation.leaf_id
            if user_message is not None:
                parent_id = leaf = insert_message(
                    connection, conversation, parent_id, user_message
                ).id
                change_conversation(connection, conversation, "leaf", leaf_id=leaf)
            run = RunRow(
                new_id(), owner, conversation_id, parent_id, new_id(), leaf, server_id, "running",
                prefix, "", prefix, [], False, None, request, moment, moment, None,
            )  # fmt: skip
            connection.execute(insert(Run), {name: getattr(run, name) for name in run.__slots__})
            return run

    def checkpoint(self, run_id: str, *, text: str, reasoning: str, chunks: Chunks) -> bool:
        """Write down what was said so far; also the sign that the server lives.

        Returns:
            Whether another server asked this run to stop.
        """
        values = {"text": text, "reasoning": reasoning, "chunks": _plain(chunks)}
        with self._writing() as connection:
            connection.execute(
                update(Run)
                .where(Run.id == run_id, Run.status == "running")
                .values(**values, heartbeat_at=clock(connection))
            )
            return bool(connection.scalar(select(RUNS.c.stop_requested).where(RUNS.c.id == run_id)))

    def advance_run(
        self,
        owner: str,
        run_id: str,
        message: NewMessage,
        seal: dict[str, Any],
        chunks: Chunks,
        answer: NewMessage,
    ) -> RunRow:
        """Store a message that calls tools and their answer; the run goes on under it."""
        with self._writing() as connection:
            run = _still_running(connection, owner, run_id)
            called = _store_reply(connection, run, message, seal, chunks)
            conversation = own_conversation(connection, owner, run.conversation_id, lock=True)
            answered = insert_message(connection, conversation, called.id, answer)
            if conversation.leaf_id == called.id:
                change_conversation(connection, conversation, "leaf", leaf_id=answered.id)
            connection.execute(
                update(Run)
                .where(Run.id == run_id)
                .values(
                    parent_id=answered.id,
                    message_id=new_id(),
                    leaf_at_start=answered.id,
                    text="",
                    prefix="",
                    chunks=[],
                    heartbeat_at=clock(connection),
                )
            )
            return own_run(connection, owner, run_id)

    def finish_run(
        self,
        owner: str,
        run_id: str,
        message: NewMessage,
        seal: dict[str, Any],
        chunks: Chunks,
        *,
        error: str = "",
    ) -> MessageRow:
        """Store the reply and its seal, show it if nobody has moved on, and end the run.

        Args:
            error: Why the reply broke off, which whoever follows later is told too.

        Raises:
            Conflict: the run is over already.
        """
        with self._writing() as connection:
            run = _still_running(connection, owner, run_id)
            row = _store_reply(connection, run, message, seal, chunks)
            status = "failed" if error else "done"
            _end(connection, run_id, status, text=message.content, error=error or None)
            return row

    def fail_run(self, owner: str, run_id: str, error: str) -> None:
        """End a run that brought no message; an empty error means that it was stopped."""
        with self._writing() as connection:
            run = own_run(connection, owner, run_id, lock=True)
            if run.status == "running":
                _end(connection, run_id, "failed" if error else "done", error=error or None)

    def run(self, owner: str, run_id: str) -> RunRow:
        """One run."""
        with self._reading() as connection:
            return own_run(connection, owner, run_id)

    def active_run(self, owner: str, conversation_id: str) -> RunRow | None:
        """The run that is writing in a conversation."""
        query = select(RUNS).where(
            RUNS.c.conversation_id == conversation_id,
            RUNS.c.owner == owner,
            RUNS.c.status == "running",
        )
        with self._reading() as connection:
            found = connection.execute(query).mappings().first()
            return as_row(RunRow, found) if found else None

    def request_stop(self, owner: str, run_id: str) -> None:
        """Ask the server that writes this reply to stop."""
        with self._writing() as connection:
            own_run(connection, owner, run_id)
            connection.execute(update(Run).where(Run.id == run_id).values(stop_requested=True))

    def stale_runs(self, lease_s: float) -> list[RunRow]:
        """Running replies of all owners that nobody has written to for so long."""
        with self._reading() as connection:
            query = select(RUNS).where(
                RUNS.c.status == "running", RUNS.c.heartbeat_at < _since(connection, lease_s)
            )
            return [as_row(RunRow, row) for row in connection.execute(query).mappings()]

    def interrupt_run(self, run_id: str, lease_s: float) -> MessageRow | None:
        """Turn what a dead server wrote down into a message marked interrupted.

        Returns:
            The message; None when nothing was said beyond the prefix, when another server was
            faster, or when the run has been written to within `lease_s` after all.
        """
        with self._writing() as connection:
            found = (
                connection.execute(select(RUNS).where(RUNS.c.id == run_id).with_for_update())
                .mappings()
                .first()
            )
            if found is None or found["status"] != "running":
                return None
            run = as_row(RunRow, found)
            if run.heartbeat_at >= _since(connection, lease_s):
                return None
            _end(connection, run_id, "interrupted")
            if run.text == run.prefix:
                return None
            message = NewMessage(
                "assistant",
                run.text,
                finish_reason="interrupted",
                prefix_chars=len(run.prefix),
            )
            return _store_reply(connection, run, message, {"request": run.request}, run.chunks)


def _since(connection: Connection, lease_s: float) -> datetime:
    return clock(connection) - timedelta(seconds=lease_s)


def _still_running(connection: Connection, owner: str, run_id: str) -> RunRow:
    run = own_run(connection, owner, run_id, lock=True)
    if run.status != "running":
        raise Conflict(f"this reply is over already: {run.status}")
    return run


def _store_reply(
    connection: Connection, run: RunRow, message: NewMessage, seal: dict[str, Any], chunks: Chunks
) -> MessageRow:
    conversation = own_conversation(connection, run.owner, run.conversation_id, lock=True)
    row = insert_message(connection, conversation, run.parent_id, message, run.message_id)
    connection.execute(
        insert(Seal),
        {"message_id": row.id, "owner": run.owner, "body": seal, "chunks": _plain(chunks)},
    )
    if conversation.leaf_id == run.leaf_at_start:
        change_conversation(connection, conversation, "leaf", leaf_id=row.id)
    return row


def _end(connection: Connection, run_id: str, status: str, **values: Any) -> None:
    moment = clock(connection)
    connection.execute(
        update(Run)
        .where(Run.id == run_id)
        .values(status=status, heartbeat_at=moment, finished_at=moment, **values)
    )


def _plain(chunks: Chunks) -> list[list[int]]:
    return [list(chunk) for chunk in chunks]
