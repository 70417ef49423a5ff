"""The one door between the page's script and the rooms: named actions, asked with JSON.

The script asks through a server function of `gr.HTML`, so an action knows its owner from
the request and everything else from its fields; no session has to be alive for it, and a
page that was open while the server restarted goes on as before.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from hermes_ui.errors import HermesError
from hermes_ui.ui import words
from hermes_ui.ui.owner import owner_of
from storage.errors import StorageError

Answer = dict[str, Any]

log = logging.getLogger(__name__)


class Fields:
    """What the script sent with an action. Wrong types read as if nothing had been sent."""

    def __init__(self, given: object) -> None:
        self._given: Mapping[str, Any] = given if isinstance(given, dict) else {}

    def text(self, name: str) -> str:
        """The field as text; "" when it is missing."""
        value = self._given.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """The field as an integer; None when it is missing."""
        value = self._given.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def texts(self, name: str) -> list[str]:
        """The field as a list of texts."""
        value = self._given.get(name)
        return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []

    def mapping(self, name: str) -> dict[str, Any]:
        """The field as an object."""
        value = self._given.get(name)
        return dict(value) if isinstance(value, dict) else {}


Action = Callable[[str, Fields], Answer]


def door(actions: Mapping[str, Action]) -> Callable[[Any, gr.Request], Answer]:
    """The server function `ask`: `{"do": name, …}` in, that action's answer out.

    An error that is somebody's business comes back as `{"error": one line}`.
    """

    def ask(sent: Any, request: gr.Request) -> Answer:
        fields = Fields(sent)
        action = actions.get(fields.text("do"))
        if action is None:
            log.error("the page asked for %r, which there is not", fields.text("do")[:100])
            return {"error": words.DEFECT}
        try:
            return action(owner_of(request), fields)
        except (HermesError, StorageError) as error:
            return {"error": str(error), "kind": type(error).__name__}
        except Exception:
            log.exception("%s failed", fields.text("do"))
            return {"error": words.DEFECT}

    return ask
