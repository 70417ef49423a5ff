"""A persona's text changed field by field."""

import pytest

from hermes_ui.personas import draft

AVA = """\
# Kept by hand.
name: Ava # the keeper
# Who she is
description: |
  Keeps the light.

  Never sleeps.
version: 1.10
somebody_elses: {depth: 4, note: '5'}
"""


def changed(name, value, text=AVA):
    return draft.with_field(text, draft.read(text), name, value)[0]


def test_a_change_rewrites_only_its_own_lines():
    assert changed("name", "Eve") == AVA.replace("name: Ava # the keeper", "name: Eve")


def test_a_text_of_several_lines_is_replaced_whole():
    after = changed("description", "Gone.")

    assert after == AVA.replace("|\n  Keeps the light.\n\n  Never sleeps.", "Gone.")


def test_a_new_field_stands_where_the_model_has_it():
    assert changed("greeting", "Hello: you") == AVA.replace(
        "version:", "greeting: 'Hello: you'\nversion:"
    )


def test_a_field_taken_away_leaves_its_neighbours_comments():
    after = changed("description", None)

    assert "# Who she is\nversion: 1.10" in after


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{name: Ava, version: 1.10}", id="flow style"),
        pytest.param('"name": Ava\nversion: 1.10', id="quoted key, no last newline"),
        pytest.param("name: Ava\r\nversion: 1.10\r\n", id="Windows line ends"),
        pytest.param("--- # head\nname: Ava\nversion: 1.10\n...\n", id="document markers"),
        pytest.param("name: >-\n  Ava\n\n\nversion: 1.10\n\n\n", id="blank lines"),
    ],
)
def test_whatever_the_style_a_change_reads_back(text):
    after = changed("greeting", "one\ntwo", text)

    assert draft.read(after) == {"name": "Ava", "version": "1.10", "greeting": "one\ntwo"}


def test_a_number_written_by_hand_keeps_its_digits_beside_a_change():
    text = "extensions:\n  other: {version: 1.10, word: '1.10'}\n"
    inner = draft.read(text)["extensions"]

    after = changed("extensions", inner | {"more": "x"}, text)

    assert "version: 1.10\n" in after
    assert "word: '1.10'" in after


def test_the_last_field_may_go():
    assert draft.read(changed("name", None, "name: Ava\n")) == {}
