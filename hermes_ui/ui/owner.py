"""Whose shelf a request reads and writes."""

import gradio as gr

OWNER_HEADER = "x-hermes-owner"


def owner_of(request: gr.Request) -> str:
    """The owner that the doors in front of every route wrote into the request."""
    return str(request.headers[OWNER_HEADER])
