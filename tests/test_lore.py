from datetime import datetime

import pytest

from hermes_ui.messages import Message
from hermes_ui.personas.persona import Lorebook, LoreEntry
from hermes_ui.prompt.lore import Consulted, Scene, consult, scanned_messages
from hermes_ui.prompt.macros import MacroContext

NOW = datetime(2026, 9, 28, 17, 3)


def ask(
    *entries: LoreEntry,
    said: str | list[str] = "",
    scene: dict | None = None,
    seed: int = 1,
    **book,
) -> Consulted:
    """What a book of `entries` says to messages, oldest first."""
    texts = [said] if isinstance(said, str) else said
    messages = tuple(Message("user", text) for text in reversed(texts))
    return consult(
        Lorebook(entries=entries, **book),
        Scene(messages, **({"replies": 0} | (scene or {}))),
        MacroContext("Ava", "Ben", seed=seed, now=NOW),
        len,
    )


def entry(*keys: str, content: str = "text", **fields) -> LoreEntry:
    return LoreEntry(keys=keys, content=content, **fields)


def speaks(found: Consulted) -> bool:
    (decision,) = found.decisions
    assert decision.why
    assert decision.included is bool(found.texts)
    return decision.included


@pytest.mark.parametrize(
    ("key", "said", "is_in"),
    [
        pytest.param("harbour", "The Harbour, then.", True, id="either case"),
        pytest.param("cat", "concatenate", False, id="part of a word"),
        pytest.param("cat", "concatenate a cat", True, id="later as a word"),
        pytest.param("old harbour", "the old harbour.", True, id="several words"),
        pytest.param("港", "古い港です", True, id="a script without spaces"),
        pytest.param("STRASSE", "die straße", True, id="folded letters"),
        pytest.param("cafe\u0301", "café", True, id="composed letters"),
        pytest.param("C++", "I write C++ here", True, id="marks at the end"),
        pytest.param("", "anything", False, id="an empty key"),
        pytest.param("  ", "any  thing", False, id="a blank key"),
        pytest.param("{{user}}", "Tell Ben.", True, id="a macro"),
        pytest.param("/drag(on|oness)s?/i", "two Dragons", True, id="a pattern"),
        pytest.param("/drag(on|oness)s?/", "two Dragons", False, id="a pattern with case"),
    ],
)
def test_keys_are_found_as_words(key, said, is_in):
    assert speaks(ask(entry(key), said=said)) is is_in


def test_case_counts_when_the_entry_says_so():
    rose = entry("Rose", case_sensitive=True)

    assert not speaks(ask(rose, said="a rose"))
    assert speaks(ask(rose, said="dear Rose"))


def test_a_selective_entry_needs_a_secondary_key():
    wanted = entry("king", secondary_keys=("north", "south"), selective=True)

    assert not speaks(ask(wanted, said="the king"))
    assert speaks(ask(wanted, said="the king of the south"))


def test_secondary_keys_do_not_count_unless_the_entry_is_selective():
    assert speaks(ask(entry("king", secondary_keys=("north",)), said="the king"))


def test_a_constant_entry_always_speaks():
    assert speaks(ask(entry(constant=True)))


def test_patterns_ignore_constant_and_secondary_keys():
    wanted = entry("kings?", use_regex=True, constant=True, selective=True, secondary_keys=("x",))

    assert not speaks(ask(wanted, said="a queen"))
    assert speaks(ask(wanted, said="two kings"))


def test_a_broken_pattern_is_told_and_does_not_match():
    found = ask(entry("/(a+)+(?=b)/"), said="aaaa")

    assert not speaks(found)
    assert "pattern" in found.decisions[0].why


def test_a_disabled_entry_never_speaks():
    assert not speaks(ask(entry("x", constant=True, enabled=False), said="x"))


def test_an_empty_entry_says_nothing():
    found = ask(entry("x", content="{{// only a note}}"), said="x")

    assert not speaks(found)
    assert found.decisions[0].why == "it is empty"


def test_only_the_last_messages_are_scanned():
    said = ["dragon", "a", "b"]

    assert not speaks(ask(entry("dragon"), said=said, scan_depth=2))
    assert speaks(ask(entry("dragon"), said=said, scan_depth=3))
    assert not speaks(ask(entry("dragon"), said=said, scan_depth=0))


def test_an_entry_can_scan_further_than_its_book():
    wanted = entry("dragon", content="@@scan_depth 3\ntext")

    assert speaks(ask(wanted, said=["dragon", "a", "b"], scan_depth=1))
    assert scanned_messages(Lorebook(entries=(wanted,), scan_depth=1)) == 3


