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


# Form
LABELS = {
    "avatar": "Picture",
    "examples": "Example dialogue",
    "post_history_instructions": "Post-history instructions",
    "response_format": "Response format",
    "user_name": "User's name",
    "creator_notes_multilingual": "Creator notes in other languages",
    "entry.use_regex": "Keys are patterns",
    "entry.keys": "Keys, one a line",
    "entry.secondary_keys": "Secondary keys, one a line",
    "entry.enabled": "In use",
    "sampling.stop": "Stop texts, one a line",
    "sampling.top_p": "Top-p",
    "sampling.top_k": "Top-k",
    "sampling.min_p": "Min-p",
    "sampling.xtc_probability": "XTC probability",
    "sampling.xtc_threshold": "XTC threshold",
    "sampling.dry_multiplier": "DRY multiplier",
    "sampling.dry_base": "DRY base",
    "sampling.dry_allowed_length": "DRY allowed length",
    "sampling.dry_penalty_last_n": "DRY range",
    "sampling.dry_sequence_breakers": "DRY sequence breakers, one a line",
    "sampling.banned_strings": "Banned strings, one a line",
    "sampling.logit_bias": "Logit bias, as JSON",
    "source": "Source, one a line",
    "tags": "Tags, separated by commas",
    "group_only_greetings": "Group greetings, one a line",
    "lorebook.scan_depth": "Messages searched",
    "lorebook.token_budget": "Token budget",
    "lorebook.recursive_scanning": "Entries may call entries",
    "lorebook.name": "Lorebook name",
    "lorebook.description": "Lorebook description",
    "entry.name": "Entry name",
    "entry.comment": "Entry comment",
}
ONE_LINE = {"name", "nickname", "user_name", "language", "creator", "version"}
ALTERNATE = "This alternate greeting"
ALTERNATE_HELP = "Another first message; the reader swipes to it."
NEW_KEY = "new key"
YES = "yes"
NO = "no"
NOT_A_TEXT = "must be text; mend it in the YAML"
NOT_A_LIST = "must be a list; mend it in the YAML"
NOT_A_FLAG = "must be true or false; mend it in the YAML"
NOT_A_CHOICE = "is not one of the choices; mend it in the YAML"
NOT_A_NUMBER = "must be a number"
NOT_JSON = "line {line}, column {column}: {why}"

# Editor
BACK = "Back to the personas"
UNNAMED = "New persona"
COPY_OF = "{name} (copy)"
VIEW = "View"
FORM = "Form"
YAML = "YAML"
SAVE = "Save"
SAVE_HINT = "Save as a new version"
SAVE_AND_CHAT = "Save and chat"
START = "Start chat"
DUPLICATE = "Duplicate"
DELETE = "Delete"
TO_ORIGINAL = "Back to the original"
RESTORE = "Restore"
UNDO = "Undo"
DISCARD = "Discard them"
NOT_SAVED_YET = "Not saved yet"
SAVED_AS = "Saved · version {version}"
AS_SHIPPED = "As it comes · version {version}"
UNSAVED = "Unsaved changes"
REMOVED = "Deleted"
TO_MEND = "Unsaved · {count} to mend: {first}"
SAVED_NOTICE = "Saved as version {version}. Conversations keep the version they started with."
SAME_NOTICE = "Nothing has changed since version {version}."
REVERTED_NOTICE = (
    "Version {version} is current again; the later ones stay in the history. "
    "Conversations keep the version they started with."
)
REMOVED_NOTICE = "{name} is deleted. Its conversations stay."
ORIGINAL_NOTICE = "{name} is as it comes with the app again. Its conversations stay as they are."
RESTORED_NOTICE = "{name} is back."
DRAFT_NOTICE = "Your unsaved changes are back."
ITEM_REMOVED_NOTICE = "Removed."
WAITS = "The form waits."
LINE = "Line {line}:"
DROP_PICTURE = "Remove picture"
UPLOAD_PICTURE = "Upload a picture"
TOKENS = "About {total:,} of {context:,} tokens in every prompt"
ENTRIES = "Entries"
ADD_ENTRY = "Add an entry"
NO_ENTRIES = "No lore yet. An entry tells the model something when one of its keys is said."
ENTRY_NUMBER = "Entry {number}"
USE_ENTRY = "Use {name}"
ALTERNATES = "Alternate greetings"
ALTERNATE_NUMBER = "Alternate {number}"
ADD_GREETING = "Add a greeting"
NO_ALTERNATES = "No other greetings. Each one is offered as a swipe on the first message."
EMPTY = "(empty)"
SOME_SHOWN = "{shown} of {count} are listed; the others are in the YAML."
MOVE_UP = "Move {name} up"
REMOVE = "Remove {name}"
NO_HISTORY = "Nothing saved yet."
HISTORY_HINT = "Every saved version is kept. Conversations keep the version they started with."
BUILT_IN = "Comes with the app"
CURRENT = "current"
COMPARE = "Compare"
COMPARE_NAME = "Compare version {version} with the current one"
REVERT = "Revert"
REVERT_NAME = "Revert to version {version}"
NO_DIFFERENCE = "No difference in the text."
DIFFERENCES = "Differences"
TAB_WHO = "Who"
TAB_PROMPT = "Prompt"
TAB_GREETINGS = "Greetings"
TAB_LORE = "Lore"
TAB_REPLIES = "Replies"
TAB_ABOUT = "About"
TAB_HISTORY = "History"
MORE_OPTIONS = "More options"
LOREBOOK_OPTIONS = "Lorebook options"
YAML_LABEL = "The whole persona as YAML"
