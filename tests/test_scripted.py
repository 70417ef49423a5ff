"""The engine for tests and for work without a model keeps the whole promise."""

import pytest

from hermes_ui.generation.engine import Finish, ReasoningDelta, TextDelta, ToolCall
from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from hermes_ui.prompt.build import Prompt
from tests.engine_contract import EngineContract, ask, spoken

SONG = " ".join(f"verse{n} 🌊é" for n in range(30))
CALL = '<tool_call>{"name": "roll_dice", "arguments": {"notation": "d6"}}</tool_call>'


def echo(prompt: Prompt) -> str:
    return f"{prompt.pieces[1].upper()}: {SONG}"


class TestScriptedEngine(EngineContract):
    @pytest.fixture
    def engine(self):
        return ScriptedEngine(echo)

    @pytest.fixture
    def narrow_engine(self):
        return ScriptedEngine(SONG, max_active=1, max_waiting=1)

    @pytest.fixture
    def mortal_engine(self):
        return ScriptedEngine(SONG)


@pytest.fixture
def prompt():
    return ask(Message("user", "Roll."))


def test_it_says_what_it_was_told_to_say(prompt):
    assert spoken(ScriptedEngine("hello there friend"), prompt, SamplingParams()) == (
        "hello there friend"
    )


def test_replies_take_turns(prompt):
    engine = ScriptedEngine(["one", "two"])

    assert [spoken(engine, prompt, SamplingParams()) for _ in range(3)] == ["one", "two", "one"]


def test_a_reply_ends_with_stop(prompt):
    *_, finish = ScriptedEngine("hello there").stream(prompt, SamplingParams(max_tokens=2))

    assert finish == Finish("stop", 8, 2)


def test_calls_are_read_where_tools_were_offered(prompt):
    engine = ScriptedEngine(f"<scratch_pad>Six sides.</scratch_pad>I roll. {CALL}")
    offered = Prompt(prompt.pieces, tool_names=("roll_dice",))

    *events, finish = engine.stream(offered, SamplingParams())

    assert [type(event) for event in events] == [ReasoningDelta, ReasoningDelta, *[TextDelta] * 2,
                                                 ToolCall]  # fmt: skip
    assert (events[-1].name, events[-1].arguments) == ("roll_dice", '{"notation": "d6"}')
    assert finish.reason == "tool_calls"


def test_tags_are_text_where_no_tools_were_offered(prompt):
    *events, finish = ScriptedEngine(CALL).stream(prompt, SamplingParams())

    assert "".join(event.text for event in events) == CALL
    assert finish.reason == "stop"


def test_without_a_script_it_says_what_it_is(prompt):
    said = spoken(ScriptedEngine(), prompt, SamplingParams())

    assert "scripted engine" in said
    assert "one turn " in said


def test_an_empty_reply_is_a_finish_alone(prompt):
    assert [type(e) for e in ScriptedEngine("").stream(prompt, SamplingParams())] == [Finish]
