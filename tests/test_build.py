import json
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise

import pytest

from hermes_ui.errors import ContextOverflow
from hermes_ui.messages import Message, ToolCall, ToolResult
from hermes_ui.personas.persona import Lorebook, LoreEntry, Persona
from hermes_ui.prompt.build import HistoryItem, Prompt, build, expand_greeting
from hermes_ui.prompt.chatml import PieceEncoder, text_of
from hermes_ui.toolbox import BUILT_IN
from tests.small_tokenizers import LLAMA_3_WORDS, byte_level

NOW = datetime(2026, 9, 28, 17, 3)
DEFAULT = "You are Ava. Stay in character and write only Ava's part of the conversation with Ben."


@pytest.fixture(scope="module")
def encoder():
    return PieceEncoder(byte_level(LLAMA_3_WORDS))


@pytest.fixture
def prompt(encoder):
    """Builds the prompt of a conversation, oldest message first."""

    def built(persona: Persona, *messages: Message, **changes) -> Prompt:
        given = {"user": "Ben", "budget": 4000, "count": encoder.count, "seed": 1, "now": NOW}
        items = [HistoryItem(place, message) for place, message in enumerate(messages)]
        return build(persona, reversed(items), **(given | changes))

    return built


def turns(prompt: Prompt) -> list[tuple[str, str]]:
    """Role and text of every turn, the open one included."""
    blocks = text_of(prompt.pieces).split("<|im_start|>")[1:]
    cut = (block.removesuffix("<|im_end|>\n").partition("\n") for block in blocks)
    return [(role, text) for role, _, text in cut]


def user(text: str) -> Message:
    return Message("user", text)


def ava(text: str) -> Message:
    return Message("assistant", text)


def book(*entries: LoreEntry, **fields) -> Lorebook:
    return Lorebook(entries=entries, **fields)


def test_a_persona_with_only_a_name_gets_the_default_instructions(prompt):
    assert turns(prompt(Persona(name="Ava"), user("Hi."))) == [
        ("system", DEFAULT),
        ("user", "Hi."),
        ("assistant", ""),
    ]


def test_the_system_turn_has_its_parts_in_order(prompt):
    persona = Persona(
        name="Ava",
        description="{{char}} keeps a light.",
        personality="calm",
        scenario="Night.",
        lorebook=book(
            LoreEntry(content="After.", constant=True, position="after_char"),
            LoreEntry(content="Second.", constant=True, insertion_order=2),
            LoreEntry(content="First.", constant=True, insertion_order=1),
            LoreEntry(content="@@position after_desc\nDescribed.", constant=True),
            LoreEntry(content="@@position personality\nMood.", constant=True),
            LoreEntry(content="@@position scenario\nPlace.", constant=True),
        ),
        response_format={"type": "object"},
    )

    system = turns(prompt(persona, user("Hi."), tools=BUILT_IN[:1]))[0][1].split("\n\n")

    assert system[:9] == [
        DEFAULT,
        "First.",
        "Second.",
        "Ava keeps a light.",
        "Described.",
        "Ava's personality: calm",
        "Mood.",
        "Scenario: Night.",
        "Place.",
    ]
    assert system[9] == "After."
    assert system[10].startswith("You are a function calling AI model.")
    assert system[11].startswith("You are a helpful assistant that answers in JSON.")
    assert len(system) == 12


def test_the_persona_can_replace_or_quote_the_default_instructions(prompt):
    replaced = prompt(Persona(name="Ava", system_prompt="Be brief, {{char}}."), user("Hi."))
    quoted = prompt(Persona(name="Ava", system_prompt="{{original}} Be brief."), user("Hi."))

    assert turns(replaced)[0] == ("system", "Be brief, Ava.")
    assert turns(quoted)[0] == ("system", f"{DEFAULT} Be brief.")


def test_examples_are_turns_before_the_conversation(prompt):
    persona = Persona(name="Ava", examples="<START>\n{{user}}: Hi.\n{{char}}: Hi, {{user}}!")

    assert turns(prompt(persona, user("Now.")))[1:] == [
        ("user", "Hi."),
        ("assistant", "Hi, Ben!"),
        ("user", "Now."),
        ("assistant", ""),
    ]


def test_examples_that_are_no_turns_stand_in_the_system_turn(prompt):
    persona = Persona(name="Ava", examples="Ava speaks slowly.")

    assert turns(prompt(persona, user("Hi.")))[0] == (
        "system",
        f"{DEFAULT}\n\nExample dialogue:\nAva speaks slowly.",
    )


def test_instructions_after_the_conversation_stand_last(prompt):
    persona = Persona(name="Ava", post_history_instructions="{{original}}Stay {{char}}.")

    assert turns(prompt(persona, user("Hi.")))[-2:] == [("system", "Stay Ava."), ("assistant", "")]


def test_a_prefill_leaves_the_reply_open(prompt):
    found = prompt(Persona(name="Ava"), user("Hi."), prefill="Once upon")

    assert found.prefill == "Once upon"
    assert text_of(found.pieces).endswith("<|im_start|>assistant\nOnce upon")


