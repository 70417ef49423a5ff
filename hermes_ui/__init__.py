"""A persona and a conversation become a prompt, a stream, and a message that is never lost."""

__version__ = "0.1.0"
