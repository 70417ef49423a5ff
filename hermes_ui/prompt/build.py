"""A persona and a history become a `Prompt`.

    system   instructions, lore and character, tools, JSON schema
    …        example dialogue
    …        the conversation, with lore at its depth
    system   instructions after the conversation
    assistant, left open

What is stable stands first, so that a cache of the last prompt serves the next one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from hermes_ui.messages import Message
from hermes_ui.personas.persona import Persona
from hermes_ui.prompt import lore as lorebooks
from hermes_ui.prompt import tools as tool_texts
from hermes_ui.prompt.chatml import Pieces, opening, turn, well_formed
from hermes_ui.prompt.context import Fitted, HistoryItem, Lookback, fit
from hermes_ui.prompt.examples import example_blocks
from hermes_ui.prompt.lore import Consulted, LoreDecision, LoreText, Scene, Slot
from hermes_ui.prompt.macros import Draw, MacroContext, expand
from hermes_ui.toolbox import Tool

__all__ = ["HistoryItem", "Prompt", "build", "expand_greeting"]

DEFAULT_SYSTEM = (
    "You are {{char}}. Stay in character and write only {{char}}'s part of the conversation "
    "with {{user}}."
)
MAX_USER = 100  # characters of a user's name
BOS = 1  # token that an engine may put in front
LORE_MARKERS = 6  # tokens around an entry, at most

Turn = tuple[str, str]  # role and text


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine needs to know of one request, and what the seal keeps of it."""

    pieces: Pieces
    stop: tuple[str, ...] = ()  # beside those of SamplingParams
    tool_names: tuple[str, ...] = ()  # empty: tool tags in the reply are plain text
    tokens: int = 0  # of `pieces`, without BOS
    system_tokens: int = 0  # of the first system turn
    kept: int = 0  # messages of the conversation
    dropped: int = 0  # older messages that did not fit
    lore: tuple[LoreDecision, ...] = ()
    draws: tuple[Draw, ...] = ()
    prefill: str = ""  # what the reply begins with, already in `pieces`


def build(
    persona: Persona,
    newest_first: Iterable[HistoryItem],
    *,
    user: str,
    budget: int,
    count: Callable[[Pieces], int],
    seed: int,
    now: datetime,
    tools: Sequence[Tool] = (),
    greeting_index: int | None = None,
    prefill: str | None = None,
) -> Prompt:
    """The prompt for the persona's next message.

    Args:
        persona: Who speaks.
        newest_first: The conversation; read no further back than the budget reaches.
        user: The name of whom the persona speaks with.
        budget: Tokens that the prompt may have; one of them is left free for BOS.
        count: Tokens of pieces.
        seed: Fixes what macros draw.
        now: What macros take for the present.
        tools: Functions that the model may call.
        greeting_index: Which greeting the conversation began with; None: not known.
        prefill: What the reply begins with: the model goes on from there.

    Raises:
        ContextOverflow: the persona and the newest user message are over the budget.
    """
    context = _context(persona, user, seed, now)
    history = Lookback(
        newest_first, lambda message: count(turn(message.role, tool_texts.rendered(message)))
    )
    parts = _prepared(persona, context, tools, prefill or "")
    consulted = _consult(persona, history, context, count, greeting_index)
    fitted, pieces = _fitted(parts, history, consulted, budget, count)
    texts, decisions = consulted.keeping(fitted.lore)
    return Prompt(
        pieces,
        stop=(f"\n{context.user}:",) if len(context.user) > 1 else (),
        tool_names=tuple(tool.name for tool in tools),
        tokens=count(pieces),
        system_tokens=count(turn("system", parts.system(fitted, texts))),
        kept=len(fitted.items),
        dropped=fitted.items[0].index if fitted.items else 0,
        lore=decisions,
        draws=tuple(context.draws),
        prefill=parts.prefill,
    )


def expand_greeting(
    persona: Persona, index: int, *, user: str, seed: int, now: datetime
) -> tuple[str, tuple[Draw, ...]]:
    """The persona's first message (0) or one of its alternates (1 …), ready to be said.

    Raises:
        IndexError: there is no such greeting.
    """
    greetings = (persona.greeting, *persona.alternate_greetings)
    if not 0 <= index < len(greetings):
        raise IndexError(index)
    context = replace(_context(persona, user, seed, now), draws=[])
    return expand(greetings[index], context.at(f"greeting {index}")), tuple(context.draws)


def _context(persona: Persona, user: str, seed: int, now: datetime) -> MacroContext:
    """What macros can say; a user without a name gets the persona's word for one."""
    name = " ".join(well_formed(user).split())[:MAX_USER].strip() or persona.user_name
    context = MacroContext(persona.display_name, name, seed, now)
    return replace(
        context,
        description=expand(persona.description, context.at("description")).strip(),
        personality=expand(persona.personality, context.at("personality")).strip(),
        scenario=expand(persona.scenario, context.at("scenario")).strip(),
    )


def _consult(
    persona: Persona,
    history: Lookback,
    context: MacroContext,
    count: Callable[[Pieces], int],
    greeting_index: int | None,
) -> Consulted:
    """What the persona's lorebook has to say about the end of the conversation."""
    book = persona.lorebook
    if book is None or not book.entries:
        return Consulted()
    wanted = lorebooks.scanned_messages(book)
    said: list[Message] = []
    oldest = None
    for item, _ in history:
        oldest = item
        if item.message.role in ("user", "assistant"):
            said.append(item.message)
        if len(said) >= wanted:
            break
    # Replies beyond what is scanned are not read: there, every other message is one.
    unread = oldest.index if oldest else 0
    replies = sum(message.role == "assistant" for message in said)
    if unread:
        replies += (unread + (said[-1].role == "user" if said else 0)) // 2
    scene = Scene(said[:wanted], replies, greeting_index)
    return lorebooks.consult(book, scene, context, lambda text: count((text,)))


