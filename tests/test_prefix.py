"""What prompts have in common is read once: turns, swipes, edits and branches of a chat."""

from contextlib import closing
from html import escape

import pytest
from transformers import LlamaForCausalLM

from hermes_ui.generation.capacity import Capacity
from hermes_ui.generation.engine import CacheUse, EngineIdentity
from hermes_ui.generation.loading import ModelChoice, load
from hermes_ui.generation.local import PAGE_TOKENS, TransformersEngine
from hermes_ui.generation.placement import Placement
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from hermes_ui.ui import inspector, model_panel, seal
from hermes_ui.ui.bridge import Fields
from tests.engine_contract import SHORT, ask, until_text
from tests.house import OWNER, ended, open_house
from tests.tiny_model import byte_tokenizer, write_tiny_model

IDENTITY = EngineIdentity("tiny", "", "float32", "", "cpu", "", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def engine(folder):
    capacity = Capacity(1024, max_active=4, max_waiting=8, cache_tokens=8192, step_tokens=256)
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    with closing(TransformersEngine(model, byte_tokenizer(), IDENTITY, capacity)) as engine:
        yield engine


@pytest.fixture
def chat(store, tmp_path, engine):
    with open_house(store, tmp_path / "personas", engine) as service:
        yield service


@pytest.fixture
def conversation(chat):
    started = chat.start(OWNER, "ava")
    chat.set_sampling(OWNER, started.id, SamplingParams(max_tokens=24, seed=1))
    ended(chat, chat.send(OWNER, started.id, "How is the harbour tonight?"))
    return started


def newest(chat, conversation):
    return chat.store.window(OWNER, conversation.id).messages[-1]


def whole_pages(tokens):
    """What can be found again of a prompt: the last token is always read anew."""
    return (tokens - 1) // PAGE_TOKENS * PAGE_TOKENS


def test_the_next_turn_reads_what_is_new(chat, conversation):
    first = newest(chat, conversation)

    ended(chat, chat.send(OWNER, conversation.id, "And the lamp?"))

    assert newest(chat, conversation).cached_tokens >= whole_pages(first.prompt_tokens)


def test_regenerating_reads_the_last_page_alone(chat, conversation):
    first = newest(chat, conversation)

    ended(chat, chat.regenerate(OWNER, first.id))

    again = newest(chat, conversation)
    assert again.id != first.id
    assert again.prompt_tokens == first.prompt_tokens
    assert again.cached_tokens == whole_pages(first.prompt_tokens)


def test_an_edit_reads_from_where_it_differs(chat, engine, conversation):
    before = engine.token_ids(chat.prompt_for(OWNER, conversation.id).pieces)
    question = chat.store.window(OWNER, conversation.id).messages[-2]

    ended(chat, chat.edit(OWNER, question.id, "How is the sea tonight?"))

    row = newest(chat, conversation)
    after = engine.token_ids(chat.prompt_for(OWNER, conversation.id).pieces)
    shared = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    assert row.cached_tokens == whole_pages(shared + 1)


def test_a_branch_finds_what_its_siblings_have_read(chat, conversation):
    first = newest(chat, conversation)
    ended(chat, chat.send(OWNER, conversation.id, "Tell me of the storm."))
    ended(chat, chat.regenerate(OWNER, first.id))

    ended(chat, chat.send(OWNER, conversation.id, "Tell me of the calm."))

    assert newest(chat, conversation).cached_tokens >= whole_pages(first.prompt_tokens)


def test_the_seal_and_the_inspector_say_what_was_cached_and_what_was_new(chat, conversation):
    ended(chat, chat.regenerate(OWNER, newest(chat, conversation).id))
    row = newest(chat, conversation)

    body = chat.store.seal(OWNER, row.id).body["prompt"]
    said = seal.details(chat.store, OWNER, row.id)
    shown = inspector.actions(chat)["prompt"](OWNER, Fields({"conversation": conversation.id}))

    new = row.prompt_tokens - row.cached_tokens
    assert (body["cached"], body["new"]) == (row.cached_tokens, new)
    words = escape(f"{row.prompt_tokens:,} tokens: {row.cached_tokens:,} cached, {new:,} new")
    assert words in said
    assert words in shown["html"]


def test_the_model_panel_says_how_full_the_memory_is(chat, engine, conversation):
    use = engine.cache

    assert use.running == 0
    assert 0 < use.remembered < use.total
    assert (
        f"{use.total - use.remembered:,} of {use.total:,} tokens free, 0 in use, "
        f"{use.remembered:,} remembered"
    ) in model_panel.panel(chat)


def small(folder, tokens):
    """An engine whose memory holds a few prompts only."""
    capacity = Capacity(256, max_active=1, max_waiting=4, cache_tokens=tokens, step_tokens=64)
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    return closing(TransformersEngine(model, byte_tokenizer(), IDENTITY, capacity))


def cached(engine, prompt):
    *_, finish = engine.stream(prompt, SHORT)
    return finish.cached_tokens


def test_the_least_recently_used_leave_first(folder):
    prompts = [ask(Message("user", f"{name} " + f"{name}z " * 50)) for name in "abcdefgh"]
    with small(folder, 1024) as engine:
        pages = whole_pages(len(engine.token_ids(prompts[0].pieces)))
        for prompt in prompts[:4]:
            assert cached(engine, prompt) == 0
        assert cached(engine, prompts[0]) == pages
        for prompt in prompts[4:8]:
            cached(engine, prompt)

        assert cached(engine, prompts[0]) == pages
        assert cached(engine, prompts[1]) == 0


def test_the_beginning_of_a_prompt_outlives_its_end(folder):
    """Only a prompt's beginning can be found again, so its end is forgotten first."""
    long = ask(Message("user", "aq " * 75))
    others = [ask(Message("user", f"{n} " + f"{n}q " * 20)) for n in "bcdefghijklmno"]
    found = []
    for count in (8, 14):
        with small(folder, 1024) as engine:
            whole = whole_pages(len(engine.token_ids(long.pieces)))
            for prompt in (long, *others[:count]):
                cached(engine, prompt)
            found.append(cached(engine, long))

    assert found[0] == whole
    assert whole > found[1] > 0


def test_the_memory_has_a_ceiling_that_is_set(folder):
    with closing(
        load(
            ModelChoice(folder, "tiny", ""),
            Placement("cpu", "float32", ""),
            context_length=512,
            max_active=2,
            cache_tokens=768,
        )
    ) as engine:
        assert engine.cache == CacheUse(768, 0, 0)
        for n in range(12):
            cached(engine, ask(Message("user", f"{n} " + f"{n}x " * 90)))
            assert engine.cache.running == 0
            assert engine.cache.remembered <= 768


def test_a_ceiling_below_the_window_shortens_the_window(folder):
    with closing(
        load(ModelChoice(folder, "tiny", ""), Placement("cpu", "float32", ""), cache_tokens=300)
    ) as engine:
        assert engine.context_length == 300


def test_what_runs_is_told_apart_from_what_is_remembered(engine):
    events = engine.stream(ask(Message("user", "word " * 60)), SamplingParams(max_tokens=200))
    until_text(events)

    assert engine.cache.running > 0
    events.close()
    assert engine.cache.running == 0
