"""What int8 and int4 cost in quality: perplexity and agreement with float32 on held-out text.

    python -m benchmarks.quality [--documents 40] [--folder models/hermes-mini]

Large models have a few channels that are far louder than the rest, the embedded one has not.
So it is also measured on copies in which such channels were planted: some channels of each norm
are multiplied, and the weights that read them divided, which leaves the function as it was.
"""

import argparse
import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from hermes_ui.generation.settling import SPLIT_ABOVE, Settling, text_ids
from hermes_ui.generation.streaming import Reading
from training.corpus import Corpus
from training.tokenizer import Encoder

ROOT = Path(__file__).resolve().parent.parent
PLANTED = 6  # channels of each norm
Document = tuple[Tensor, Tensor]  # ids (1, tokens); which of the next ones are the model's own


def held_out(tokenizer: Any, count: int, longest: int) -> list[Document]:
    """Documents of names, places and trades that the training never showed."""
    corpus = iter(Corpus(seed=4242, split="held_out"))
    encoder = Encoder(tokenizer)
    documents = []
    while len(documents) < count:
        ids, learned, _ = encoder.document(next(corpus))
        if any(learned[1:longest]):
            documents.append((torch.tensor([ids[:longest]]), torch.tensor(learned[1:longest]) > 0))
    return documents


@torch.no_grad()
def logits_of(model: nn.Module, documents: list[Document]) -> list[Tensor]:
    """For each document (tokens that the model is to say, vocabulary), float32."""
    return [model(ids).logits[0, :-1].float()[learned] for ids, learned in documents]


def perplexity(logits: list[Tensor], documents: list[Document]) -> float:
    wanted = torch.cat([ids[0, 1:][learned] for ids, learned in documents])
    return math.exp(nn.functional.cross_entropy(torch.cat(logits), wanted).item())


def agreement(logits: list[Tensor], exact: list[Tensor]) -> float:
    """Share of the tokens whose most probable next token is the same."""
    return (torch.cat(logits).argmax(-1) == torch.cat(exact).argmax(-1)).float().mean().item()


def with_outliers(model: Any, loudness: float) -> Any:
    """A copy of a Llama that says the same, with `PLANTED` loud channels behind each norm."""
    loud = copy.deepcopy(model)
    random = torch.Generator().manual_seed(7)
    for layer in loud.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for norm, readers in (
            (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
            (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
        ):
            channels = torch.randperm(len(norm.weight), generator=random)[:PLANTED]
            norm.weight.data[channels] *= loudness
            for reader in readers:
                reader.weight.data[:, channels] /= loudness
    return loud


def in_integers(model: Any, ids: list[int], split_above: float, is_coarse: bool) -> tuple[Any, str]:
    """A copy in int8 or int4, and which forms its layers took. `split_above` inf: all plain."""
    quantized = copy.deepcopy(model)
    settling = Settling(
        Reading(quantized, lambda step: None), torch.float32, split_above, is_coarse=is_coarse
    )
    forms = settling.run(quantized, ids)
    return quantized, forms.words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=ROOT / "models" / "hermes-mini")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.folder)
    model = AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.float32).eval()
    model.requires_grad_(False)
    longest = model.config.max_position_embeddings
    documents = held_out(tokenizer, options.documents, min(longest, 1024))
    exact = logits_of(model, documents)
    ids = text_ids(tokenizer, longest)
    print(f"{sum(len(each) for each in exact):,} tokens")
    print(f"{'model':<26}{'format':<28}{'perplexity':>11}{'same top-1':>12}  layers")

    def row(name: str, form: str, make: Callable[[], tuple[nn.Module, str]]) -> None:
        measured, words = make()
        logits = logits_of(measured, documents)
        same = agreement(logits, exact)
        print(f"{name:<26}{form:<28}{perplexity(logits, documents):>11.4f}{same:>12.2%}  {words}")

    row("as trained", "float32", lambda: (model, ""))
    row("as trained", "bfloat16", lambda: (copy.deepcopy(model).bfloat16(), ""))
    for loudness in (1, 10, 30, 100):
        name = "as trained" if loudness == 1 else f"{PLANTED} channels × {loudness}"
        loud = with_outliers(model, loudness)
        for rule, most in (("all plain", math.inf), ("by the rule", SPLIT_ABOVE)):
            row(name, f"int8, {rule}", partial(in_integers, loud, ids, most, is_coarse=False))
        make = partial(in_integers, loud, ids, SPLIT_ABOVE, is_coarse=True)
        row(name, "int4, by the rule", make)


if __name__ == "__main__":
    main()
