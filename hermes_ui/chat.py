"""What people do with a conversation, each as one method: start, send, regenerate, edit, …

A caller hands over ids, never a history: what the database holds is the conversation.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from hermes_ui.catalog import PersonaCatalog
from hermes_ui.errors import NothingToDo
from hermes_ui.generation.host import ModelHost
from hermes_ui.params import SamplingParams
from hermes_ui.personas.persona import Persona
from hermes_ui.prompt.build import Prompt, expand_greeting
from hermes_ui.prompt.lore import LoreDecision
from hermes_ui.reply import Recipe, compose, prompt_budget
from hermes_ui.runs import Runs
from hermes_ui.toolbox import TOOLBOX
from storage.rows import UNSTORABLE, ConversationRow, MessageRow, NewMessage, RunRow
from storage.store import Store

SEED_BITS = 48  # survives a trip through JavaScript's numbers
TITLE_CHARS = 60
TITLE_LIMIT = 200  # characters of a title that somebody typed
MESSAGE_CHARS = 100_000


@dataclass(frozen=True, slots=True)
class Meter:
    """How full the context window is, in tokens; `kept` and `dropped` count messages."""

    prompt_tokens: int
    reply_tokens: int
    context_length: int
    kept: int
    dropped: int
    lore: tuple[LoreDecision, ...]


class ChatService:
    """The use cases of a conversation. Every method checks the owner through the store."""

    def __init__(self, store: Store, catalog: PersonaCatalog, runs: Runs, host: ModelHost) -> None:
        self.store = store
        self.catalog = catalog
        self.runs = runs
        self.host = host

    def start(self, owner: str, slug: str, *, user: str = "", greeting: int = 0) -> ConversationRow:
        """Begin a conversation with the persona's current version, which it keeps.

        The greeting and its alternates become the first swipes; `greeting` is shown.
        """
        user = _storable(user)
        entry = self.catalog.entry(owner, slug)
        self.catalog.keep(owner, entry)
        persona = entry.persona
        seed = secrets.randbits(SEED_BITS)
        texts = [
            expand_greeting(persona, index, user=user or persona.user_name, seed=seed, now=_now())[
                0
            ]
            for index in range(1 + len(persona.alternate_greetings))
        ]
        return self.store.create_conversation(
            owner,
            title=persona.display_name,
            persona_slug=slug,
            persona_digest=entry.digest,
            settings={"user": user} if user else {},
            greetings=[text for text in texts if text],
            first=sum(1 for text in texts[: max(0, greeting)] if text),
        )

    def send(self, owner: str, conversation_id: str, text: str) -> RunRow:
        """Store the user's message and begin the reply to it.

        Raises:
            NothingToDo: the text is empty, too long, or has a character that cannot be kept.
            Conflict: a reply is still being written.
        """
        conversation = self.store.conversation(owner, conversation_id)
        run = self.runs.start(
            owner,
            conversation_id,
            self._recipe(owner, conversation),
            parent_id=conversation.leaf_id,
            user_message=NewMessage("user", _checked(text)),
        )
        self.store.title_untitled(
            owner,
            conversation_id,
            placeholder=self._placeholder(owner, conversation),
            title=_title(text),
        )
        return run

    def answer(self, owner: str, conversation_id: str) -> RunRow:
        """Begin the reply to the newest message, where one failed before its first word.

        Raises:
            NothingToDo: the newest message is a reply, or there is none.
        """
        conversation = self.store.conversation(owner, conversation_id)
        leaf = conversation.leaf_id
        if leaf is None or self.store.message(owner, leaf).role == "assistant":
            raise NothingToDo("there is no message that waits for a reply")
        recipe = self._recipe(owner, conversation)
        return self.runs.start(owner, conversation_id, recipe, parent_id=leaf)

    def regenerate(self, owner: str, message_id: str) -> RunRow:
        """Begin another reply beside this one, which stays as a swipe."""
        message = self._reply(owner, message_id)
        return self._begin(owner, message, parent_id=self._first_of_round(owner, message))

    def resume(self, owner: str, message_id: str) -> RunRow:
        """Begin a longer version of this reply, as a new swipe that starts with its text."""
        message = self._reply(owner, message_id)
        if message.tool_calls:
            raise NothingToDo("a message that calls tools cannot be continued")
        return self._begin(owner, message, parent_id=message.parent_id, prefix=message.content)

    def edit(self, owner: str, message_id: str, text: str) -> RunRow | None:
        """Write another version of a message; the old one stays as a swipe.

        Returns:
            The run of the reply to an edited user message; None for an edited reply.
        """
        message = self.store.message(owner, message_id)
        new = NewMessage(message.role, _checked(text))
        if message.role == "user":
            conversation = self.store.conversation(owner, message.conversation_id)
            recipe = self._recipe(owner, conversation)
            return self.runs.start(
                owner, conversation.id, recipe, parent_id=message.parent_id, user_message=new
            )
        if message.role != "assistant":
            raise NothingToDo("only your own messages and replies can be edited")
        self.store.append(owner, message.conversation_id, message.parent_id, new)
        return None

    def rename(self, owner: str, conversation_id: str, title: str) -> ConversationRow:
        """Give the conversation another title; without one it keeps its own.

        Raises:
            NothingToDo: the title has a character that cannot be kept.
        """
        if named := " ".join(_storable(title).split())[:TITLE_LIMIT]:
            self.store.rename(owner, conversation_id, named)
        return self.store.conversation(owner, conversation_id)

    def switch(self, owner: str, message_id: str) -> ConversationRow:
        """Show the branch that runs through this message."""
        message = self.store.message(owner, message_id)
        leaf = self.store.descend(owner, message_id)
        return self.store.move_leaf(owner, message.conversation_id, leaf)

    def delete(self, owner: str, message_id: str) -> None:
        """Hide a message and what follows it; `store.undo` brings it back."""
        self.store.delete_message(owner, message_id)

    def persona_of(self, owner: str, conversation: ConversationRow) -> Persona:
        """The persona version that the conversation speaks with."""
        return self.catalog.version(owner, conversation.persona_digest)

    def sampling_of(self, owner: str, conversation: ConversationRow) -> SamplingParams:
        """The persona's parameters, overridden by the conversation's own."""
        overrides = SamplingParams.model_validate(conversation.settings.get("sampling", {}))
        return self.persona_of(owner, conversation).sampling.overridden_by(overrides)

    def set_sampling(self, owner: str, conversation_id: str, sampling: SamplingParams) -> None:
        """Override the persona's parameters; only the fields that are set count."""
        settings = self.store.conversation(owner, conversation_id).settings
        chosen = sampling.model_dump(mode="json", exclude_unset=True)
        self.store.update_settings(owner, conversation_id, {**settings, "sampling": chosen})

    def set_user(self, owner: str, conversation_id: str, name: str) -> None:
        """What the persona calls the user from now on; empty: the persona's default.

        Raises:
            NothingToDo: the name has a character that cannot be kept.
        """
        named = " ".join(_storable(name).split())[:80]
        settings = self.store.conversation(owner, conversation_id).settings
        self.store.update_settings(owner, conversation_id, {**settings, "user": named})

    def pin_latest(self, owner: str, conversation_id: str) -> None:
        """Speak with the persona's current version from now on."""
        conversation = self.store.conversation(owner, conversation_id)
        entry = self.catalog.entry(owner, conversation.persona_slug)
        self.catalog.keep(owner, entry)
        self.store.pin_persona(owner, conversation_id, entry.slug, entry.digest)

    def prompt_for(self, owner: str, conversation_id: str) -> Prompt:
        """What the model would read if the reply to the newest message began now.

        Raises:
            EngineNotReady: no model is there yet to count tokens with.
            ContextOverflow: the persona and the newest message do not fit.
        """
        conversation = self.store.conversation(owner, conversation_id)
        recipe = self._recipe(owner, conversation)
        tools = TOOLBOX.chosen(recipe.persona.tools)
        engine = self.host.engine(timeout_s=0)
        return compose(self.store, owner, conversation.leaf_id, recipe, engine, tools)

    def meter(self, owner: str, conversation_id: str) -> Meter:
        """How full the window is now. Raises what `prompt_for` raises."""
        prompt = self.prompt_for(owner, conversation_id)
        conversation = self.store.conversation(owner, conversation_id)
        engine = self.host.engine(timeout_s=0)
        return Meter(
            prompt.tokens,
            engine.context_length - prompt_budget(engine, self.sampling_of(owner, conversation)),
            engine.context_length,
            prompt.kept,
            prompt.dropped,
            prompt.lore,
        )

    def _recipe(self, owner: str, conversation: ConversationRow) -> Recipe:
        persona = self.persona_of(owner, conversation)
        params = self.sampling_of(owner, conversation)
        if params.seed is None:
            params = params.model_copy(update={"seed": secrets.randbits(SEED_BITS)})
        return Recipe(
            persona=persona,
            persona_digest=conversation.persona_digest,
            user=conversation.settings.get("user") or persona.user_name,
            params=params,
            macro_seed=int(conversation.id[-12:], 16),
            greeting_index=self._greeting_index(owner, conversation, persona),
        )

    def _greeting_index(
        self, owner: str, conversation: ConversationRow, persona: Persona
    ) -> int | None:
        """Which greeting the branch began with; looked up only where lore depends on it.

        The first messages are those greetings that have a text; later ones were written here.
        """
        entries = persona.lorebook.entries if persona.lorebook else ()
        if conversation.leaf_id is None or not any("@is_greeting" in e.content for e in entries):
            return None
        root = self.store.root(owner, conversation.leaf_id)
        if root.deleted_at is not None:
            return None
        first = self.store.siblings(owner, root.id, hidden=True)
        ids = [row.id for row in first if row.role == "assistant"]
        texts = (persona.greeting, *persona.alternate_greetings)
        numbers = [number for number, text in enumerate(texts) if text]
        return dict(zip(ids, numbers, strict=False)).get(root.id)

    def _begin(
        self, owner: str, message: MessageRow, *, parent_id: str | None, prefix: str = ""
    ) -> RunRow:
        conversation = self.store.conversation(owner, message.conversation_id)
        recipe = self._recipe(owner, conversation)
        return self.runs.start(owner, conversation.id, recipe, parent_id=parent_id, prefix=prefix)

    def _reply(self, owner: str, message_id: str) -> MessageRow:
        message = self.store.message(owner, message_id)
        if message.role != "assistant":
            raise NothingToDo("only a reply can be written again or continued")
        return message

    def _first_of_round(self, owner: str, message: MessageRow) -> str | None:
        """The parent under which the whole reply began, before its tool calls."""
        for row in self.store.ancestors(owner, message.parent_id) if message.parent_id else ():
            if row.role == "user" or (row.role == "assistant" and not row.tool_calls):
                return row.id
        return None

    def _placeholder(self, owner: str, conversation: ConversationRow) -> str:
        return self.persona_of(owner, conversation).display_name


def _checked(text: str) -> str:
    if not text.strip():
        raise NothingToDo("there is no text to send")
    if len(text) > MESSAGE_CHARS:
        raise NothingToDo(f"the text has {len(text):,} characters; {MESSAGE_CHARS:,} are allowed")
    return _storable(text)


def _storable(text: str) -> str:
    """`text`, in which every character is one that each database can hold."""
    if found := UNSTORABLE.search(text):
        code, place = ord(found.group()), found.start() + 1
        raise NothingToDo(f"character {place:,} of the text is U+{code:04X}, which cannot be kept")
    return text


def _title(text: str) -> str:
    words = " ".join(text.replace("*", " ").split()) or text.strip()  # actions need no stars here
    return words if len(words) <= TITLE_CHARS else words[: TITLE_CHARS - 1].rstrip() + "…"


def _now() -> datetime:
    return datetime.now().astimezone()
