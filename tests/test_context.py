import pytest

from hermes_ui.errors import ContextOverflow
from hermes_ui.messages import Message, Role
from hermes_ui.prompt.context import Fitted, HistoryItem, Lookback, fit


def talk(*lengths: int, start: int = 0) -> list[HistoryItem]:
    """A conversation: a message of so many letters each, the last one the user's."""
    messages = []
    for place, length in enumerate(lengths):
        role: Role = "user" if (len(lengths) - place) % 2 else "assistant"
        messages.append(HistoryItem(start + place, Message(role, "x" * length)))
    return messages


def letters(message: Message) -> int:
    return len(message.content)


def fitted(items: list[HistoryItem], **limits) -> Fitted:
    return fit(Lookback(reversed(items), letters), **({"fixed": 0} | limits))


def kept(items: list[HistoryItem], **limits) -> list[int]:
    return [item.index for item in fitted(items, **limits).items]


def test_everything_stays_that_fits():
    assert kept(talk(1, 2, 3), budget=6) == [0, 1, 2]


def test_the_oldest_message_goes_first():
    assert kept(talk(1, 2, 3), budget=5) == [1, 2]


def test_a_message_is_never_cut():
    assert kept(talk(5, 3), budget=7) == [1]


def test_messages_are_the_last_to_go():
    found = fitted(talk(2, 2), budget=10, lore=[3, 3, 3], lore_share=6, examples=[1, 1])

    assert found == Fitted(2, 0, tuple(talk(2, 2)))


def test_the_last_examples_go_first():
    assert fitted(talk(2), budget=7, examples=[2, 2, 2]).examples == 2


def test_no_example_is_skipped_for_a_later_one():
    assert fitted(talk(2), budget=6, examples=[2, 5, 1]).examples == 1


def test_examples_go_before_any_message():
    found = fitted(talk(4, 4, 4), budget=8, examples=[1])

    assert (found.examples, len(found.items)) == (0, 2)


def test_lore_of_the_lowest_rank_goes_first():
    assert fitted(talk(1), budget=100, lore=[5, 1, 1], lore_share=6).lore == 2


def test_lore_within_its_share_outlives_old_messages():
    found = fitted(talk(4, 4, 4), budget=10, lore=[3], lore_share=3)

    assert (found.lore, [item.index for item in found.items]) == (1, [2])


def test_lore_goes_before_what_must_stay():
    found = fitted(talk(9, 9), budget=10, lore=[1, 1], lore_share=5)

    assert (found.lore, [item.index for item in found.items]) == (1, [1])


def test_the_newest_user_message_and_all_after_it_must_stay():
    items = [
        HistoryItem(0, Message("user", "xxx")),
        HistoryItem(1, Message("assistant", "xxx")),
        HistoryItem(2, Message("tool", "xxx")),
    ]

    with pytest.raises(ContextOverflow) as overflow:
        fitted(items, budget=9, fixed=1)

    assert (overflow.value.needed, overflow.value.available) == (10, 9)


def test_a_greeting_alone_must_stay():
    greeting = HistoryItem(0, Message("assistant", "xxxx"))

    with pytest.raises(ContextOverflow):
        fitted([greeting], budget=3)


def test_an_empty_conversation_fits():
    assert fitted([], budget=0) == Fitted(0, 0, ())


def test_a_result_is_not_kept_without_its_call():
    items = talk(1, 1, 1, 1)
    items[1] = HistoryItem(1, Message("tool", "x"))
    items[2] = HistoryItem(2, Message("tool", "x"))

    assert kept(items, budget=3) == [3]


def test_the_start_moves_in_steps_of_eight():
    starts = [kept(talk(*[1] * length), budget=40)[0] for length in range(41, 81)]

    assert starts == sorted(starts)
    assert {start % 8 for start in starts} == {0}
    assert all(starts.count(start) == 8 for start in set(starts[8:-8]))


def test_steps_count_from_the_root():
    assert kept(talk(*[1] * 60, start=3), budget=40)[0] == 24


def test_a_step_never_costs_more_than_a_quarter_of_what_fits():
    for fitting in range(1, 40):
        assert len(kept(talk(*[1] * 50), budget=fitting)) >= fitting * 3 / 4


def test_the_conversation_is_read_only_as_far_as_it_fits():
    read = []

    def items():
        for item in reversed(talk(*[1] * 1000)):
            read.append(item)
            yield item

    fit(Lookback(items(), letters), budget=10, fixed=0)

    assert len(read) == 11


def test_looking_back_again_reads_nothing_twice():
    once = iter(reversed(talk(1, 2, 3)))
    history = Lookback(once, letters)

    assert history.newest(2) == history.newest(2)
    assert [tokens for _, tokens in history] == [3, 2, 1]
