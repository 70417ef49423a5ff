"""Which lore entries speak up, and why, after Character Card V3.

An entry speaks when one of its keys stands in the last `scan_depth` messages (and, if it is
selective, one of its secondary keys), or when it is constant. A key is looked for as whole
words, in either case unless the entry says otherwise; `/key/flags` is a pattern.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from hermes_ui.messages import Message, Role
from hermes_ui.personas.persona import Lorebook, LoreEntry
from hermes_ui.prompt.decorators import Decorators, undecorated
from hermes_ui.prompt.macros import MacroContext, expand
from hermes_ui.prompt.patterns import BadPattern, Effort, Pattern

SCAN_DEPTH = 4  # messages that are scanned where the book does not say
MAX_SCAN_DEPTH = 1_000
MAX_SCANNED = 50_000  # characters, the newest
MAX_PATTERN_TEXT = 10_000  # likewise, for patterns, of messages and of entries
MAX_OCCURRENCES = 200  # of a key inside longer words, before it counts as not there
MAX_ROUNDS = 8  # of entries that wake entries
SHARE = 0.25  # of the prompt's budget, where the book does not say

Slot = Literal["before_char", "before_desc", "after_desc", "personality", "scenario", "after_char"]


@dataclass(frozen=True, slots=True)
class LoreDecision:
    """Whether an entry is in the prompt, why, and the tokens that its text takes."""

    entry: str
    included: bool
    why: str
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class LoreText:
    """An entry that speaks. With a `depth` it stands among the messages, else in its `slot`."""

    number: int  # place in the book
    text: str
    tokens: int
    order: int
    priority: int
    slot: Slot
    depth: int | None
    role: Role
    gives_way: bool  # first to go when the window is full


@dataclass(frozen=True, slots=True)
class Scene:
    """What lore can look at. `messages` newest first; `greeting` None: not known."""

    messages: Sequence[Message]
    replies: int
    greeting: int | None = None


@dataclass(frozen=True, slots=True)
class Consulted:
    """What a lorebook has to say: `texts` best first, `decisions` in the order of the book."""

    texts: tuple[LoreText, ...] = ()
    decisions: tuple[LoreDecision, ...] = ()
    budget: int | None = None  # tokens, from the book

    def keeping(self, count: int) -> tuple[tuple[LoreText, ...], tuple[LoreDecision, ...]]:
        """The first `count` texts, and the decisions with the others refused."""
        decisions = list(self.decisions)
        for text in self.texts[count:]:
            why = "dropped to fit the budget of tokens"
            decisions[text.number] = replace(decisions[text.number], included=False, why=why)
        return self.texts[:count], tuple(decisions)


def scanned_messages(book: Lorebook) -> int:
    """How many messages `consult` wants to see."""
    depths = [_depth(book.scan_depth)]
    for entry in book.entries:
        if "@@" in entry.content:
            depths.append(_depth(undecorated(entry.content)[0].scan_depth))
    return max(depths)


def consult(
    book: Lorebook, scene: Scene, context: MacroContext, count: Callable[[str], int]
) -> Consulted:
    """Decide about every entry of `book`. `count` gives the tokens of a text."""
    candidates = [_Candidate(number, entry) for number, entry in enumerate(book.entries)]
    scan = _Scan(scene, _depth(book.scan_depth), context)
    waiting = candidates
    for _ in range(MAX_ROUNDS):
        for candidate in waiting:
            candidate.why, candidate.speaks = scan.verdict(candidate)
        woken = [candidate for candidate in waiting if candidate.speaks]
        waiting = [candidate for candidate in waiting if candidate.may_wake]
        if not (woken and waiting and book.recursive_scanning):
            break
        scan.add(woken)
    texts = []
    decisions = []
    for candidate in candidates:
        text = candidate.spoken(context, count) if candidate.speaks else None
        if text is not None:
            texts.append(text)
        why = candidate.why if text is not None or not candidate.speaks else "it is empty"
        decisions.append(
            LoreDecision(candidate.name, text is not None, why, text.tokens if text else 0)
        )
    texts.sort(key=lambda text: (text.gives_way, -text.priority, -text.order, text.number))
    return Consulted(tuple(texts), tuple(decisions), book.token_budget)


def _depth(asked: int | None) -> int:
    return SCAN_DEPTH if asked is None else max(0, min(asked, MAX_SCAN_DEPTH))


class _Candidate:
    """An entry while it is decided about."""

    def __init__(self, number: int, entry: LoreEntry) -> None:
        self.number = number
        self.entry = entry
        self.decorators, self.content = (
            undecorated(entry.content) if "@@" in entry.content else (Decorators(), entry.content)
        )
        self.why = ""
        self.speaks = False
        self.patterns: dict[str, Pattern | BadPattern] = {}

    @property
    def place(self) -> str:
        return f"lore {self.number}"

    @property
    def name(self) -> str:
        first_key = self.entry.keys[0] if self.entry.keys else ""
        return (self.entry.name or first_key)[:80] or f"entry {self.number + 1}"

    @property
    def may_wake(self) -> bool:
        return self.entry.enabled and not self.speaks and not self.decorators.dont_activate

    def spoken(self, context: MacroContext, count: Callable[[str], int]) -> LoreText | None:
        """The entry as it goes into the prompt; None when nothing is left of it."""
        text = expand(self.content, context.at(self.place)).strip()
        if not text:
            return None
        asked, entry = self.decorators, self.entry
        slot: Slot = asked.position or entry.position  # type: ignore[assignment]  # read as one
        return LoreText(
            self.number,
            text,
            count(text),
            entry.insertion_order,
            entry.priority,
            slot,
            None if asked.position else asked.depth,
            asked.role,
            asked.ignore_on_max_context,
        )


@dataclass(slots=True)
class _Scan:
    """The text in which keys are looked for: the last messages, and entries that spoke."""

    scene: Scene
    depth: int
    context: MacroContext
    woken: str = ""
    effort: Effort = field(default_factory=Effort)
    _texts: dict[int, "_Text"] = field(default_factory=dict)

    def add(self, woken: Sequence[_Candidate]) -> None:
        """Let what `woken` entries say be scanned as well."""
        shown = [expand(one.content, self._silent(one.place)) for one in woken]
        self.woken = "\n".join([self.woken, *shown])[-MAX_SCANNED:]
        self._texts.clear()

    def verdict(self, candidate: _Candidate) -> tuple[str, bool]:
        """Why an entry speaks or not, and whether it does."""
        entry, asked = candidate.entry, candidate.decorators
        refusal = self._refusal(entry, asked)
        if refusal:
            return refusal, False
        text = self._text(self.depth if asked.scan_depth is None else _depth(asked.scan_depth))
        for keys in asked.additional_keys:
            if self._found(keys, candidate, text) is None:
                return "none of its additional keys was found", False
        if not entry.use_regex:
            excluded = self._found(asked.exclude_keys, candidate, text)
            if excluded is not None:
                return f"excluded by the key {excluded!r}", False
        if asked.activate:
            return "always in", True
        if entry.constant and not entry.use_regex:
            return "constant", True
        return self._by_key(candidate, text)

    def _by_key(self, candidate: _Candidate, text: "_Text") -> tuple[str, bool]:
        entry = candidate.entry
        key = self._found(entry.keys, candidate, text)
        if key is None:
            bad = [why for why in candidate.patterns.values() if isinstance(why, BadPattern)]
            return (f"a pattern cannot be used: {bad[0]}" if bad else "no key was found"), False
        if entry.selective and entry.secondary_keys and not entry.use_regex:
            second = self._found(entry.secondary_keys, candidate, text)
            if second is None:
                return f"found {key!r}, but none of its secondary keys", False
            return f"found {key!r} and {second!r}", True
        return f"found {key!r}", True

    def _refusal(self, entry: LoreEntry, asked: Decorators) -> str:
        """Why an entry may not speak whatever is said; empty: it may."""
        if not entry.enabled:
            return "switched off"
        if asked.dont_activate and not asked.activate:
            return "it asks not to be used"
        after, every = asked.activate_only_after, asked.activate_only_every
        if after is not None and self.scene.replies < after:
            return f"only after {after} replies"
        if every is not None and self.scene.replies % every:
            return f"only every {every} replies"
        if asked.is_greeting is not None and asked.is_greeting != self.scene.greeting:
            return f"only with greeting {asked.is_greeting}"
        return ""

    def _text(self, depth: int) -> "_Text":
        if depth not in self._texts:
            said = (message.content for message in self.scene.messages[:depth])
            recent = "\n".join(reversed(list(said)))[-MAX_SCANNED:]
            self._texts[depth] = _Text(recent, self.woken)
        return self._texts[depth]

    def _found(self, keys: Sequence[str], candidate: _Candidate, text: "_Text") -> str | None:
        """The first of `keys` that is there."""
        for key in keys:
            source, flags = _as_pattern(key, bare=candidate.entry.use_regex)
            if source:
                if self._matches(source, flags, candidate, text):
                    return key
                continue
            said = expand(key, self._silent("key"))
            if text.has(said, ignore_case=not candidate.entry.case_sensitive):
                return key
        return None

    def _matches(self, source: str, flags: str, candidate: _Candidate, text: "_Text") -> bool:
        """Whether a pattern is there; what is wrong with it is noted at the candidate."""
        key = f"{flags}/{source}"
        try:
            pattern = candidate.patterns.get(key) or Pattern(source, flags)
            candidate.patterns[key] = pattern
            if isinstance(pattern, BadPattern):
                return False
            return pattern.found_in(text.for_patterns, self.effort)
        except BadPattern as why:
            candidate.patterns[key] = why
            return False

    def _silent(self, place: str) -> MacroContext:
        """The context for texts that are only scanned: their draws are not recorded."""
        return replace(self.context, place=place, hidden_keys=True, draws=[])


_PATTERN_KEY = re.compile(r"/(.+)/([a-z]*)", re.DOTALL)


def _as_pattern(key: str, *, bare: bool) -> tuple[str, str]:
    """Source and flags of a key that is a pattern; an empty source: it is words."""
    found = _PATTERN_KEY.fullmatch(key.strip())
    if found:
        return found[1], found[2]
    return (key, "i") if bare else ("", "")


@dataclass
class _Text:
    """What was said and what woken entries say, in the forms in which keys are looked for."""

    said: str
    woken: str

    @cached_property
    def for_patterns(self) -> str:
        return f"{self.said[-MAX_PATTERN_TEXT:]}\n{self.woken[-MAX_PATTERN_TEXT:]}"

    @cached_property
    def _exact(self) -> str:
        return unicodedata.normalize("NFC", f"{self.said}\n{self.woken}")

    @cached_property
    def _folded(self) -> str:
        return unicodedata.normalize("NFC", self._exact.casefold())

    def has(self, key: str, *, ignore_case: bool) -> bool:
        """Whether `key` stands here as whole words; an empty key never does."""
        key = unicodedata.normalize("NFC", key.strip())
        if ignore_case:
            key = unicodedata.normalize("NFC", key.casefold())
        text = self._folded if ignore_case else self._exact
        at = -1
        for _ in range(MAX_OCCURRENCES if key else 0):
            at = text.find(key, at + 1)
            if at < 0:
                break
            end = at + len(key)
            before, after = text[at - 1 : at] if at else "", text[end : end + 1]
            if not (_is_one_word(before, key[0]) or _is_one_word(key[-1], after)):
                return True
        return False


# Scripts that put no spaces between words: any place there may be a word's border.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff"
    "\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)


def _is_one_word(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word."""
    return bool(
        left
        and right
        and (left.isalnum() or left == "_")
        and (right.isalnum() or right == "_")
        and not _UNSPACED.match(left)
        and not _UNSPACED.match(right)
    )
