"""What becomes of the model's raw text: stop strings end it, tags split it into channels.

Machines with two verbs, `feed` and `flush`. They are pure, the same for every chunking of
the same text, linear in its length, and hold back only what may still turn out to be a
stop string or a tag.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from uuid import uuid4

from hermes_ui.generation.calls import CLOSE_CALL, OPEN_CALL, CallScanner, parse_calls
from hermes_ui.generation.engine import ReasoningDelta, TextDelta, ToolCall
from hermes_ui.messages import FinishReason
from hermes_ui.params import SamplingParams
from hermes_ui.prompt.build import Prompt

TextEvent = TextDelta | ReasoningDelta | ToolCall

REASONING = {"<scratch_pad>": "</scratch_pad>", "<think>": "</think>"}
TAGS = frozenset({OPEN_CALL, CLOSE_CALL, *REASONING, *REASONING.values()})

MAX_BLANKS = 64  # blanks before a tag that are held back
MAX_BAD_BLOCKS = 32  # after that many, tags are text: what a reply can cost stays bounded


class StopMatcher:
    """Text up to the first stop string; `matched` says which one it was.

    The first is the one whose last character comes first; of two that end together the
    longer counts.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(dict.fromkeys(stops))
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """The part of the text so far that is sure to be in the reply and was not given yet."""
        if self.matched is not None:
            return ""
        text = self._held + text
        found = [
            (start + len(stop), start, stop)
            for stop in self._stops
            if (start := text.find(stop)) >= 0
        ]
        if found:
            _, start, self.matched = min(found)
            self._held = ""
            return text[:start]
        given = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[given:]
        return text[:given]

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` that `text` ends with."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _blanks_at_end(text: str) -> int:
    """How many blanks `text` ends with, of those that are held back."""
    tail = text[-MAX_BLANKS:]
    return len(tail) - len(tail.rstrip())


@lru_cache
def _pattern(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, tags)))


def _new_call_id() -> str:
    return f"call_{uuid4().hex[:24]}"


class ChannelSplitter:
    """Splits a reply into text, reasoning and tool calls.

    A block that cannot be read as calls stays in the text as it was written. Blanks next to
    a tag go; where text goes on after a block, a line break stands in their place. A last
    block without its closing tag counts when its JSON is whole and the reply ended by itself.
    """

    def __init__(self, *, new_id: Callable[[], str] = _new_call_id) -> None:
        self._new_id = new_id
        self._buffer = ""  # not given yet; in a block, from its opening tag on
        self._block: CallScanner | None = None
        self._closing = ""  # the tag that ends the reasoning, empty outside of it
        self._after_tag = False
        self._blanks_went = False
        self._has_text = False
        self._bad_blocks = 0
        self._events: list[TextEvent] = []

    def feed(self, text: str) -> list[TextEvent]:
        """The events that are certain after `text`."""
        self._buffer += text
        self._advance()
        return self._taken()

    def flush(self, *, complete: bool = True) -> list[TextEvent]:
        """The rest. `complete` says that the model ended by itself, not at a limit."""
        while self._block is not None:
            if not (complete and self._block.is_whole and self._accept(len(self._buffer))):
                self._reject(len(self._buffer))
            self._advance()
        if not self._after_tag:
            self._say(self._buffer)
        elif rest := self._buffer.lstrip():
            self._say(rest)
        self._buffer = ""
        return self._taken()

    def _taken(self) -> list[TextEvent]:
        events, self._events = self._events, []
        return events

    def _advance(self) -> None:
        """Give out what is certain; stops where more text is needed."""
        while self._step_in_block() if self._block else self._step_in_text():
            pass

    def _step_in_text(self) -> bool:
        """Go on to the next tag. False: the buffer has none."""
        if self._after_tag:
            rest = self._buffer.lstrip()
            self._blanks_went |= len(rest) < len(self._buffer)
            self._buffer = rest
        tags = self._expected()
        found = _pattern(tags).search(self._buffer) if tags else None
        if found is None:
            self._say_all_but(max((_overlap(self._buffer, tag) for tag in tags), default=0))
            return False
        before = self._buffer[: found.start()]
        blanks = _blanks_at_end(before)
        self._say(before[: len(before) - blanks])
        self._enter(found.group(), blanks, found.start())
        return True

    def _expected(self) -> tuple[str, ...]:
        if self._closing:
            return (self._closing,)
        return (OPEN_CALL, *REASONING) if self._bad_blocks < MAX_BAD_BLOCKS else ()

    def _enter(self, tag: str, blanks: int, start: int) -> None:
        """Pass the opening or closing tag at `start`, with `blanks` before it."""
        if tag == OPEN_CALL:
            self._buffer = self._buffer[start - blanks :]
            self._block = CallScanner(blanks + len(tag))
            return
        self._buffer = self._buffer[start + len(tag) :]
        self._blanks_went |= blanks > 0
        self._closing = REASONING.get(tag, "")
        self._after_tag = True

    def _say_all_but(self, held: int) -> None:
        """Give out the buffer but for its last `held` characters and the blanks before them."""
        certain = self._buffer[: len(self._buffer) - held]
        if self._expected():
            certain = certain[: len(certain) - _blanks_at_end(certain)]
        self._say(certain)
        self._buffer = self._buffer[len(certain) :]

    def _step_in_block(self) -> bool:
        """Read on in a tool call. False: more text is needed."""
        assert self._block is not None
        end = self._block.scan(self._buffer)
        if end is None:
            return False
        if not (self._block.is_closed and self._accept(end)):
            self._reject(end)
        return True

    def _accept(self, end: int) -> bool:
        """Take the block that ends at `end` as calls, where it can be read as such."""
        assert self._block is not None
        calls = parse_calls(self._buffer[self._block.start : self._block.content_end])
        if calls is None:
            return False
        self._events += [ToolCall(self._new_id(), name, arguments) for name, arguments in calls]
        self._blanks_went |= self._buffer[0].isspace()
        self._buffer = self._buffer[end:]
        self._block = None
        self._after_tag = True
        return True

    def _reject(self, end: int) -> None:
        """Leave the block in the text, up to its first closing tag or else to `end`."""
        first_close = self._buffer.find(CLOSE_CALL, 0, end)
        if first_close >= 0:
            end = first_close + len(CLOSE_CALL)
        self._say(self._buffer[:end])
        self._buffer = self._buffer[end:]
        self._block = None
        self._bad_blocks += 1

    def _say(self, text: str) -> None:
        """Give out text of the current channel, joined to what it just gave."""
        if not text:
            return
        kind: type[TextDelta | ReasoningDelta] = TextDelta
        if self._closing:
            kind = ReasoningDelta
        elif self._blanks_went and self._has_text:
            text = f"\n{text}"
        self._after_tag = False
        if kind is TextDelta:
            self._has_text, self._blanks_went = True, False
        last = self._events[-1] if self._events else None
        if isinstance(last, kind):
            self._events[-1] = kind(last.text + text)
        else:
            self._events.append(kind(text))


class ReplyReader:
    """The raw text of one reply to events: stop strings first, then channels.

    Tags are read only where the prompt offered tools.
    """

    def __init__(self, prompt: Prompt, params: SamplingParams) -> None:
        self._stop = StopMatcher((*prompt.stop, *params.stop))
        self._splitter = ChannelSplitter() if prompt.tool_names else None
        self._calls = 0

    @property
    def is_stopped(self) -> bool:
        """A stop string was reached: what follows is not part of the reply."""
        return self._stop.matched is not None

    def feed(self, text: str) -> list[TextEvent]:
        """The events that are certain after `text`."""
        return self._split(self._stop.feed(text))

    def flush(self, *, complete: bool) -> list[TextEvent]:
        """The rest. `complete` says that the reply ended by itself, not at a limit."""
        events = self._split(self._stop.flush())
        if self._splitter is not None:
            events += self._counted(self._splitter.flush(complete=complete))
        return events

    def reason(self, *, complete: bool) -> FinishReason:
        """Why the reply ended, after `flush`."""
        if not complete:
            return "length"
        return "tool_calls" if self._calls else "stop"

    def _split(self, text: str) -> list[TextEvent]:
        if self._splitter is None:
            return [TextDelta(text)] if text else []
        return self._counted(self._splitter.feed(text))

    def _counted(self, events: list[TextEvent]) -> list[TextEvent]:
        self._calls += sum(isinstance(event, ToolCall) for event in events)
        return events
