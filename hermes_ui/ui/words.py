"""Every word of the chat page, in one place, so that another language is one more file."""

PRODUCT = "Hermes"

# Sidebar
NEW_CHAT = "New chat"
SEARCH = "Search conversations"
NO_CONVERSATIONS = "Your conversations will be listed here."
NOTHING_FOUND = "No conversation has this in its title."
NOTHING_DELETED = "Nothing was deleted recently."
SHOW_MORE = "Show more"
RECENTLY_DELETED = "Recently deleted"
ALL_CONVERSATIONS = "All conversations"
TODAY = "Today"
YESTERDAY = "Yesterday"
THIS_WEEK = "Previous 7 days"
THIS_MONTH = "Previous 30 days"
EARLIER = "Earlier"
RESTORE = "Restore"
RENAME = "Rename"
DELETE = "Delete"
OPTIONS_OF = "Options for {title}"
UNTITLED = "Untitled"
TEMPORARY = "Conversations here are kept until this server restarts. Export what you want to keep."
THEME = "Light or dark"

# Time
NOW = "now"
MINUTES = "{} min"
HOURS = "{} h"

# Messages
YOU = "You"
COPY = "Copy"
EDIT = "Edit"
REGENERATE = "Regenerate"
CONTINUE = "Continue"
DETAILS = "Details"
PREVIOUS_SWIPE = "Previous swipe"
NEXT_SWIPE = "Next swipe"
SWIPE_OF = "Swipe {index} of {count}"
MESSAGE_OF = "Message from {name}"
ACTIONS = "Message actions"
EARLIER_MESSAGES = "Show earlier messages ({count})"
NEWER_MESSAGES = "Show newer messages ({count})"
STOPPED = "stopped"
CUT = "cut at {count} tokens"
CUT_SOMEWHERE = "cut at the token limit"
INTERRUPTED = "interrupted"
SAVE = "Save"
SAVE_AND_SEND = "Save and send"
CANCEL = "Cancel"
EMPTY_CHAT = "Say something to {name}."
EMPTY_REPLY = "(no words)"

# Details of a reply
SEAL_NONE = "This message was written by hand: there is nothing to explain."
SEAL_MODEL = "Model"
SEAL_DEVICE = "Runs on"
CACHE = "Prompt memory"
CACHE_USE = "{free} of {total} tokens free, {running} in use, {remembered} remembered"
SEAL_PROMPT = "Prompt"
SEAL_REPLY = "Reply"
SEAL_SPEED = "Time"
SEAL_SEED = "Seed"
SEAL_EXACT = "gives this reply again in any company"
SEAL_NEARLY = "gives this reply again unless rounding tips a close choice"
SEAL_PERSONA = "Persona version"
SEAL_SAMPLING = "Sampling"
SEAL_ENDED = "Ended"
SEAL_LORE = "Lore"
SEAL_REASONING = "Scratch pad"
SEAL_ERROR = "Error"
TOKENS = "{count} tokens"
TOKENS_CACHED = "{count} tokens: {cached} cached, {new} new"
SECONDS = "{seconds:.1f} s"
SECONDS_SPEED = "{seconds:.1f} s, {speed:.1f} tokens/s"
ENDINGS = {
    "stop": "by itself",
    "length": "at the token limit",
    "tool_calls": "to use a tool",
    "cancelled": "stopped by you",
    "interrupted": "interrupted",
}

# A reply being written
WAITING = "Waiting"
AHEAD = "{count} ahead in line"
WRITING = "{name} is writing"

GET_REPLY = "Get a reply"

# Input
MESSAGE_TO = "Message {name}"
SEND = "Send"
STOP = "Stop"
NEWEST = "Newest"
INPUT_HINT = "Enter sends, Shift + Enter starts a new line"

# Header and menu
OPEN_SIDEBAR = "Open the list of conversations"
CLOSE_SIDEBAR = "Close the list of conversations"
RENAME_HINT = "Rename this conversation"
MENU = "Conversation menu"
EXPORT_MARKDOWN = "Export as Markdown"
EXPORT_JSON = "Export as JSON"
REPLAY = "Replay"
UNDO = "Undo"
REDO = "Redo"
PROMPT = "What the model reads"
SETTINGS = "Settings"
DELETE_CHAT = "Delete conversation"
NEWER_PERSONA = "This persona has a newer version."
USE_IT = "Use it"
METER = "{used} of {total} tokens, {reply} kept free for the reply"
METER_MESSAGES = "{kept} messages are read"
METER_DROPPED = "{dropped} older ones no longer fit"
METER_LORE = "Lore: {names}"
METER_NO_LORE = "No lore entry is active"

