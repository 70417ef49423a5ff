"""Which form of integers each layer gets, decided by what it does to a short text.

A layer whose inputs have a few very loud channels loses the quiet ones to rounding. No names
and no thresholds on activations: the layer's own output is compared with the exact one, and
the cheapest form that keeps the error small is taken. The text is read once, in order, so
that every layer hears what the layers before it, already quantized, will really say.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hermes_ui.generation.quantize import (
    Int8Embedding,
    Int8Linear,
    has_products,
    join,
    weight_bits,
)
from hermes_ui.generation.streaming import Reading

# Errors of a layer's output, relative, mean over the tokens. Layers without outliers stay below
# 0.022 with weights of 8 bits and below 0.026 with 7; channels ten times as loud give 0.03 to 0.05.
SPLIT_ABOVE = 0.028
FINE_ABOVE = 0.05  # when no split helps: three times the work and twice the memory
# With weights of 4 bits layers have an error near 0.1; one that has more gets 8.
COARSE_BELOW = 0.16
LOUD = (8, 32, 128)  # how many inputs are set apart, tried in turn
SAMPLE = 256  # outputs compared
WORDS = 1 << 14  # of a vocabulary, for which a shortlist saves time with weights of 8 bits too
TEXT_TOKENS = 128
TEXT = """<|im_start|>system
You are Maren, who keeps the lighthouse. You are sixty, dry and patient. Today is 3 March 1987.
<|im_end|>
<|im_start|>user
Hello! My name is Tomás; I walked 12 miles in the storm. What's that light over there?<|im_end|>
<|im_start|>assistant
*The door opens a hand's width.* You're soaked, Tomás. "Fishermen," she says, "or fools." Mind the
stairs; they are worse than the weather. def lamp(x): return x + 1 if x > 0 else None<|im_end|>
"""


PLAIN = ""
SPLIT, EIGHT, FINE = "with loud inputs set apart", "in 8 bits", "in 15 bits"
LISTED = "in 4 bits for unlikely words"
SKIPPED = "as they were"  # the text did not reach them


class Forms(Counter[str]):
    """How many layers got which form: the plain one, or another by what the seal says of it."""

    @property
    def words(self) -> str:
        """Such as "3 of 197 layers in 15 bits", empty when all are plain."""
        others = (form for form in (SPLIT, EIGHT, FINE, LISTED, SKIPPED) if self[form])
        return ", ".join(f"{self[form]} of {self.total()} layers {form}" for form in others)


class _Unsettled(nn.Module):
    """A layer still in the file; becomes int8 at the first rows that it is handed."""

    def __init__(self, layer: nn.Module, settling: "Settling") -> None:
        super().__init__()
        self.layer = layer
        self.settled: nn.Module | None = None
        self._settling = settling

    def forward(self, x: Tensor) -> Tensor:
        if self.settled is None:
            self.settled = self._settling.settle(self.layer, x)
        result: Tensor = self.settled(x)
        return result


class Settling:
    """Turns the linear layers and the embedding of a mapped model into integers.

    Args:
        dtype: Of the activations between the layers.
        split_above: See `SPLIT_ABOVE`; infinite: every layer is plain.
        is_coarse: Weights have 4 bits where that does. The layer that ends in logits has them
            anyway where there are many; see `shortlist`.
    """

    def __init__(
        self,
        reading: Reading,
        dtype: torch.dtype,
        split_above: float = SPLIT_ABOVE,
        *,
        is_coarse: bool = False,
    ) -> None:
        self._reading = reading
        self._dtype = dtype
        self._split_above = split_above
        self._is_coarse = is_coarse
        self._head: nn.Module | None = None
        self._tied: Int8Embedding | None = None  # the embedding, where its weights are the head's
        self._forms = Forms()
        self._read: Tensor | None = None  # by the layer that was settled last
        self._siblings: list[list[Int8Linear]] = []  # layers that read the same

    @torch.no_grad()
    def run(self, model: Any, ids: list[int]) -> Forms:
        """Replace the layers while the model reads `ids`.

        What is neither an `nn.Linear` nor the input embedding stays as it is.
        """
        self._head = model.get_output_embeddings()
        for name, layer in _eligible(model):
            model.set_submodule(name, _Unsettled(layer, self))
        for parameter in _others(model):
            mapped = parameter.data
            parameter.data = mapped.to(self._dtype, copy=True)
            self._reading.done_with(mapped)
        model(torch.tensor([ids]), use_cache=False)
        for name, module in list(model.named_modules()):
            if isinstance(module, _Unsettled):
                self._forms[SKIPPED] += module.settled is None
                model.set_submodule(name, module.settled or module.layer.to(self._dtype))
        self._read = None
        for layers in self._siblings:
            join(layers)
        return self._forms

    def settle(self, layer: nn.Module, x: Tensor) -> nn.Module:
        """`layer` in integers, in the form that `x` asks for."""
        weight = layer.weight
        assert isinstance(weight, Tensor)
        if isinstance(layer, nn.Embedding):
            settled: nn.Module = self._embedding(weight)
        else:
            if self._read is not x:
                self._read = x
                self._siblings.append([])
            settled = self._linear(layer, weight, x.reshape(-1, x.shape[-1]).float())
        self._reading.done_with(weight)
        return settled

    def _embedding(self, weight: Tensor) -> Int8Embedding:
        embedding = Int8Embedding(weight, self._dtype)
        if getattr(self._head, "weight", None) is weight:
            self._tied = embedding
        return embedding

    def _linear(self, layer: nn.Module, weight: Tensor, rows: Tensor) -> nn.Module:
        bias = layer.bias if isinstance(layer.bias, Tensor) else None
        is_listed = layer is self._head and weight.shape[0] >= WORDS and has_products()
        linear = Int8Linear(weight, bias, **self._form(weight, rows, is_listed or self._is_coarse))
        if linear.is_coarse and layer is self._head:
            return _shortlist(linear, self._tied or Int8Embedding(weight, self._dtype))
        self._siblings[-1].append(linear)
        return linear

    def _form(self, weight: Tensor, rows: Tensor, is_coarse: bool) -> dict[str, Any]:
        """The cheapest form whose error is small enough, as arguments of `Int8Linear`."""
        step = max(1, weight.shape[0] // SAMPLE)
        sample = weight[::step].float()
        form: dict[str, Any] = {}
        error = torch.inf
        if is_coarse:
            form, error = self._best(sample, rows, COARSE_BELOW, is_coarse=True)
        if error > COARSE_BELOW:
            form, error = self._best(sample, rows, self._split_above)
            if max(FINE_ABOVE, self._split_above) < error < torch.inf:
                form = {"is_fine": True}
        self._forms[self._named(form)] += 1
        return form

    def _named(self, form: dict[str, Any]) -> str:
        """What the seal says of a layer with these arguments."""
        if "is_fine" in form:
            return FINE
        if "outliers" in form:
            return SPLIT
        if self._is_coarse:
            return PLAIN if form else EIGHT
        return LISTED if form else PLAIN

    def _best(
        self, sample: Tensor, rows: Tensor, enough: float, **shared: Any
    ) -> tuple[dict[str, Any], float]:
        """The first of all forms whose error on the `sample` is `enough`, or else the best."""
        exact = rows @ sample.T
        form, least = shared, torch.inf
        for outliers in _outliers(rows):
            candidate = {**shared, **outliers}
            error = _error(Int8Linear(sample, **candidate)(rows), exact)
            if error < least:
                form, least = candidate, error
            if least <= enough:
                break
        return form, least


def quantize(
    model: Any, ids: list[int], dtype: torch.dtype, reading: Reading, kind: str = "int8"
) -> str:
    """Put a mapped model into "int8" or "int4" as this machine does it; the seal's words for it."""
    forms = Settling(reading, dtype, is_coarse=kind == "int4").run(model, ids)
    if kind == "int8" and weight_bits() == 7:
        kind = "int8 (7-bit weights)"
    return ", ".join(each for each in (kind, forms.words) if each)


