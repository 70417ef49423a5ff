"""How to draw a reply from a model: one home for every default, range and help text.

The sampling panel, persona files, the command line and the API all read the fields
of `SamplingParams`; none of them writes a number again.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_serializer

Group = Literal["choice", "length", "repetition", "xtc", "dry", "words"]

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=-100, le=100)]


def _knob(
    default: float, low: float, high: float, step: float, text: str, group: Group = "choice"
) -> Any:
    """A field that the sampling panel shows as a slider from `low` to `high`."""
    extra: dict[str, Any] = {"step": step, "group": group}
    return Field(default, ge=low, le=high, description=text, json_schema_extra=extra)


class SamplingParams(BaseModel):
    """A field left unset keeps its default.

    Names and meanings are vLLM's and OpenAI's; those of XTC, DRY and banned strings are
    koboldcpp's and llama.cpp's.
    """

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
    max_tokens: int = _knob(512, 1, 8192, 1, "The longest reply, in tokens.", "length")
    stop: tuple[ShortText, ...] = Field(
        (),
        max_length=16,
        description="The reply ends before any of these texts.",
        json_schema_extra={"group": "length"},
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**63 - 1,
        description="Fixes the dice: the same prompt and seed give the same reply. "
        "Empty: a new seed each time.",
        json_schema_extra={"group": "length"},
    )
    repetition_penalty: float = _knob(
        1.05,
        0.5,
        2.0,
        0.01,
        "Above 1: tokens already in the prompt or the reply become less likely.",
        "repetition",
    )
    frequency_penalty: float = _knob(
        0.0,
        -2.0,
        2.0,
        0.05,
        "Lowers a token by this for each time the reply has used it.",
        "repetition",
    )
    presence_penalty: float = _knob(
        0.0,
        -2.0,
        2.0,
        0.05,
        "Lowers a token by this once the reply has used it at all.",
        "repetition",
    )
    xtc_probability: float = _knob(
        0.0,
        0.0,
        1.0,
        0.01,
        "How often, at a token, the likeliest choices are left out so that a less usual one "
        "comes. 0 switches it off.",
        "xtc",
    )
    xtc_threshold: float = _knob(
        0.1,
        0.0,
        0.5,
        0.01,
        "Only tokens at least this likely are left out, and never the last of them.",
        "xtc",
    )
    dry_multiplier: float = _knob(
        0.0,
        0.0,
        5.0,
        0.05,
        "How strongly tokens that would go on repeating earlier text are avoided. "
        "0 switches it off; 0.8 is usual.",
        "dry",
    )
    dry_base: float = _knob(
        1.75, 1.0, 4.0, 0.05, "The penalty grows by this factor with each repeated token.", "dry"
    )
    dry_allowed_length: int = _knob(
        2, 1, 50, 1, "Repetitions shorter than this many tokens are free.", "dry"
    )
    dry_penalty_last_n: int = _knob(
        -1, -1, 131072, 1, "Tokens of the text that are searched. -1 searches all of it.", "dry"
    )
    dry_sequence_breakers: tuple[ShortText, ...] = Field(
        ("\n", ":", '"', "*"),
        max_length=32,
        description="A repetition never counts across any of these texts.",
        json_schema_extra={"group": "dry"},
    )
    banned_strings: tuple[ShortText, ...] = Field(
        (),
        max_length=100,
        description="Texts that the reply never contains; A to Z count as a to z.",
        json_schema_extra={"group": "words"},
    )
    logit_bias: dict[TokenId, Bias] = Field(
        default_factory=dict,
        max_length=300,
        description="Token ids of this model and what to add to their logits, from -100, "
        "which all but bans one, to 100.",
        json_schema_extra={"group": "words"},
    )

    @field_serializer("logit_bias")
    def _with_text_keys(self, bias: dict[int, float]) -> dict[str, float]:
        """As JSON and persona files have it."""
        return {str(token): by for token, by in bias.items()}

    def overridden_by(self, other: Self) -> Self:
        """These parameters, with every field that was set on `other` taken from there."""
        return self.model_validate(self.model_dump() | other.model_dump(exclude_unset=True))