# Model
MODEL = "Model"
MODEL_STATES = {
    "loading": "Loading",
    "ready": "Ready",
    "downloading": "Downloading",
    "failed": "Failed",
}
WHY = "Why this model"
DEVICE = "Runs on"
CACHE = "Prompt memory"
CACHE_USE = "{free} of {total} tokens free, {running} in use, {remembered} remembered"
DOWNLOAD = "Download Hermes 3 (6.4 GB)"
MODEL_FIXED = "Whoever runs this server chooses the model."
DOWNLOAD_HINT = "The full model speaks far better than the small one that comes with this page."
CANCEL_DOWNLOAD = "Cancel the download"
USE_HERMES = "Use Hermes 3 from this disk"
USE_EMBEDDED = "Switch to the embedded model"
ASKING_HUB = "Asking the model hub whether it can be reached …"
OFFLINE = "The model hub cannot be reached from here, so nothing can be downloaded."

# Settings
YOUR_NAME = "Your name"
YOUR_NAME_HINT = "What the persona calls you."
SAMPLING = "Sampling"
SAMPLING_HINT = "Starts from the persona's own values. What you change holds for this conversation."
RESET = "Reset"
RESET_ALL = "Reset all"
CHANGED = "changed"
LINES_HINT = "One text a line; \\n stands for a line break."
MAP_HINT = "One token id and its bias a line, such as 13: -5"
GROUPS = {  # title and hint; a group with a hint is folded
    "choice": ("", ""),
    "length": ("", ""),
    "repetition": ("Repetition penalties", "Make words that were used before less likely."),
    "dry": ("DRY", "Don't repeat yourself: breaks up loops of whole phrases."),
    "xtc": ("XTC", "Exclude top choices: now and then a less usual word, for livelier prose."),
    "words": ("Words and tokens", "What must not be written, and what is favoured."),
}
FIELD_NAMES = {
    "temperature": "Temperature",
    "top_p": "Top p",
    "top_k": "Top k",
    "min_p": "Min p",
    "repetition_penalty": "Repetition penalty",
    "frequency_penalty": "Frequency penalty",
    "presence_penalty": "Presence penalty",
    "max_tokens": "Longest reply",
    "stop": "Stop strings",
    "seed": "Seed",
    "xtc_probability": "XTC probability",
    "xtc_threshold": "XTC threshold",
    "dry_multiplier": "DRY multiplier",
    "dry_base": "DRY base",
    "dry_allowed_length": "DRY allowed length",
    "dry_penalty_last_n": "DRY range",
    "dry_sequence_breakers": "DRY sequence breakers",
    "banned_strings": "Banned strings",
    "logit_bias": "Logit bias",
}

# Prompt inspector
PROMPT_TOKENS = "{count} tokens"
PROMPT_KEPT = "{kept} messages kept, {dropped} dropped"
PROMPT_LAST = "The last reply read {prompt}."
PROMPT_HINT = "The next reply would begin after this text. Marked words are control tokens."
LORE = "Lore"
LORE_SPEAKS = "is read"
LORE_SILENT = "stays silent"
DRAWS = "Drawn values"

# Replay
REPLAY_SPEED = "Speed"
REPLAY_STOP = "Stop the replay"
REPLAY_AGAIN = "Play again"
INSTANT = "Instant"

# Notices
CLOSE = "Close"
COPIED = "Copied"
DELETED_CHAT = "“{title}” was deleted."
DELETED_MESSAGE = "The message was deleted."
RESTORED = "“{title}” is back."
NOTHING_TO_UNDO = "There is nothing to undo."
NOTHING_TO_REDO = "There is nothing to do again."
UNREACHABLE = "The server cannot be reached. Nothing was lost; try again in a moment."
UNKNOWN_CONVERSATION = "This conversation is not here. It may belong to another browser."
ELSEWHERE = "This conversation went on in another tab. Read it, then send again."
DEFECT = "Something went wrong on the server; its log says more."

GALLERY_TITLE = "Who would you like to talk to?"

# The words that the page's own script needs, handed over as JSON.
FOR_SCRIPT = {
    "CANCEL": CANCEL,
    "CLOSE": CLOSE,
    "COPIED": COPIED,
    "DELETE": DELETE,
    "DELETED_MESSAGE": DELETED_MESSAGE,
    "DELETE_CHAT": DELETE_CHAT,
    "EDIT": EDIT,
    "EXPORT_JSON": EXPORT_JSON,
    "EXPORT_MARKDOWN": EXPORT_MARKDOWN,
    "MODEL": MODEL,
    "PRODUCT": PRODUCT,
    "PROMPT": PROMPT,
    "REDO": REDO,
    "RENAME": RENAME,
    "REPLAY": REPLAY,
    "SAVE": SAVE,
    "SAVE_AND_SEND": SAVE_AND_SEND,
    "SEND": SEND,
    "SETTINGS": SETTINGS,
    "STOP": STOP,
    "UNDO": UNDO,
    "UNKNOWN_CONVERSATION": UNKNOWN_CONVERSATION,
    "UNREACHABLE": UNREACHABLE,
}
