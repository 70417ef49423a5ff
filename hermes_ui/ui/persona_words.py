"""What the persona gallery and the persona editor say, in one place."""

# Gallery
SEARCH = "Search personas"
SEARCH_HINT = "Name, tag or description"
TAGS = "Filter by tag"
GRID = "Personas"
CHAT_WITH = "Chat with {name}"
CHAT = "Chat"
EDIT = "Edit"
EDIT_NAME = "Edit {name}"
PREVIEW = "Preview"
PREVIEW_NAME = "Preview {name}"
CLOSE = "Close"
NEW = "New persona"
NEW_HINT = "Start from a blank page"
YOURS = "yours"
EDITED = "edited"
GREETING = "Greeting"
NO_GREETING = "You speak first."
NO_TAGLINE = "No description yet."
NOTHING_FOUND = "No persona fits"
NOTHING_FOUND_HINT = "Try another word, or clear the search."
CLEAR = "Clear the search"
BROKEN_ONE = "1 persona file cannot be read"
BROKEN_MANY = "{count} persona files cannot be read"
BROKEN_HINT = "The others work. Mend the file and reload the page."


def greetings_of(count: int) -> str:
    """How many ways a persona has to begin."""
    return "1 greeting" if count == 1 else f"{count} greetings"


def lore_of(count: int) -> str:
    """How many lore entries a persona brings."""
    return "1 lore entry" if count == 1 else f"{count} lore entries"
