"""The byte-level BPE tokenizer: any text round-trips exactly; four tokens of ChatML are special.

The chat template does what Hermes 3's does: BOS once, a default system turn where none is
given, nothing trimmed.
"""

import re
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.dialogue import Turn

BOS, END_OF_TEXT, IM_START, IM_END = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|im_start|>",
    "<|im_end|>",
)
SPECIAL = (BOS, END_OF_TEXT, IM_START, IM_END)

# Words that say how others belong together. They carry the spaces around them, so that no other
# word does: a name, a number, a value or a part of a function's name is the same tokens after a
# space, a quote, an underscore and a line's start, and a small model can copy it between them.
JOINING = """
a about after again all also always am among an and any are as at away back be because been
before behind but by can cannot come could did do does done down ever every everything for from
get give go had has have he her here him his how i if in into is it its just know last let like
made make many may me might mine more most much must my near never new no nobody not nothing now
of off old on once one only or other our out over own people please put really said say see shall
she should so some somebody something still such take tell than thank that the their them then
there these they thing think this those time to today together too two under until up us very
want was way we well went were what when where which who whom whose why will with without would
yes yet you your yours
"""

# What is never merged across.
PIECES = "|".join((
    r"'(?:[sdmt]|ll|re|ve)\b ?",
    rf" ?(?i:{'|'.join(JOINING.split())})\b ?",
    r"\p{Ll}+",
    r"\p{Lu}\p{Ll}+|\p{Lu}+",
    r"\p{N}",  # a number is copied digit by digit
    r" ?[^\s\p{L}\p{N}]+ ?",
    r"\s+(?!\S)|\s",
))  # fmt: skip

# A schema's list of keys says again, in order, which keys came before it, as a filled form
# does: it is practice that costs nothing, since the prompt is read anyway.
KEYS_AGAIN = re.compile(r'"required": (\[.*?\])')

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, max_length: int
) -> PreTrainedTokenizerFast:
    """A tokenizer with `vocabulary` entries, the special tokens included."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=16,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


class Encoder:
    """Documents to ids, and how much each of them is learned. Text is never control."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.encode_special_tokens = True
        self.bos, self.pad, self.start, self.end = (
            tokenizer.convert_tokens_to_ids(name) for name in SPECIAL
        )
        self._newline = self.text("\n")
        self._roles: dict[str, list[int]] = {}  # what opens a turn

    def text(self, text: str) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def opening(self, role: str) -> list[int]:
        """What a turn begins with."""
        if role not in self._roles:
            self._roles[role] = [self.start, *self.text(f"{role}\n")]
        return self._roles[role]

    def document(self, turns: Iterable[Turn]) -> tuple[list[int], list[float], list[int]]:
        """Ids with BOS, how much each is learned, and where turns begin."""
        ids, learned, borders = [self.bos], [0.0], []
        turns = [*turns]
        texts = [f"{turn.text}\n" if turn.role == "list" else turn.text for turn in turns]
        every = self._backend.encode_batch(texts, add_special_tokens=False)
        for turn, encoded in zip(turns, every, strict=True):
            borders.append(len(ids))
            if turn.role == "list":
                before, after = [], encoded.ids
                marks = [turn.learned] * len(after)
            else:
                before = self.opening(turn.role)
                after = [*encoded.ids, self.end]
                marks = [turn.learned] * len(after)
                if turn.role == "system":
                    marks = [*_keys_again(turn.text, encoded.offsets), 0.0]
            ids += before + after
            learned += [0.0] * len(before) + marks
            if turn.role != "list":
                ids += self._newline
                learned += [0.0] * len(self._newline)
        return ids, learned, borders


def _keys_again(text: str, places: Sequence[tuple[int, int]]) -> list[float]:
    """For each token of `text`, by its place, 1 where it lies in a schema's list of its keys."""
    spans = [match.span(1) for match in KEYS_AGAIN.finditer(text)]
    return [float(any(first <= start < last for first, last in spans)) for start, _ in places]
