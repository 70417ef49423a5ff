"""The page's icons: outlines on a 20 × 20 grid, drawn in the colour of the text around them."""

_FRAME = (
    '<svg class="icon" viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" '
    'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>'
)


def _icon(*paths: str) -> str:
    return _FRAME.format("".join(f'<path d="{path}"/>' for path in paths))


BACK = _icon("M12 4.5 6.5 10l5.5 5.5")
FORWARD = _icon("M8 4.5l5.5 5.5L8 15.5")
CLOSE = _icon("m5 5 10 10M15 5 5 15")
CONTINUE = _icon("M4 5.5h8M4 10h5M4 14.5h5", "m12 9.5 4 3-4 3z")
COPY = _icon("M7 7h9v9H7z", "M13 7V4H4v9h3")
DELETE = _icon("M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6", "M8.7 9v4M11.3 9v4")
DOWN = _icon("M10 4v12", "m5 11 5 5 5-5")
EDIT = _icon("M4 16v-3L13 4l3 3-9 9z", "m11.5 5.5 3 3")
INFO = _icon("M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14z", "M10 9.2v4", "M10 6.6v.1")
MENU = _icon("M3.5 6h13M3.5 10h13M3.5 14h13")
MOON = _icon("M15.5 12.2A6.3 6.3 0 0 1 7.8 4.5a6.3 6.3 0 1 0 7.7 7.7z")
MORE = _icon("M5 10h.01M10 10h.01M15 10h.01").replace('stroke-width="1.6"', 'stroke-width="2.4"')
NEW = _icon("M10 4v12M4 10h12")
PICTURE = _icon("M3.5 4.5h13v11h-13z", "m4 14 4-4 3 3 2-2 3 3", "M13 7.5h.01")
REDO = _icon("M16 8H8a4 4 0 0 0 0 8h3", "m12.5 4.5 3.5 3.5-3.5 3.5")
REGENERATE = _icon("M15.5 9A6 6 0 1 0 15 13", "M16 4.5V9h-4.5")
SEARCH = _icon("M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z", "m13.2 13.2 3.6 3.6")
SEND = _icon("M10 16V4.5", "m5 9.2 5-5 5 5")
SETTINGS = _icon(
    "M3.5 6h7M14.5 6h2M3.5 14h2M9.5 14h7",
    "M12.5 4a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
    "M7.5 12a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
)
STOP = _icon("M6 6h8v8H6z").replace('fill="none"', 'fill="currentColor"')
SUN = _icon(
    "M10 6.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4z",
    "M10 2.5v1.6M10 15.9v1.6M2.5 10h1.6M15.9 10h1.6",
    "M4.7 4.7l1.1 1.1M14.2 14.2l1.1 1.1M4.7 15.3l1.1-1.1M14.2 5.8l1.1-1.1",
)
TOOL = _icon("M5 5h10v10H5z", "M8 8h.01M12 12h.01M12 8h.01M8 12h.01")
UNDO = _icon("M4 8h8a4 4 0 0 1 0 8H9", "M7.5 4.5 4 8l3.5 3.5")
