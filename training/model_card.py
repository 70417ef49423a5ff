"""Writes MODEL_CARD.md beside the weights: what the model is, its table, and transcripts.

    python -m training.model_card [--model models/hermes-mini]

Everything in it is measured or said by the weights that lie there. Nothing is edited.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hermes_ui.prompt.tools import json_mode_text
from training.answering import Speaker
from training.dialogue import Turn
from training.evaluate import HEAD, Evaluation, milliseconds_per_token, rows
from training.skills import Try
from training.starters import starter_talk
from training.train import MODEL_DIR, STORY
from training.world import Inventor

SEED = 7
BOOKING = {
    "type": "object",
    "properties": {
        "name": {"type": "string"}, "city": {"type": "string"},
        "guests": {"type": "integer"}, "day": {"type": "string"}, "paid": {"type": "boolean"},
    },
    "required": ["name", "city", "guests", "day", "paid"],
}  # fmt: skip
PIRATE = (
    "You are Brannick. Stay in character and write only Brannick's part of the conversation "
    "with Wilma.\n\nBrannick is a net mender in Oskharbour. He talks like a pirate. He has a "
    "goose called Tilda. He is afraid of loud bells.\n\nBrannick's personality: stern, loyal"
)
# A title, who speaks (a slug of personas/, or a system prompt), and the user's lines.
SCENES = (
    ("Tamsin, from the gallery", "tamsin", (
        "Hello! Who are you?", "My name is Orsolya.", "What do I owe you for the trip?",
        "My true thing is that I lost my father's watch.", "And who is Corin?",
        "Do you remember my name?",
    )),
    ("Orla rolls real dice", "orla", (
        "Hi. What is this place?", "I look around", "I jump to the bell rope!",
        "I hide behind the organ", "thanks, that was fun",
    )),
    ("A persona that training never saw", PIRATE, (
        "good evening", "What is your name?", "And what do you do here?",
        "My favourite food is plum cake.",
        "What are you afraid of?", "What is my favourite food?", "Are you a real person?",
    )),
    ("JSON mode", json_mode_text(BOOKING), (
        "Good evening. My name is Fenna Tolk and I live in Grimsby. We are 4 people. "
        "Friday would be best. I have not paid yet.",
        "It is Otto here. There will be 7 of us. The city is Marnholm. Let us say Monday. "
        "It is paid.",
    )),
    ("A poor one: questions about the real world", "hermes", (
        "Who wrote Hamlet?", "Why is the sky blue?", "What is the capital of France?",
        "Write a limerick about a cat that learns to swim.", "Summarise our conversation.",
    )),
)  # fmt: skip


def transcript(speaker: Speaker, who: str, lines: Sequence[str]) -> str:
    """The whole conversation as Markdown, likeliest tokens only."""
    if " " in who:
        turns = [Turn("system", who)]
    else:
        turns = list(starter_talk(Inventor(random.Random(SEED), "held_out"), who).turns)
    shown = [_shown(turns[0])] if " " in who else []
    greeting = turns[-1] if turns[-1].role == "assistant" else None
    had = Try(turns, list(lines), lambda _: 1.0, runs_tools=True)
    before = len(turns)
    Evaluation(speaker).score("", [had])
    said = [greeting] if greeting else []
    return "\n\n".join(shown + [_shown(turn) for turn in [*said, *had.turns[before:]]])


def _shown(turn: Turn) -> str:
    name = "model" if turn.role == "assistant" else turn.role
    quoted = "\n".join(f"> {line}".rstrip() for line in turn.text.splitlines())
    return f"**{name}**\n\n{quoted}"


def card(speaker: Speaker, folder: Path, share: float) -> str:
    """The text of the card."""
    config = speaker.model.config
    story = json.loads((folder / STORY).read_text())
    return (
        (Path(__file__).parent / "model_card.md")
        .read_text(encoding="utf-8")
        .format(
            millions=sum(weight.numel() for weight in speaker.model.parameters()) / 1e6,
            size=sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".md")
            / 1e6,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            vocabulary=config.vocab_size,
            context=config.max_position_embeddings,
            speed=milliseconds_per_token(speaker),
            table="\n".join([HEAD, *map(str, rows(Evaluation(speaker), share))]),
            scenes="\n\n".join(
                f"### {title}\n\n{transcript(speaker, who, lines)}" for title, who, lines in SCENES
            ),
            training=_told(story),
        )
    )


def _told(story: dict[str, Any]) -> str:
    """What the model was trained on, in words."""
    took = (
        f"{story['cpu_minutes']} CPU minutes"
        if "cpu_minutes" in story  # once counted instead of the clock's, as for what ships
        else f"{story['minutes']} minutes"
    )
    told = (
        f"{story['tokens'] / 1e6:.1f} million tokens in {story['steps']:,} steps, "
        f"{took} on `{story['device']}`, seed {story['seed']}"
    )
    return f"{told}; and its finish apart: {_told(story['finish'])}" if "finish" in story else told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of tries")
    options = parser.parse_args()
    torch.set_num_threads(2)
    text = card(Speaker.load(options.model), options.model, options.share)
    (options.model / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    print(f"wrote {options.model / 'MODEL_CARD.md'}")


if __name__ == "__main__":
    main()
