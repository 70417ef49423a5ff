"""Talking to a model in the making, without the app: greedy or sampled, with its cache."""

import random
from dataclasses import dataclass, field

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from training.dialogue import Turn
from training.tokenizer import Encoder

MAX_TOKENS = 160


@dataclass(frozen=True, slots=True)
class Reply:
    """What was said, and whether the model ended its turn itself."""

    text: str
    ids: tuple[int, ...]
    is_ended: bool


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn; temperature 0 takes the likeliest."""

    temperature: float = 0.0
    min_p: float = 0.05
    seed: int = 0


@torch.inference_mode()
def reply_to(
    model: LlamaForCausalLM,
    encoder: Encoder,
    decode,
    turns: list[Turn],
    how: Sampling,
) -> Reply:
    """The assistant's next turn after `turns`; `decode` makes ids text."""
    ids, _, _ = encoder.document(turns)
    ids += [encoder.start, *encoder.text("assistant\n")]
    rng = random.Random(how.seed)
    said: list[int] = []
    fed, cache = torch.tensor([ids]), None
    while len(said) < MAX_TOKENS:
        out = model(input_ids=fed, past_key_values=cache, use_cache=True)
        token = _drawn(out.logits[0, -1].float(), how, rng)
        if token in (encoder.end, encoder.pad):
            return Reply(decode(said), tuple(said), is_ended=True)
        said.append(token)
        fed, cache = torch.tensor([[token]]), out.past_key_values
    return Reply(decode(said), tuple(said), is_ended=False)


def _drawn(logits: torch.Tensor, how: Sampling, rng: random.Random) -> int:
    if how.temperature == 0:
        return int(logits.argmax())
    probs = (logits / how.temperature).softmax(-1)
    probs[probs < how.min_p * probs.max()] = 0
    sums = probs.cumsum(-1)
    point = torch.tensor(rng.random() * float(sums[-1]))
    return min(int(torch.searchsorted(sums, point)), len(sums) - 1)


@dataclass
class Chat:
    """A conversation that remembers its turns."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    system: str
    how: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        self.turns = [Turn("system", self.system)]
        self.encoder = Encoder(self.tokenizer)

    def say(self, text: str) -> str:
        """The persona's answer to `text`; both are remembered."""
        self.turns.append(Turn("user", text))
        seed = self.how.seed + len(self.turns)
        how = Sampling(self.how.temperature, self.how.min_p, seed)
        reply = reply_to(self.model, self.encoder, self.tokenizer.decode, self.turns, how)
        self.turns.append(Turn("assistant", reply.text))
        return reply.text + ("" if reply.is_ended else " …")
