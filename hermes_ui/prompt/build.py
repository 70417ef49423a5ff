"""A persona and a history become a `Prompt`."""

from dataclasses import dataclass

from hermes_ui.prompt.chatml import Pieces


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine needs to know of one request, and what the seal keeps of it."""

    pieces: Pieces
    stop: tuple[str, ...] = ()  # beside those of SamplingParams
    tool_names: tuple[str, ...] = ()  # empty: tool tags in the reply are plain text
