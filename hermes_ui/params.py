"""How to draw a reply from a model: one home for every default, range and help text.

The sampling panel, persona files, the command line and the API all read the fields
of `SamplingParams`; none of them writes a number again.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

StopString = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _knob(default: float, low: float, high: float, step: float, text: str) -> Any:
    """A field that the sampling panel shows as a slider from `low` to `high`."""
    return Field(default, ge=low, le=high, description=text, json_schema_extra={"step": step})


class SamplingParams(BaseModel):
    """Names and meanings are vLLM's and OpenAI's. A field left unset keeps its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    temperature: float = _knob(
        0.8, 0.0, 2.0, 0.05, "How freely words are chosen. 0 always takes the likeliest token."
    )
    top_p: float = _knob(
        0.95, 0.01, 1.0, 0.01, "Keep the likeliest tokens until their probabilities add up to this."
    )
    top_k: int = _knob(0, 0, 1000, 1, "Keep only this many of the likeliest tokens. 0 keeps all.")
    min_p: float = _knob(
        0.05, 0.0, 1.0, 0.01, "Drop tokens less likely than this share of the likeliest one."
    )
    repetition_penalty: float = _knob(
        1.05,
        0.5,
        2.0,
        0.01,
        "Above 1: tokens already in the prompt or the reply become less likely.",
    )
    frequency_penalty: float = _knob(
        0.0, -2.0, 2.0, 0.05, "Lowers a token by this for each time the reply has used it."
    )
    presence_penalty: float = _knob(
        0.0, -2.0, 2.0, 0.05, "Lowers a token by this once the reply has used it at all."
    )
    max_tokens: int = _knob(512, 1, 8192, 1, "The longest reply, in tokens.")
    stop: tuple[StopString, ...] = Field(
        (), max_length=16, description="The reply ends before any of these texts."
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**63 - 1,
        description="Fixes the dice: the same prompt and seed give the same reply. "
        "Empty: a new seed each time.",
    )

    def overridden_by(self, other: Self) -> Self:
        """These parameters, with every field that was set on `other` taken from there."""
        return self.model_validate(self.model_dump() | other.model_dump(exclude_unset=True))
