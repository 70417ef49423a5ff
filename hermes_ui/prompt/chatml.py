"""ChatML as pieces: control tokens that we place, and text that can never become one.

A turn is `<|im_start|>role\\ntext<|im_end|>\\n`. Text is encoded by a copy of the tokenizer
that looks for no special tokens, so what a stranger writes cannot open or close a turn; for
ordinary text the ids are those of the model's own chat template.
Format: https://huggingface.co/NousResearch/Hermes-3-Llama-3.2-3B, "Prompt Format".
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from hermes_ui.errors import ModelError


class Control(str):
    """One special token, spelled the way the tokenizer spells it."""

    __slots__ = ()


IM_START = Control("<|im_start|>")
IM_END = Control("<|im_end|>")

Pieces = tuple[str, ...]  # Control tokens and plain text, in order

CACHED_CHARACTERS = 4_000_000  # with their ids about 40 MB
PIECE_OVERHEAD = 100  # characters that an entry costs beside its text


class Tokenizer(Protocol):
    """The part of a transformers fast tokenizer that is used."""

    @property
    def backend_tokenizer(self) -> Any: ...

    @property
    def bos_token_id(self) -> int | None: ...


def turn(role: str, text: str) -> Pieces:
    """One closed turn."""
    return (IM_START, well_formed(f"{role}\n{text}"), IM_END, "\n")


def opening(role: str, prefill: str = "") -> Pieces:
    """A turn that the model goes on with, after `prefill`."""
    return (IM_START, well_formed(f"{role}\n{prefill}"))


def text_of(pieces: Pieces) -> str:
    """The prompt as one text, for people and logs; encoding it would make text control."""
    return "".join(pieces)


def well_formed(text: str) -> str:
    """`text` with U+FFFD in place of lone surrogates, which no tokenizer or file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def with_bos(ids: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """`ids` with BOS in front exactly once, for a tokenizer that has one."""
    bos = tokenizer.bos_token_id
    if bos is None or (ids and ids[0] == bos):
        return list(ids)
    return [bos, *ids]


def encode(pieces: Pieces, tokenizer: Tokenizer) -> list[int]:
    """The ids of one prompt, without BOS. For more than one, keep a `PieceEncoder`."""
    return PieceEncoder(tokenizer).ids(pieces)


class PieceEncoder:
    """Pieces to ids, remembering what it has encoded. Safe to share between threads.

    Works on a copy of the tokenizer: transformers' `split_special_tokens` is a switch on
    the shared tokenizer, which another thread may flip between setting and encoding.

    Raises:
        ModelError: the tokenizer does not have ChatML's two tokens.
    """

    def __init__(self, tokenizer: Tokenizer, *, cached_characters: int = CACHED_CHARACTERS) -> None:
        self._backend = _blind_copy(tokenizer.backend_tokenizer)
        self._control_ids = {str(name): self._id_of(name) for name in (IM_START, IM_END)}
        added: dict[int, Any] = self._backend.get_added_tokens_decoder()
        self._special = {id_: token.content for id_, token in added.items() if token.special}
        self._special |= {id_: name for name, id_ in self._control_ids.items()}
        self._special_ids = frozenset(self._special)
        self._cache: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._room = cached_characters
        self._lock = threading.Lock()

    def ids(self, pieces: Pieces) -> list[int]:
        """Token ids of `pieces`, without BOS."""
        ids: list[int] = []
        for part in self._parts(pieces):
            ids.extend(part)
        return ids

    def count(self, pieces: Pieces) -> int:
        """How many ids `pieces` have, without BOS."""
        return sum(map(len, self._parts(pieces)))

    def _parts(self, pieces: Pieces) -> Iterable[tuple[int, ...]]:
        """The ids of each piece; nothing is encoded while the lock is held."""
        cache = self._cache
        parts: list[tuple[int, ...] | None] = []
        with self._lock:
            for piece in pieces:
                if isinstance(piece, Control):
                    parts.append((self._control_id(piece),))
                    continue
                found = cache.get(piece)
                if found is not None:
                    cache.move_to_end(piece)
                parts.append(found)
        return [
            self._remember(piece, self._encode(piece)) if part is None else part
            for piece, part in zip(pieces, parts, strict=True)
        ]

    def _control_id(self, control: Control) -> int:
        known = self._control_ids.get(control)
        return self._id_of(control) if known is None else known

    def _id_of(self, control: Control) -> int:
        found = self._backend.token_to_id(control)
        if found is None:
            raise ModelError("tokenizer", f"has no token {control}, which ChatML needs")
        return int(found)

    def _remember(self, piece: str, ids: tuple[int, ...]) -> tuple[int, ...]:
        with self._lock:
            if piece not in self._cache:
                self._cache[piece] = ids
                self._room -= len(piece) + PIECE_OVERHEAD
            while self._room < 0 and self._cache:
                oldest, _ = self._cache.popitem(last=False)
                self._room += len(oldest) + PIECE_OVERHEAD
        return ids

    def _encode(self, text: str) -> tuple[int, ...]:
        ids = self._text_ids(well_formed(text))
        if self._special_ids.isdisjoint(ids):
            return tuple(ids)
        return tuple(self._broken_up(text, sorted(self._special_ids.intersection(ids))))

    def _broken_up(self, text: str, found: Sequence[int]) -> list[int]:
        """Some vocabularies spell special tokens as words: cut those words in two."""
        parts = [well_formed(text)]
        for name in (self._special[id_] for id_ in found):
            parts = [part for whole in parts for part in _cut_inside(whole, name)]
        ids = [id_ for part in parts for id_ in self._text_ids(part)]
        return [id_ for id_ in ids if id_ not in self._special_ids]

    def _text_ids(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids


def _cut_inside(text: str, name: str) -> list[str]:
    """`text` in parts, with one border behind the first character of every `name`."""
    first, *rest = text.split(name)
    parts = [first]
    for tail in rest:
        parts[-1] += name[0]
        parts.append(name[1:] + tail)
    return parts


def _blind_copy(backend: Any) -> Any:
    """A copy of a `tokenizers.Tokenizer` that sees no special token in a text.

    Added tokens that are spelled `<|…|>` count as special even where the file says they are
    not (some ChatML models ship `<|im_start|>` so). Others, such as `<tool_call>` in newer
    models, keep their one id, as in the template.
    """
    written = json.loads(backend.to_str())
    for token in written["added_tokens"]:
        if token["content"].startswith("<|"):
            token["special"] = True
    written["truncation"] = written["padding"] = None
    copy = type(backend).from_str(json.dumps(written))
    copy.encode_special_tokens = True
    return copy
