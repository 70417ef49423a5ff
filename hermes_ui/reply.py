"""One reply, from the prompt to the sealed message.

Ask the engine, run the tools that it calls, ask again, and store what was said together
with everything that it takes to explain it and to say it again.
"""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from hermes_ui.errors import EngineNotReady
from hermes_ui.generation.engine import (
    Engine,
    Finish,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCall,
    Waiting,
)
from hermes_ui.generation.host import ModelHost
from hermes_ui.messages import FinishReason, Message, ToolResult
from hermes_ui.params import SamplingParams
from hermes_ui.personas.persona import Persona
from hermes_ui.prompt.build import HistoryItem, Prompt, build
from hermes_ui.toolbox import Tool, Toolbox
from storage.errors import Conflict, NotFound, StorageUnavailable
from storage.rows import MessageRow, NewMessage, RunRow
from storage.store import Store

MAX_TOOL_ROUNDS = 5
ENGINE_WAIT_S = 0.25
STORE_AGAIN_S = 1.0

RunState = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a reply is made from beside the history; fixed when the run starts.

    `params.seed` is always set. `macro_seed` belongs to the conversation, so that drawn
    macros stay the same from turn to turn and the prompt keeps its prefix.
    """

    persona: Persona
    persona_digest: str
    user: str
    params: SamplingParams
    macro_seed: int
    greeting_index: int | None = None  # for lore that belongs to one greeting


@dataclass(frozen=True, slots=True)
class Progress:
    """A reply as it stands. `text` is all of it so far; `ahead` is the place in the line."""

    run_id: str
    message_id: str
    state: RunState
    text: str
    reasoning: str = ""
    ahead: int = 0
    note: str = ""
    error: str = ""
    tool_activity: tuple[str, ...] = ()


class LiveReply:
    """One reply being written: its thread writes, its followers read."""

    def __init__(self, run: RunRow) -> None:
        self.run_id = run.id
        self.owner = run.owner
        self.parent_id = run.parent_id
        self.message_id = run.message_id
        self.prefix = run.prefix
        self.said = ""
        self.stop = threading.Event()
        self.server_ends = False
        self.began = time.monotonic()
        self.model_id: str | None = None
        self.seal: dict[str, Any] = {}  # as far as it is known before the end
        self.chunk_list: list[tuple[int, int]] = []  # (ms since `began`, characters)
        self._now = Progress(run.id, run.message_id, "waiting", run.prefix)
        self._version = 0
        self._changed = threading.Condition()

    @property
    def progress(self) -> Progress:
        """The reply as it stands now."""
        return self._now

    def update(self, **changes: Any) -> None:
        """Change fields of `progress` and wake the followers."""
        with self._changed:
            self._now = replace(self._now, **changes)
            self._version += 1
            self._changed.notify_all()

    def say(self, text: str) -> None:
        """Add `text` to the reply, with the time at which it came."""
        self.said += text
        self.chunk_list.append((round((time.monotonic() - self.began) * 1000), len(text)))
        self.update(state="running", text=self._now.text + text, ahead=0, note="")

    def next_round(self, run: RunRow, activity: list[str]) -> None:
        """Go on after tools have answered: `run` names the next message and its parent."""
        self.parent_id, self.message_id = run.parent_id, run.message_id
        self.prefix, self.said, self.chunk_list = "", "", []
        self.began = time.monotonic()
        text = self._now.text
        self.update(
            message_id=run.message_id,
            text=f"{text}\n\n" if text else "",
            tool_activity=(*self._now.tool_activity, *activity),
        )

    def next_after(self, seen: int, timeout_s: float) -> tuple[int, Progress]:
        """The version and value of `progress`, as soon as it is past `seen`."""
        with self._changed:
            self._changed.wait_for(lambda: self._version > seen, timeout_s)
            return self._version, self._now


@dataclass(slots=True)
class _Said:
    """What one call of the engine brought."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    reason: FinishReason = "interrupted"
    finish: Finish | None = None  # None: cut short from outside


def as_message(row: MessageRow) -> Message:
    """The value that prompts are built from."""
    return Message(
        row.role,  # type: ignore[arg-type]  # the schema allows the four roles only
        row.content,
        tuple(ToolCall(**call) for call in row.tool_calls),
        tuple(ToolResult(**result) for result in row.tool_results),
    )