def test_calls_and_results_are_told_as_the_model_knows_them(prompt):
    found = prompt(
        Persona(name="Ava"),
        user("Roll."),
        Message("assistant", "", tool_calls=(ToolCall("1", "roll_dice", '{"notation":"d6"}'),)),
        Message("tool", "", tool_results=(ToolResult("1", "roll_dice", '{"total": 3}'),)),
        tools=BUILT_IN,
    )

    assert turns(found)[2:4] == [
        (
            "assistant",
            '<tool_call>\n{"arguments": {"notation": "d6"}, "name": "roll_dice"}\n</tool_call>',
        ),
        (
            "tool",
            '<tool_response>\n{"name": "roll_dice", "content": {"total": 3}}\n</tool_response>',
        ),
    ]
    assert found.tool_names == ("roll_dice", "current_time", "calculate")


@pytest.mark.parametrize(
    ("depth", "place"),
    [
        pytest.param(0, 4, id="after the newest"),
        pytest.param(1, 3, id="before the newest"),
        pytest.param(99, 1, id="before the oldest"),
        pytest.param(-1, 4, id="below nought"),
    ],
)
def test_lore_stands_at_its_depth(prompt, depth, place):
    entry = LoreEntry(content=f"@@depth {depth}\n@@role user\nRain.", constant=True)
    persona = Persona(name="Ava", lorebook=book(entry))

    found = turns(prompt(persona, user("a"), ava("b"), user("c")))

    assert found.index(("user", "Rain.")) == place


def test_lore_of_one_depth_and_role_shares_a_turn(prompt):
    persona = Persona(
        name="Ava",
        lorebook=book(
            LoreEntry(content="@@depth 0\nB.", constant=True, insertion_order=2),
            LoreEntry(content="@@depth 0\nA.", constant=True, insertion_order=1),
            LoreEntry(content="@@depth 0\n@@role assistant\nC.", constant=True),
        ),
    )

    assert turns(prompt(persona, user("Hi.")))[2:] == [
        ("assistant", "C."),
        ("system", "A.\nB."),
        ("assistant", ""),
    ]


def test_lore_never_stands_between_a_call_and_its_result(prompt):
    persona = Persona(
        name="Ava", lorebook=book(LoreEntry(content="@@depth 1\nRain.", constant=True))
    )

    found = prompt(
        persona,
        user("Roll."),
        Message("assistant", "", tool_calls=(ToolCall("1", "roll_dice"),)),
        Message("tool", "", tool_results=(ToolResult("1", "roll_dice", "3"),)),
    )

    assert [role for role, _ in turns(found)] == [
        *("system", "user", "system", "assistant", "tool", "assistant")
    ]


def test_lore_speaks_when_its_key_is_said(prompt):
    persona = Persona(
        name="Ava",
        lorebook=book(
            LoreEntry(keys=("harbour",), content="The harbour is old.", name="Harbour"),
            LoreEntry(keys=("dragon",), content="No dragons."),
        ),
    )

    found = prompt(persona, user("Where is the harbour?"))

    assert "The harbour is old." in turns(found)[0][1]
    assert "No dragons." not in turns(found)[0][1]
    assert [(each.entry, each.included) for each in found.lore] == [
        ("Harbour", True),
        ("dragon", False),
    ]


def test_lore_keeps_to_the_budget_of_its_book(prompt):
    persona = Persona(
        name="Ava",
        lorebook=book(
            LoreEntry(content="Much. " * 40, constant=True, priority=1),
            LoreEntry(content="Little.", constant=True, priority=2),
            token_budget=40,
        ),
    )

    found = prompt(persona, user("Hi."))

    assert [decision.included for decision in found.lore] == [False, True]
    assert "Much." not in text_of(found.pieces)


def test_replies_that_are_not_read_count_for_lore_all_the_same(prompt):
    entry = LoreEntry(content="@@activate\n@@activate_only_after {n}\nLate.")
    talk = [user("a") if place % 2 else ava("b") for place in range(40)]

    for after, is_in in ((20, True), (21, False)):
        content = entry.content.replace("{n}", str(after))
        persona = Persona(name="Ava", lorebook=book(LoreEntry(content=content)))
        assert prompt(persona, *talk).lore[0].included is is_in


def test_the_greeting_in_use_decides_about_lore(prompt):
    entry = LoreEntry(content="@@activate\n@@is_greeting 1\nStorm.")
    persona = Persona(name="Ava", lorebook=book(entry))

    assert prompt(persona, user("Hi."), greeting_index=1).lore[0].included
    assert not prompt(persona, user("Hi.")).lore[0].included


def test_counts_are_exact(prompt, encoder):
    found = prompt(Persona(name="Ava", description="Quiet."), ava("Hello."), user("Hi."))

    assert found.tokens == len(encoder.ids(found.pieces))
    assert found.system_tokens == len(encoder.ids(found.pieces[:4]))
    assert (found.kept, found.dropped) == (2, 0)


