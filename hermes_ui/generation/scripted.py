"""`ScriptedEngine`: says what it was told to say. For tests, and for work without a model."""

import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence

from hermes_ui.errors import ContextOverflow, EngineError
from hermes_ui.generation.engine import EngineIdentity, EventStream, Finish
from hermes_ui.generation.slots import WaitingLine
from hermes_ui.generation.text import ReplyReader
from hermes_ui.params import SamplingParams
from hermes_ui.prompt.build import Prompt
from hermes_ui.prompt.chatml import IM_START, Control, Pieces

Script = str | Sequence[str] | Callable[[Prompt], str]

SPEAKING_S = 1 / 30  # seconds a token, about as fast as people read twice over

_WORD = re.compile(r"\s*\S+|\s+")


def introduction(prompt: Prompt) -> str:
    """What the engine says where no script was given."""
    turns = sum(piece == IM_START for piece in prompt.pieces) - 1  # the last one is the reply's
    count = "one turn" if turns == 1 else f"{turns} turns"
    return (
        f"I am the scripted engine, and there is no model behind me. I was given {count} to read, "
        "and this is all that I ever answer. Choose another engine in the settings to hear the "
        "persona speak."
    )


class ScriptedEngine:
    """Keeps the engine's promise without a model; a word with the blanks before it is a token.

    `script` is one reply, replies that take turns, or a function from prompt to reply. A
    token takes `delay_s` seconds.
    """

    def __init__(
        self,
        script: Script = introduction,
        *,
        delay_s: float = 0.0,
        context_length: int = 8192,
        max_active: int = 8,
        max_waiting: int = 32,
    ) -> None:
        self.identity = EngineIdentity("scripted", "", "", "", "", "", "")
        self.context_length = context_length
        self._script = (script,) if isinstance(script, str) else script
        self._delay_s = delay_s
        self._line = WaitingLine(max_active, max_waiting)
        self._turn = 0
        self._turn_lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def active(self) -> int:
        """Requests being generated or waiting right now."""
        return len(self._line)

    @property
    def failure(self) -> str:
        """Nothing ends it."""
        return ""

    @property
    def cache(self) -> None:
        """Nothing is remembered from prompt to prompt."""
        return None

    def count_tokens(self, pieces: Pieces) -> int:
        """Words and control tokens."""
        return len(self.token_ids(pieces))

    def token_ids(self, pieces: Pieces) -> list[int]:
        """A number for every word: the same for the same word, of no other meaning."""
        return [zlib.crc32(word.encode()) for piece in pieces for word in _words(piece)]

    def stream(self, prompt: Prompt, params: SamplingParams) -> EventStream:
        """See `Engine.stream`."""
        self._check_open()
        prompt_tokens = self.count_tokens(prompt.pieces)
        room = self.context_length - prompt_tokens
        if room < 1:
            raise ContextOverflow(prompt_tokens, self.context_length - 1)
        with self._line.place() as place:
            for notice in self._line.notices(place):
                yield notice
                self._check_open()
            reader = ReplyReader(prompt, params)
            spoken, complete = 0, False
            for word in self._spoken(prompt):
                if word is None or reader.is_stopped:
                    complete = True
                    break
                if spoken == min(params.max_tokens, room):
                    break
                spoken += 1
                yield from reader.feed(word)
            yield from reader.flush(complete=complete)
            reason = reader.reason(complete=complete)
        yield Finish(reason, prompt_tokens, spoken)

    def close(self) -> None:
        """Streams still open end with `EngineError`."""
        self._closed.set()

    def _spoken(self, prompt: Prompt) -> Iterator[str | None]:
        """The words of the reply at the pace of speech, and None at its end."""
        if callable(self._script):
            reply = self._script(prompt)
        else:
            with self._turn_lock:
                reply = self._script[self._turn % len(self._script)] if self._script else ""
                self._turn += 1
        for word in _words(reply):
            self._closed.wait(self._delay_s)
            self._check_open()
            yield word
        yield None

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise EngineError("the model was closed")


def _words(text: str) -> list[str]:
    return [text] if isinstance(text, Control) else _WORD.findall(text)