def _fitted(
    parts: "_Parts",
    history: Lookback,
    consulted: Consulted,
    budget: int,
    count: Callable[[Pieces], int],
) -> tuple[Fitted, Pieces]:
    """What fits, and the pieces that come of it."""
    share = int(budget * lorebooks.SHARE) if consulted.budget is None else consulted.budget
    fixed = count(parts.pieces(Fitted(0, 0, ()), ()))
    lore = [text.tokens + LORE_MARKERS for text in consulted.texts]
    examples = [sum(count(turn(*said)) for said in block) for block in parts.examples]
    room = budget - BOS
    while True:
        fitted = fit(
            history,
            budget=room,
            fixed=fixed,
            lore=lore,
            lore_share=share,
            examples=examples,
        )
        pieces = parts.pieces(fitted, consulted.texts[: fitted.lore])
        over = count(pieces) - (budget - BOS)
        if over <= 0:
            return fitted, pieces
        room -= over  # some texts cost more together than apart


@dataclass(frozen=True, slots=True)
class _Parts:
    """Everything but lore and conversation, its macros expanded."""

    instructions: str
    char: MacroContext
    personality: str
    scenario: str
    epilogue: tuple[str, ...]  # the end of the system turn: tools, JSON mode
    examples: list[list[Turn]]
    after: str  # instructions after the conversation
    prefill: str

    def pieces(self, fitted: Fitted, lore: Sequence[LoreText]) -> Pieces:
        """The whole prompt with what fits of the rest."""
        turns = [("system", self.system(fitted, lore))]
        for block in self.examples[: fitted.examples]:
            turns += [said for said in block if said[0] != "system"]
        turns += _with_depth_lore([item.message for item in fitted.items], lore)
        if self.after:
            turns.append(("system", self.after))
        pieces: list[str] = []
        for role, text in turns:
            pieces += turn(role, text)
        return (*pieces, *opening("assistant", self.prefill))

    def system(self, fitted: Fitted, lore: Sequence[LoreText]) -> str:
        """The text of the first system turn."""
        slots: dict[Slot, list[str]] = {}
        for text in sorted(lore, key=lambda text: (text.order, text.number)):
            if text.depth is None:
                slots.setdefault(text.slot, []).append(text.text)
        parts = (
            self.instructions,
            *slots.get("before_char", ()),
            *slots.get("before_desc", ()),
            self.char.description or "",
            *slots.get("after_desc", ()),
            self.personality,
            *slots.get("personality", ()),
            self.scenario,
            *slots.get("scenario", ()),
            *slots.get("after_char", ()),
            *self.epilogue,
            *(
                text
                for block in self.examples[: fitted.examples]
                for role, text in block
                if role == "system"
            ),
        )
        return "\n\n".join(part for part in parts if part)


def _prepared(
    persona: Persona, context: MacroContext, tools: Sequence[Tool], prefill: str
) -> _Parts:
    default = expand(DEFAULT_SYSTEM, context)
    instructions = expand(persona.system_prompt, context.at("system", original=default))
    schema = persona.response_format
    return _Parts(
        instructions=instructions.strip() or default,
        char=context,
        personality=f"{context.char}'s personality: {context.personality}"
        if context.personality
        else "",
        scenario=f"Scenario: {context.scenario}" if context.scenario else "",
        epilogue=(
            tool_texts.system_text(tools),
            tool_texts.json_mode_text(schema) if schema is not None else "",
        ),
        examples=_examples(persona, context),
        after=expand(persona.post_history_instructions, context.at("after", original="")).strip(),
        prefill=well_formed(prefill),
    )


def _examples(persona: Persona, context: MacroContext) -> list[list[Turn]]:
    """Each block as turns, or as one text for the system turn where it cannot be read so."""
    blocks = example_blocks(persona.examples, (persona.name, persona.display_name), context.user)
    examples = []
    for number, block in enumerate(blocks):
        place = context.at(f"example {number}")
        said: Sequence[Turn] = block.turns or [("system", f"Example dialogue:\n{block.text}")]
        examples.append([(role, expand(text, place)) for role, text in said])
    return examples


def _with_depth_lore(messages: Sequence[Message], lore: Sequence[LoreText]) -> Iterator[Turn]:
    """The turns of the conversation with the entries that stand among them."""
    inserts: dict[int, dict[str, list[str]]] = {}
    for text in sorted(lore, key=lambda text: (text.order, text.number)):
        if text.depth is not None:
            place = _place(messages, text.depth)
            inserts.setdefault(place, {}).setdefault(text.role, []).append(text.text)
    for place in range(len(messages) + 1):
        by_role = inserts.get(place, {})
        for role in ("assistant", "user", "system"):  # what weighs most stands last
            if role in by_role:
                yield role, "\n".join(by_role[role])
        if place < len(messages):
            message = messages[place]
            yield message.role, tool_texts.rendered(message)


def _place(messages: Sequence[Message], depth: int) -> int:
    """Before which message an entry of this depth stands; never between call and result."""
    place = len(messages) - max(0, min(depth, len(messages)))
    while 0 < place < len(messages) and messages[place].role == "tool":
        place -= 1
    return place