@pytest.mark.parametrize("budget", range(150, 600, 7))
def test_the_prompt_never_exceeds_its_budget(prompt, budget):
    persona = Persona(
        name="Ava",
        description="Keeps a light.",
        examples="<START>\n{{user}}: Hi.\n{{char}}: Hello.\n<START>\nSlowly.",
        lorebook=book(
            *(LoreEntry(content=f"Fact {n}. " * 3, constant=True, priority=n) for n in range(6)),
            LoreEntry(content="@@depth 2\nRain.", constant=True),
        ),
    )
    talk = [user(f"question {n} " * 3) if n % 2 else ava(f"answer {n} " * 3) for n in range(20)]

    found = prompt(persona, *talk, budget=budget)

    assert found.tokens < budget
    assert found.kept + found.dropped == 20
    assert turns(found)[-2][1] == talk[-1].content or turns(found)[-3][1] == talk[-1].content


def test_old_messages_make_room(prompt):
    talk = [user("word " * 20) if place % 2 else ava("word " * 20) for place in range(100)]

    found = prompt(Persona(name="Ava"), *talk, budget=900)

    assert 0 < found.kept < 100
    assert found.kept + found.dropped == 100


def test_only_what_fits_is_read(prompt):
    read = []

    def items():
        for place in reversed(range(1, 10_000, 1)):
            read.append(place)
            yield HistoryItem(place, user("word " * 20))

    found = build(
        Persona(name="Ava"),
        items(),
        user="Ben",
        budget=900,
        count=lambda pieces: len(text_of(pieces)) // 4,
        seed=1,
        now=NOW,
    )

    assert found.dropped > 9_900
    assert len(read) < 100


def test_what_cannot_fit_is_said(prompt):
    with pytest.raises(ContextOverflow) as overflow:
        prompt(Persona(name="Ava"), user("word " * 500), budget=300)

    assert overflow.value.needed > overflow.value.available


def test_the_prompt_begins_the_same_from_turn_to_turn(prompt):
    persona = Persona(name="Ava", description="{{random:tall,small,old}}, {{roll:1000}}.")
    talk = [user(f"question {n}") if n % 2 else ava(f"answer {n}") for n in range(200)]

    texts = [text_of(prompt(persona, *talk[:n], budget=600).pieces) for n in range(100, 200, 2)]

    shared = [
        later.startswith(earlier.removesuffix("<|im_start|>assistant\n"))
        for earlier, later in pairwise(texts)
    ]
    assert shared.count(False) <= len(shared) / 3


def test_draws_are_recorded_and_fixed_by_the_seed(prompt):
    persona = Persona(name="Ava", description="{{roll:1000}}", scenario="{{random:a,b}}")

    found = prompt(persona, user("Hi."))

    assert [draw.macro for draw in found.draws] == ["{{roll:1000}}", "{{random:a,b}}"]
    assert found == prompt(persona, user("Hi."))
    assert found.draws != prompt(persona, user("Hi."), seed=2).draws


def test_what_was_said_is_not_expanded(prompt):
    found = prompt(Persona(name="Ava"), user("{{char}} {{random:a,b}} <USER>"))

    assert turns(found)[1] == ("user", "{{char}} {{random:a,b}} <USER>")


@pytest.mark.parametrize(
    ("name", "stop", "shown"),
    [
        pytest.param("Ben", ("\nBen:",), "Ben", id="a name"),
        pytest.param("B", (), "B", id="one letter"),
        pytest.param(" Ben\n\nTern ", ("\nBen Tern:",), "Ben Tern", id="lines"),
        pytest.param("", ("\nTraveller:",), "Traveller", id="no name"),
        pytest.param("x" * 500, ("\n" + "x" * 100 + ":",), "x" * 100, id="too long"),
    ],
)
def test_the_model_stops_before_it_speaks_for_the_user(prompt, name, stop, shown):
    persona = Persona(name="Ava", user_name="Traveller", system_prompt="{{user}}")

    found = prompt(persona, user("Hi."), user=name)

    assert found.stop == stop
    assert turns(found)[0][1] == shown


def test_a_prompt_can_be_recorded_as_json(prompt):
    persona = Persona(name="Ava", lorebook=book(LoreEntry(constant=True, content="{{roll:6}}")))

    found = prompt(persona, user("Hi."))

    assert json.loads(json.dumps([asdict(found.lore[0]), asdict(found.draws[0])]))


def test_greetings_are_expanded():
    persona = Persona(
        name="Ava",
        nickname="A.",
        greeting="{{char}} to {{user}}",
        alternate_greetings=("{{roll:9}}",),
    )

    first, no_draws = expand_greeting(persona, 0, user="Ben", seed=1, now=NOW)
    second, draws = expand_greeting(persona, 1, user="Ben", seed=1, now=NOW)

    assert (first, no_draws) == ("A. to Ben", ())
    assert [draw.result for draw in draws] == [second]
    for index in (2, -1):
        with pytest.raises(IndexError):
            expand_greeting(persona, index, user="Ben", seed=1, now=NOW)
