import pytest

from hermes_ui.prompt.examples import ExampleBlock, example_blocks


def blocks(text: str) -> list[ExampleBlock]:
    return example_blocks(text, ["Ava", "Ava Tern"], "Ben")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{{user}}: Hi.\n{{char}}: Hello.", id="macros"),
        pytest.param("<START>\n<USER>: Hi.\n<BOT>: Hello.", id="old macros"),
        pytest.param("<start>Ben: Hi.\n\nAva: Hello.\n\n<START>", id="names"),
        pytest.param("You: Hi.\r\nAva Tern :Hello.\r\n", id="Windows lines"),
    ],
)
def test_lines_with_names_are_turns(text):
    assert blocks(text) == [ExampleBlock((("user", "Hi."), ("assistant", "Hello.")))]


def test_a_message_goes_on_until_the_next_name():
    found = blocks("{{char}}: One.\n\nNote: two.\n{{user}}: Three.")

    assert found == [ExampleBlock((("assistant", "One.\n\nNote: two."), ("user", "Three.")))]


def test_each_start_begins_a_block():
    assert len(blocks("<START>{{char}}: a<START>\n\n<START>{{char}}: b")) == 2


def test_what_cannot_be_read_as_turns_is_kept_as_text():
    assert blocks("Ava likes rain.\n{{char}}: Rain!") == [
        ExampleBlock(text="Ava likes rain.\n{{char}}: Rain!")
    ]


def test_a_speaker_who_says_nothing_has_no_turn():
    assert blocks("{{user}}:\n{{char}}: Hello.") == [ExampleBlock((("assistant", "Hello."),))]


def test_macros_in_what_is_said_stay_for_later():
    assert blocks("{{char}}: I am {{char}}.")[0].turns == (("assistant", "I am {{char}}."),)


def test_a_block_in_which_nobody_says_anything_is_none():
    assert blocks("{{user}}:\n{{char}}:\n") == []
