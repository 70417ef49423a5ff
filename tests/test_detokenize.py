"""Ids to text where words bear their blank and unknown characters are single bytes, as with
the tokenizers of Llama 2 and Mistral.
"""

import pytest
from tokenizers import Tokenizer, decoders, models

from hermes_ui.generation.detokenize import Detokenizer

WORDS = ("▁I", "▁am", "▁going", "a", "▁home")
IDS = {f"<0x{byte:02X}>": byte for byte in range(256)} | {
    word: 256 + place for place, word in enumerate(WORDS)
}


@pytest.fixture(scope="module")
def backend():
    backend = Tokenizer(models.BPE(IDS, [], unk_token="a", byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return backend


def said(backend, ids, before=()):
    detokenizer = Detokenizer(backend, frozenset(), before)
    return "".join(map(detokenizer.feed, ids)) + detokenizer.flush()


def test_a_reply_begins_without_the_blank_of_its_first_word(backend):
    assert said(backend, [IDS["▁I"], IDS["▁am"]]) == "I am"


def test_a_reply_that_goes_on_keeps_the_blank_of_its_first_word(backend):
    assert said(backend, [IDS["▁going"], IDS["▁home"]], [IDS["▁am"]]) == " going home"


def test_bytes_become_their_character(backend):
    assert said(backend, [*"€".encode(), IDS["▁home"]]) == "€ home"


@pytest.mark.parametrize("broken", [b"\xff", b"\xf0\x9f"])
def test_bytes_that_become_no_character_are_shown_as_such(backend, broken):
    text = said(backend, [*"€".encode(), *broken, IDS["a"], IDS["▁home"]])

    assert text.replace("\ufffd", "") == "€a home"
    assert "\ufffd" in text


def test_nul_is_shown_as_what_cannot_be_shown(backend):
    assert said(backend, [IDS["a"], 0, IDS["a"]]) == "a\ufffda"
