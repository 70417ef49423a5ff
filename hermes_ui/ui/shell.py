"""The page's own frame: list of conversations, chat, drawer. Static; the script fills it."""

from html import escape

from hermes_ui.ui import icons, words
from hermes_ui.ui.render import button


def shell(*, temporary_storage: bool) -> str:
    """The frame as HTML."""
    return (
        f'<div class="shell">{_sidebar(temporary_storage)}'
        '<div class="scrim" data-action="close-sidebar"></div>'
        f"{_topbar()}{_chat()}{_drawer()}"
        '<div class="menu" data-part="menu" role="menu" popover="manual"></div>'
        '<div class="notices" data-part="notices" role="status"></div>'
        '<div class="unseen" data-part="announcer" aria-live="polite"></div></div>'
    )


def _sidebar(temporary_storage: bool) -> str:
    temporary = f'<p class="temporary">{words.TEMPORARY}</p>' if temporary_storage else ""
    return (
        '<aside class="sidebar" data-part="sidebar">'
        f'<div class="brand"><span class="mark" aria-hidden="true">H</span>{words.PRODUCT}'
        f'<span class="gap"></span>{button("theme", words.THEME, icons.MOON + icons.SUN)}'
        f"{button('close-sidebar', words.CLOSE_SIDEBAR, icons.CLOSE)}</div>"
        f'<button type="button" class="new-chat" data-action="gallery">{icons.NEW}{words.NEW_CHAT}'
        f'</button><label class="search"><span class="unseen">{words.SEARCH}</span>{icons.SEARCH}'
        f'<input type="search" data-part="search" placeholder="{words.SEARCH}" autocomplete="off">'
        '</label><nav class="rows" data-part="rows" '
        f'aria-label="{words.ALL_CONVERSATIONS}"></nav>'
        f'{temporary}<button type="button" class="link deleted" data-action="deleted" '
        f'data-part="deleted" data-other="{words.ALL_CONVERSATIONS}">{words.RECENTLY_DELETED}'
        "</button></aside>"
    )


def _topbar() -> str:
    """What stands above the gallery."""
    return (
        f'<header class="topbar">{button("open-sidebar", words.OPEN_SIDEBAR, icons.MENU)}'
        f"<h1>{words.GALLERY_TITLE}</h1>{_chip()}</header>"
    )


def _chip() -> str:
    return f'<button type="button" class="chip" data-action="model" title="{words.MODEL}"></button>'


def _chat() -> str:
    return (
        f'<main class="chat" data-part="chat">{_head()}'
        f'<div class="banner" data-part="outdated" hidden>{words.NEWER_PERSONA} '
        f'<button type="button" class="link" data-action="pin">{words.USE_IT}</button></div>'
        '<div class="scroller" data-part="scroller" tabindex="-1"><div class="column">'
        '<button type="button" class="paging" data-action="earlier" data-part="earlier" hidden>'
        '</button><div class="messages" data-part="messages"></div>'
        '<div data-part="live"></div><p class="quiet empty" data-part="empty" hidden></p>'
        '<p class="failure" data-part="failure" role="alert" hidden></p>'
        '<button type="button" class="plain unanswered" data-action="answer" '
        f'data-part="unanswered" hidden>{words.GET_REPLY}</button>'
        '<button type="button" class="paging" data-action="newer" data-part="newer" hidden>'
        '</button><div class="stage" data-part="stage" hidden></div></div></div>'
        f'<button type="button" class="newest" data-action="newest" data-part="newest" hidden>'
        f"{icons.DOWN}{words.NEWEST}</button>{_composer()}{_replay_bar()}</main>"
    )


def _head() -> str:
    return (
        f'<header class="head">{button("open-sidebar", words.OPEN_SIDEBAR, icons.MENU)}'
        '<span data-part="head-avatar"></span><div class="who">'
        f'<h1><button type="button" class="title" data-action="rename-here" data-part="title" '
        f'title="{words.RENAME_HINT}"></button></h1><bdi class="speaker" data-part="speaker"></bdi>'
        '</div><button type="button" class="meter" data-action="prompt" data-part="meter" hidden>'
        '<span class="bar" aria-hidden="true"><i class="used"></i><i class="reply"></i></span>'
        f'<span class="short"></span></button>{_chip()}'
        f"{button('undo', words.UNDO, icons.UNDO)}{button('redo', words.REDO, icons.REDO)}"
        f"{button('settings', words.SETTINGS, icons.SETTINGS)}"
        f"""{button("chat-menu", words.MENU, icons.MORE, 'aria-haspopup="menu"')}</header>"""
    )


def _composer() -> str:
    hint = escape(words.INPUT_HINT)
    return (
        '<form class="composer" data-part="composer"><div class="field">'
        f'<textarea data-part="input" rows="1" dir="auto" title="{hint}" maxlength="100000" '
        'enterkeyhint="enter"></textarea>'
        f'<button type="submit" class="send" data-part="send" aria-label="{words.SEND}" '
        f'title="{words.SEND}"><span class="to-send">{icons.SEND}</span>'
        f'<span class="to-stop">{icons.STOP}</span></button></div></form>'
    )


def _replay_bar() -> str:
    speeds = "".join(
        f'<label><input type="radio" name="speed" value="{value}" '
        f"{'checked' if value == '1' else ''}><span>{label}</span></label>"
        for value, label in (("1", "×1"), ("2", "×2"), ("4", "×4"), ("instant", words.INSTANT))
    )
    return (
        '<div class="replay-bar" data-part="replay-bar" hidden><strong></strong>'
        f'<fieldset><legend class="unseen">{words.REPLAY_SPEED}</legend>{speeds}</fieldset>'
        f'<button type="button" class="plain" data-action="replay-again">{words.REPLAY_AGAIN}'
        '</button><button type="button" class="primary" data-action="replay-stop">'
        f"{words.REPLAY_STOP}</button></div>"
    )


def _drawer() -> str:
    return (
        '<dialog class="drawer" data-part="drawer" aria-labelledby="drawer-title">'
        '<header><h2 id="drawer-title"></h2>'
        f"{button('close-drawer', words.CLOSE, icons.CLOSE)}</header>"
        '<div class="drawer-body"></div></dialog>'
    )