def prompt_budget(engine: Engine, params: SamplingParams) -> int:
    """Tokens that a prompt may have: the window less the longest reply, but half of it at least."""
    return engine.context_length - min(params.max_tokens, engine.context_length // 2)


def compose(
    store: Store,
    owner: str,
    leaf_id: str | None,
    recipe: Recipe,
    engine: Engine,
    tools: Sequence[Tool],
    prefix: str = "",
) -> Prompt:
    """The prompt for the next message after `leaf_id`; reads only as much history as fits."""
    rows = store.ancestors(owner, leaf_id) if leaf_id else iter(())
    return build(
        recipe.persona,
        (HistoryItem(row.depth, as_message(row)) for row in rows),
        user=recipe.user,
        budget=prompt_budget(engine, recipe.params),
        count=engine.count_tokens,
        seed=recipe.macro_seed,
        now=datetime.now().astimezone(),
        tools=tools,
        greeting_index=recipe.greeting_index,
        prefill=prefix or None,
    )


class ReplyWriter:
    """Writes replies with the host's engine into the store."""

    def __init__(self, store: Store, host: ModelHost, toolbox: Toolbox) -> None:
        self._store = store
        self._host = host
        self._toolbox = toolbox

    def write(self, live: LiveReply, recipe: Recipe) -> None:
        """Write the reply to its end, tool rounds included; ends with `live` done.

        Raises:
            HermesError, StorageError: `live.progress` still has what was said.
        """
        engine = self._engine(live)
        if engine is None:
            self._abandon(live)
            return
        tools = self._toolbox.chosen(recipe.persona.tools)
        for rounds_left in reversed(range(MAX_TOOL_ROUNDS + 1)):
            offered = tools if rounds_left else ()
            prompt = compose(
                self._store, live.owner, live.parent_id, recipe, engine, offered, live.prefix
            )
            live.model_id = engine.identity.model_id
            live.seal = _seal(recipe, engine, prompt)
            said = self._listen(live, engine, prompt, recipe.params)
            seal = _completed(live, said)
            if not said.calls or said.finish is None:
                self._finish(live, engine, said, seal)
                return
            self._answer_calls(live, recipe, engine, said, seal)

    def rescue(self, live: LiveReply, error: str) -> None:
        """Keep what was said before `error` as an interrupted message, and tell followers."""
        message = NewMessage(
            "assistant",
            live.prefix + live.said,
            finish_reason="interrupted",
            model_id=live.model_id,
            prefix_chars=len(live.prefix),
        )
        seal = live.seal | {"error": error}
        try:
            if live.said:
                self._keep(live, lambda: self._store.finish_run(
                    live.owner, live.run_id, message, seal, live.chunk_list, error=error
                ))  # fmt: skip
            else:
                self._keep(live, lambda: self._store.fail_run(live.owner, live.run_id, error))
        except Conflict:
            self._keep_beside(live, message)
        finally:
            live.update(state="failed", error=error)

    def _keep(self, live: LiveReply, write: Callable[[], object]) -> None:
        """Do `write`, again and again while the database is away: the words are only here."""
        while True:
            try:
                write()
                return
            except StorageUnavailable as error:
                if live.server_ends:
                    raise
                live.update(note=str(error))
                time.sleep(STORE_AGAIN_S)

    def _keep_beside(self, live: LiveReply, message: NewMessage) -> None:
        """Another server took this run for dead; what it could not see becomes a swipe."""
        try:
            stored = self._store.message(live.owner, live.message_id).content
        except NotFound:
            stored = ""
        if live.said and stored != message.content:
            run = self._store.run(live.owner, live.run_id)
            self._store.append(
                live.owner, run.conversation_id, live.parent_id, message, move_leaf=False
            )

    def _engine(self, live: LiveReply) -> Engine | None:
        """The engine, once it is ready; None when the reply was stopped before."""
        while not live.stop.is_set():
            try:
                return self._host.engine(timeout_s=ENGINE_WAIT_S)
            except EngineNotReady as not_ready:
                live.update(state="waiting", note=str(not_ready))
        return None

    def _listen(
        self, live: LiveReply, engine: Engine, prompt: Prompt, params: SamplingParams
    ) -> _Said:
        said = _Said()
        with closing(engine.stream(prompt, params)) as events:
            for event in events:
                _hear(event, said, live)
                if live.stop.is_set() and said.finish is None:
                    said.reason = "interrupted" if live.server_ends else "cancelled"
                    break
        return said

    def _answer_calls(
        self, live: LiveReply, recipe: Recipe, engine: Engine, said: _Said, seal: dict[str, Any]
    ) -> None:
        """Run the tools and make their answers the parent of the next round."""
        rng = random.Random(f"{recipe.params.seed}/{live.message_id}")
        now = datetime.now().astimezone()
        results = [self._toolbox.run(call, rng=rng, now=now) for call in said.calls]
        row = self._store.advance_run(
            live.owner,
            live.run_id,
            _message(live, engine, said),
            seal,
            live.chunk_list,
            NewMessage("tool", "", tool_results=tuple(asdict(result) for result in results)),
        )
        live.next_round(
            row,
            [
                f"{call.name}({call.arguments}) → {result.content}"
                for call, result in zip(said.calls, results, strict=True)
            ],
        )

    def _finish(self, live: LiveReply, engine: Engine, said: _Said, seal: dict[str, Any]) -> None:
        if not said.text and (said.finish is None or live.prefix):
            self._abandon(live)
            return
        message = _message(live, engine, said)
        self._keep(live, lambda: self._store.finish_run(
            live.owner, live.run_id, message, seal, live.chunk_list
        ))  # fmt: skip
        live.update(state="done")

    def _abandon(self, live: LiveReply) -> None:
        """Not a word was said, or none more: there is nothing to keep."""
        self._keep(live, lambda: self._store.fail_run(live.owner, live.run_id, ""))
        live.update(state="done")


def _hear(event: StreamEvent, said: _Said, live: LiveReply) -> None:
    match event:
        case Waiting(ahead):
            live.update(ahead=ahead)
        case TextDelta(text):
            said.text += text
            live.say(text)
        case ReasoningDelta(text):
            said.reasoning += text
            live.update(state="running", reasoning=said.reasoning)
        case ToolCall():
            said.calls.append(event)
        case Finish():
            said.finish = event
            said.reason = event.reason


def _message(live: LiveReply, engine: Engine, said: _Said) -> NewMessage:
    finish = said.finish
    return NewMessage(
        "assistant",
        live.prefix + said.text,
        tool_calls=tuple(asdict(call) for call in said.calls),
        finish_reason=said.reason,
        model_id=engine.identity.model_id,
        prompt_tokens=finish.prompt_tokens if finish else None,
        completion_tokens=finish.completion_tokens if finish else None,
        cached_tokens=finish.cached_tokens if finish else None,
        prefix_chars=len(live.prefix),
    )


def _seal(recipe: Recipe, engine: Engine, prompt: Prompt) -> dict[str, Any]:
    """What explains a message and lets it be generated again, as far as its prompt tells it."""
    ids = engine.token_ids(prompt.pieces)
    return {
        "persona": recipe.persona_digest,
        "user": recipe.user,
        "engine": asdict(engine.identity),
        "params": recipe.params.model_dump(mode="json"),
        "macro_seed": recipe.macro_seed,
        "prompt": {
            "sha256": hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest(),
            "tokens": prompt.tokens,
            "cached": None,
            "new": None,
            "kept": prompt.kept,
            "dropped": prompt.dropped,
            "stop": list(prompt.stop),
            "tools": list(prompt.tool_names),
        },
        "draws": [asdict(draw) for draw in prompt.draws],
        "lore": [asdict(decision) for decision in prompt.lore],
    }


def _completed(live: LiveReply, said: _Said) -> dict[str, Any]:
    """The seal of what was said."""
    seal, finish = live.seal, said.finish
    if finish is not None:
        read = {"cached": finish.cached_tokens, "new": finish.prompt_tokens - finish.cached_tokens}
        seal = seal | {"prompt": seal["prompt"] | read}
    return seal | {
        "reasoning": said.reasoning,
        "finish_reason": said.reason,
        "seconds": round(time.monotonic() - live.began, 3),
    }