def test_a_key_does_not_span_two_messages():
    assert not speaks(ask(entry("old harbour"), said=["old", "harbour"]))


def test_entries_wake_entries_when_the_book_says_so():
    chain = (
        entry("a", content="see bee"),
        entry("bee", content="{{hidden_key:sea}}"),
        entry("sea", content="{{// secret}}the end"),
        entry("secret"),
    )

    asleep = ask(*chain, said="a")
    awake = ask(*chain, said="a", recursive_scanning=True)

    assert [decision.included for decision in asleep.decisions] == [True, False, False, False]
    assert [text.number for text in awake.texts] == [0, 2]
    assert awake.decisions[3].why == "no key was found"


def test_a_woken_entry_is_scanned_as_it_is_told():
    chain = (entry("x", content="{{random:red,blue}}"), entry("red"), entry("blue"))

    for seed in range(8):
        first, second = ask(*chain, said="x", recursive_scanning=True, seed=seed).texts
        assert chain[second.number].keys == (first.text,)


def test_patterns_see_the_messages_below_what_entries_say():
    long = entry("x", content="word " * 5_000)
    found = ask(long, entry("/x/"), said="x", recursive_scanning=True)

    assert len(found.texts) == 2


def test_entries_that_wake_each_other_come_to_an_end():
    ring = [entry(f"k{n}", content=f"k{n + 1}") for n in range(50)]

    found = ask(*ring, said="k0", recursive_scanning=True)

    assert 2 < len(found.texts) <= 10


def test_macros_in_entries_are_expanded():
    assert ask(entry("x", content="{{char}} knows."), said="x").texts[0].text == "Ava knows."


def test_the_best_entry_has_the_highest_priority_and_then_order():
    found = ask(
        entry(constant=True, priority=1, insertion_order=9),
        entry(constant=True, priority=2, insertion_order=1),
        entry(constant=True, priority=2, insertion_order=5),
        entry(constant=True, priority=9, content="@@ignore_on_max_context\ntext"),
    )

    assert [text.number for text in found.texts] == [2, 1, 0, 3]


def test_what_does_not_fit_is_decided_against():
    found = ask(entry("a", priority=1), entry("b", priority=2), said="a b")

    texts, decisions = found.keeping(1)

    assert [text.number for text in texts] == [1]
    assert [decision.included for decision in decisions] == [False, True]
    assert "budget" in decisions[0].why


def test_tokens_are_those_of_the_text():
    assert ask(entry("a", content="@@depth 2\nfive!"), said="a").decisions[0].tokens == 5


@pytest.mark.parametrize(
    ("content", "scene", "is_in"),
    [
        ("@@activate\nt", {}, True),
        ("@@activate\n@@dont_activate\nt", {}, True),
        ("@@activate_only_after 3\nt", {"replies": 2}, False),
        ("@@activate_only_after 3\n@@activate\nt", {"replies": 3}, True),
        ("@@activate\n@@activate_only_every 3\nt", {"replies": 4}, False),
        ("@@activate\n@@activate_only_every 3\nt", {"replies": 6}, True),
        ("@@activate\n@@is_greeting 1\nt", {"greeting": 1}, True),
        ("@@activate\n@@is_greeting 1\nt", {"greeting": 0}, False),
        ("@@activate\n@@is_greeting 0\nt", {}, False),
        ("@@activate\n@@additional_keys north,south\nt", {}, True),
        ("@@activate\n@@additional_keys east\nt", {}, False),
        ("@@activate\n@@exclude_keys south\nt", {}, False),
        ("@@activate\n@@exclude_keys east\nt", {}, True),
    ],
)
def test_decorators_decide(content, scene, is_in):
    assert speaks(ask(entry(content=content), said="north and south", scene=scene)) is is_in


def test_an_entry_that_asks_not_to_be_used_is_not():
    assert not speaks(ask(entry("x", content="@@dont_activate\nt"), said="x"))


def test_position_wins_over_depth():
    (text,) = ask(entry("x", content="@@depth 2\n@@position scenario\nt"), said="x").texts

    assert (text.slot, text.depth) == ("scenario", None)


def test_a_thousand_entries_are_looked_for_in_a_long_text():
    book = [entry(f"key{n}", "a", content="t") for n in range(1_000)]

    found = ask(*book, said="a" * 60_000 + " key7")

    assert [text.number for text in found.texts] == [7]