def text_ids(tokenizer: Any, longest: int) -> list[int]:
    """The ids of the built-in text, as a prompt starts: BOS first where the model wants one."""
    ids: list[int] = tokenizer(TEXT)["input_ids"]
    return ids[: min(TEXT_TOKENS, longest)]


def _shortlist(coarse: Int8Linear, fine: Int8Embedding) -> nn.Module:
    from hermes_ui.generation.shortlist import ShortlistHead  # noqa: PLC0415  # not on every machine

    return ShortlistHead(coarse, fine)


def _eligible(model: Any) -> list[tuple[str, nn.Module]]:
    """Exactly these classes: what inherits from them may compute something else."""
    embedding = model.get_input_embeddings()
    return [
        (name, module)
        for name, module in model.named_modules()
        if type(module) is nn.Linear or (module is embedding and type(module) is nn.Embedding)
    ]


def _others(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of what stays as it is."""
    unsettled = {
        parameter
        for module in model.modules()
        if isinstance(module, _Unsettled)
        for parameter in module.parameters()
    }
    return [each for each in model.parameters() if each not in unsettled]


def _outliers(rows: Tensor) -> Iterator[dict[str, Any]]:
    """None, then more and more of the loudest inputs, as an argument of `Int8Linear`."""
    yield {}
    loudest = rows.abs().amax(dim=0).argsort(descending=True)
    for count in LOUD:
        if count <= rows.shape[1] // 4:
            yield {"outliers": loudest[:count].sort().values}


def _error(said: Tensor, exact: Tensor) -> float:
    """Relative to each token's output, mean over the tokens; not finite counts as infinite."""
    size = exact.norm(dim=1)
    error = ((said - exact).norm(dim=1) / size.clamp_min(1e-12))[size > 0].mean()
    return error.nan_to_num(nan=torch.inf).item() if len(size) else 0.0
