"""The promises of `Engine`, as tests that every engine inherits."""

import queue
import random
import threading
import time
from contextlib import closing

import pytest

from hermes_ui.errors import ContextOverflow, EngineBusy, EngineError
from hermes_ui.generation.engine import Finish, TextDelta, Waiting
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from hermes_ui.prompt import chatml
from hermes_ui.prompt.build import Prompt

LONG = SamplingParams(max_tokens=200)
SHORT = SamplingParams(max_tokens=4)


def ask(*messages: Message, **rest) -> Prompt:
    """A prompt for the next assistant turn after `messages`."""
    pieces = [piece for message in messages for piece in chatml.turn(message.role, message.content)]
    return Prompt((*pieces, *chatml.opening("assistant")), **rest)


def text_of(events) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def spoken(engine, prompt, params) -> str:
    return text_of(engine.stream(prompt, params))


def until_text(events) -> TextDelta:
    """The first delta; events before it are dropped."""
    return next(event for event in events if isinstance(event, TextDelta))


def wait_until(is_true) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.005)


class EngineContract:
    """Subclass it and supply `engine`, `narrow_engine` and `mortal_engine`.

    They are of one kind and say at least 40 tokens to any prompt before they end by
    themselves. `narrow_engine` serves one request while one more may wait; `mortal_engine`
    is nobody else's and may be closed.
    """

    @pytest.fixture
    def prompt(self):
        return ask(Message("user", "Say hello."))

    def test_a_stream_ends_with_exactly_one_finish(self, engine, prompt):
        events = list(engine.stream(prompt, SHORT))

        finishes = [i for i, event in enumerate(events) if isinstance(event, Finish)]
        assert finishes == [len(events) - 1]

    def test_deltas_are_whole_characters_and_never_empty(self, engine, prompt):
        deltas = [e.text for e in engine.stream(prompt, LONG) if isinstance(e, TextDelta)]

        assert deltas
        for delta in deltas:
            assert delta
            delta.encode()

    def test_max_tokens_ends_the_reply_with_length(self, engine, prompt):
        *_, finish = engine.stream(prompt, SHORT)

        assert (finish.reason, finish.completion_tokens) == ("length", 4)

    def test_prompt_tokens_are_those_that_are_read(self, engine, prompt):
        *_, finish = engine.stream(prompt, SHORT)

        assert finish.prompt_tokens == len(engine.token_ids(prompt.pieces))
        assert 0 <= finish.cached_tokens < finish.prompt_tokens

    def test_counting_agrees_with_encoding(self, engine, prompt):
        extra = len(engine.token_ids(prompt.pieces)) - engine.count_tokens(prompt.pieces)

        assert extra in (0, 1)  # BOS

    def test_a_stop_string_ends_the_reply_before_it(self, engine, prompt):
        whole = spoken(engine, prompt, LONG)
        stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
        params = LONG.model_copy(update={"stop": (stop,)})

        *events, finish = engine.stream(prompt, params)

        assert text_of(events) == whole[: whole.index(stop)]
        assert finish.reason == "stop"

    def test_stop_strings_of_the_prompt_count_too(self, engine, prompt):
        whole = spoken(engine, prompt, LONG)
        stop = whole[len(whole) // 2 : len(whole) // 2 + 3]

        said = spoken(engine, Prompt(prompt.pieces, stop=(stop,)), LONG)

        assert said == whole[: whole.index(stop)]

    def test_closing_early_frees_the_slot_before_it_returns(self, engine, prompt):
        events = engine.stream(prompt, LONG)
        until_text(events)
        assert engine.active == 1

        events.close()

        assert engine.active == 0

    def test_a_finished_stream_holds_no_slot(self, engine, prompt):
        list(engine.stream(prompt, SHORT))

        assert engine.active == 0

    def test_waiting_is_told_until_the_slot_is_free(self, narrow_engine, prompt):
        first = narrow_engine.stream(prompt, LONG)
        until_text(first)
        second = narrow_engine.stream(prompt, SHORT)

        notices = [next(second) for _ in range(3)]
        first.close()

        assert notices == [Waiting(0)] * 3
        assert isinstance(list(second)[-1], Finish)

    def test_a_full_line_is_told_before_the_first_event(self, narrow_engine, prompt):
        first, second = (narrow_engine.stream(prompt, LONG) for _ in range(2))
        until_text(first)
        next(second)

        with pytest.raises(EngineBusy) as refusal:
            next(narrow_engine.stream(prompt, LONG))

        assert refusal.value.waiting == 1
        second.close()
        first.close()
        assert narrow_engine.active == 0

    def test_a_prompt_that_leaves_no_room_is_told_before_the_first_event(self, engine):
        endless = ask(Message("user", "word " * (engine.context_length + 1)))

        with pytest.raises(ContextOverflow) as overflow:
            next(engine.stream(endless, SHORT))

        assert overflow.value.needed > overflow.value.available
        assert engine.active == 0

    def test_streams_side_by_side_do_not_mix(self, engine):
        prompts = [ask(Message("user", f"Say {word}.")) for word in ("one", "two", "six", "ten")]
        params = [SamplingParams(seed=seed, max_tokens=24) for seed in range(4)]
        alone = [spoken(engine, *each) for each in zip(prompts, params, strict=True)]
        together = [""] * 4

        def listen(i):
            together[i] = spoken(engine, prompts[i], params[i])

        threads = [threading.Thread(target=listen, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert together == alone
        assert engine.active == 0

    def test_many_cancelled_streams_leave_nothing_behind(self, engine, prompt):
        dice = random.Random(7)
        work = queue.SimpleQueue()
        for _ in range(40):
            work.put(dice.randrange(6))

        def cancel_some():
            while not work.empty():
                with closing(engine.stream(prompt, LONG)) as events:
                    for _ in range(work.get()):
                        next(events, None)

        threads = [threading.Thread(target=cancel_some, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(work.empty)

        wait_until(lambda: engine.active == 0)

    def test_closing_the_engine_ends_open_streams_with_an_error(self, mortal_engine, prompt):
        events = mortal_engine.stream(prompt, LONG)
        until_text(events)

        mortal_engine.close()

        with pytest.raises(EngineError):
            list(events)
        assert mortal_engine.active == 0

    def test_a_closed_engine_says_so(self, mortal_engine, prompt):
        mortal_engine.close()

        with pytest.raises(EngineError):
            next(mortal_engine.stream(prompt, SHORT))

    def test_closing_twice_does_no_harm(self, mortal_engine):
        mortal_engine.close()
        mortal_engine.close()


class SamplingContract(EngineContract):
    """For engines that draw their words."""

    def test_the_same_seed_gives_the_same_reply(self, engine, prompt):
        params = SamplingParams(seed=5, temperature=1.5, max_tokens=24)

        assert spoken(engine, prompt, params) == spoken(engine, prompt, params)

    def test_other_seeds_give_other_replies(self, engine, prompt):
        replies = {
            spoken(engine, prompt, SamplingParams(seed=seed, temperature=1.5, max_tokens=24))
            for seed in range(4)
        }

        assert len(replies) > 1

    def test_without_a_seed_the_seed_is_0(self, engine, prompt):
        unset = SamplingParams(temperature=1.5, max_tokens=24)

        assert spoken(engine, prompt, unset) == spoken(
            engine, prompt, unset.model_copy(update={"seed": 0})
        )

    def test_temperature_0_needs_no_seed(self, engine, prompt):
        replies = {
            spoken(engine, prompt, SamplingParams(seed=seed, temperature=0, max_tokens=24))
            for seed in range(3)
        }

        assert len(replies) == 1
