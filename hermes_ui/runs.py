"""Replies in the making, owned by the server: start, follow, stop, recover.

A run writes what was said to the database while it goes on, so a closed tab loses
nothing and a killed server loses at most the last `HEARTBEAT_S` seconds. Tabs follow a
run and may leave; only `stop` stops it.
"""

import logging
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

from hermes_ui.errors import HermesError
from hermes_ui.generation.host import ModelHost
from hermes_ui.reply import LiveReply, Progress, Recipe, ReplyWriter, RunState
from hermes_ui.toolbox import TOOLBOX, Toolbox
from storage.errors import StorageError
from storage.rows import NewMessage, RunRow
from storage.store import Store

HEARTBEAT_S = 0.5
LEASE_S = 5.0  # a running reply that nobody wrote to for so long has lost its server
UPDATES_PER_SECOND = 15

_log = logging.getLogger(__name__)


class Runs:
    """All replies that this server is writing."""

    def __init__(self, store: Store, host: ModelHost, toolbox: Toolbox = TOOLBOX) -> None:
        self._store = store
        self._writer = ReplyWriter(store, host, toolbox)
        self._server_id = uuid4().hex
        self._live: dict[str, LiveReply] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._closing = threading.Event()
        self._pulse: threading.Thread | None = None

    def open(self) -> None:
        """Take over what a dead server left behind, and keep doing so until `close`."""
        self.recover()
        self._pulse = threading.Thread(target=self._beat, name="runs-pulse", daemon=True)
        self._pulse.start()

    def close(self) -> None:
        """End every running reply; what was said is kept, marked interrupted."""
        self._closing.set()
        for live in list(self._live.values()):
            live.server_ends = True
            live.stop.set()
        for thread in list(self._threads.values()):
            thread.join(timeout=10)
        if self._pulse:
            self._pulse.join()

    def start(
        self,
        owner: str,
        conversation_id: str,
        recipe: Recipe,
        *,
        parent_id: str | None,
        user_message: NewMessage | None = None,
        prefix: str = "",
    ) -> RunRow:
        """Begin a reply under `parent_id`, or under `user_message`, which is stored first.

        Raises:
            Conflict: a reply is already being written in this conversation.
        """
        row = self._store.start_run(
            owner,
            conversation_id,
            server_id=self._server_id,
            request={"persona": recipe.persona_digest, "params": recipe.params.model_dump()},
            parent_id=parent_id,
            user_message=user_message,
            prefix=prefix,
        )
        live = LiveReply(row)
        self._live[row.id] = live
        thread = threading.Thread(
            target=self._work, args=(live, recipe), name=f"run-{row.id[-8:]}", daemon=True
        )
        self._threads[row.id] = thread
        thread.start()
        return row

    def follow(self, owner: str, run_id: str) -> Iterator[Progress]:
        """The reply as it grows, at most `UPDATES_PER_SECOND` times a second.

        The last value has the state `done` or `failed`. Leaving early does no harm.
        """
        live = self._live.get(run_id)
        if live is None or live.owner != owner:
            yield from self._follow_stored(owner, run_id)
            return
        seen, state = -1, "waiting"
        while state in ("waiting", "running"):
            version, progress = live.next_after(seen, timeout_s=1.0)
            state = progress.state
            if version > seen:
                seen = version
                yield progress
                time.sleep(1 / UPDATES_PER_SECOND)

    def stop(self, owner: str, run_id: str) -> None:
        """End the reply; what was said so far becomes the message."""
        live = self._live.get(run_id)
        if live is not None and live.owner == owner:
            live.stop.set()
        else:
            self._store.request_stop(owner, run_id)

    def recover(self) -> None:
        """Turn replies whose server has died into messages marked interrupted."""
        for run in self._store.stale_runs(LEASE_S):
            if run.id not in self._live:
                self._store.interrupt_run(run.id, LEASE_S)

    def _follow_stored(self, owner: str, run_id: str) -> Iterator[Progress]:
        """Follow a reply that another server writes, or that is over."""
        states: dict[str, RunState] = {"running": "running", "failed": "failed"}
        while True:
            run = self._store.run(owner, run_id)
            yield Progress(
                run.id,
                run.message_id,
                states.get(run.status, "done"),
                run.text or run.prefix,
                run.reasoning,
                error=run.error or "",
            )
            if run.status != "running":
                return
            time.sleep(HEARTBEAT_S)

    def _beat(self) -> None:
        """Checkpoint every live run, pass on stops from other servers, take over dead runs."""
        recover_at = time.monotonic() + LEASE_S
        while not self._closing.wait(HEARTBEAT_S):
            try:
                for live in list(self._live.values()):
                    self._checkpoint(live)
                if time.monotonic() >= recover_at:
                    self.recover()
                    recover_at = time.monotonic() + LEASE_S
            except StorageError as error:  # a database that is away comes back
                _log.warning("replies cannot be written down at the moment: %s", error)

    def _checkpoint(self, live: LiveReply) -> None:
        stopped = self._store.checkpoint(
            live.run_id,
            text=live.prefix + live.said,
            reasoning=live.progress.reasoning,
            chunks=live.chunk_list,
        )
        if stopped:
            live.stop.set()

    def _work(self, live: LiveReply, recipe: Recipe) -> None:
        try:
            self._writer.write(live, recipe)
        except (HermesError, StorageError) as error:
            self._writer.rescue(live, str(error))
        except BaseException:
            self._writer.rescue(live, "the reply failed because of a defect; the log says more")
            raise
        finally:
            del self._live[live.run_id]
            del self._threads[live.run_id]
