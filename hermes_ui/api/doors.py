"""The doors in front of every route: who may come in, from where, and as whom.

Gradio checks origins only for local host names and hosts not at all, so both checks
stand here, before it. What passes carries its owner in `OWNER_HEADER`, which nobody
outside can set.
"""

import hashlib
import ipaddress
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWNER_HEADER = "x-hermes-owner"
OWNER_COOKIE = "hermes_owner"
LOCAL_OWNER = "local"
COOKIE_SECONDS = 400 * 24 * 3600  # browsers cap a cookie's life here
TOKEN_BYTES = 32

# Gradio needs inline scripts and compiles templates; everything else comes from us alone.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}"
)


class Doors:
    """ASGI middleware: Host and Origin checks, the owner's cookie, security headers.

    Args:
        app: What stands behind the doors.
        host_names: Names that the Host header may carry beside localhost and IP addresses,
            which no DNS answer can forge. Lower case, without port.
        owner_per_browser: True gives every browser a secret cookie and its own shelf;
            False puts everyone on the shelf `local`.
        frame_ancestors: Origins that may show the page in a frame.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host_names: Iterable[str] = (),
        owner_per_browser: bool = False,
        frame_ancestors: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._host_names = frozenset(host_names)
        self._owner_per_browser = owner_per_browser
        self._policy = CONTENT_POLICY.format(ancestors=" ".join(["'self'", *frame_ancestors]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers)
        if refusal:
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)
            return
        token, is_new = self._token(headers)
        owner = owner_of_token(token) if token else LOCAL_OWNER
        kept = [(name, value) for name, value in scope["headers"] if name != OWNER_HEADER.encode()]
        scope = dict(scope, headers=[*kept, (OWNER_HEADER.encode(), owner.encode())])
        cookie = self._cookie(token, headers) if is_new else ""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._guard(MutableHeaders(scope=message), cookie)
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _refusal(self, headers: Headers) -> str:
        """Why this request may not come in, or nothing."""
        host = headers.get("host", "")
        name = _host_name(host)
        if not (name == "localhost" or _is_address(name) or name in self._host_names):
            return (
                f"The host name {name[:100]!r} is not one that this server answers to. "
                "Add it to HERMES_ALLOWED_HOSTS if it should be.\n"
            )
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc.lower() != host.lower():
            return (
                f"Requests from other sites are not accepted: this one comes from {origin[:100]!r} "
                f"and was sent to {host[:100]!r}. A proxy must pass the Host header on.\n"
            )
        return ""

    def _token(self, headers: Headers) -> tuple[str, bool]:
        """The browser's secret and whether it was drawn just now; empty on the shared shelf."""
        if not self._owner_per_browser:
            return "", False
        # The standard library's parser gives up at another app's cookie that it cannot read.
        token = cookie_parser(headers.get("cookie", "")).get(OWNER_COOKIE, "")
        if len(token) >= TOKEN_BYTES:
            return token, False
        return secrets.token_urlsafe(TOKEN_BYTES), True

    def _cookie(self, token: str, headers: Headers) -> str:
        secure = headers.get("x-forwarded-proto", "").split(",")[0].strip() == "https"
        # A Space shows the page in a frame of another site, where only such cookies are kept.
        reach = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"
        return f"{OWNER_COOKIE}={token}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; {reach}"

    def _guard(self, headers: MutableHeaders, cookie: str) -> None:
        headers["content-security-policy"] = self._policy
        headers["x-content-type-options"] = "nosniff"
        headers["referrer-policy"] = "same-origin"
        if cookie and headers.get("content-type", "").startswith("text/html"):
            headers.append("set-cookie", cookie)


def owner_of_token(token: str) -> str:
    """The owner's name in the database: a hash, so that a copy of it opens no door."""
    return "b-" + hashlib.sha256(token.encode()).hexdigest()[:32]


def _host_name(host: str) -> str:
    """The Host header without its port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].split("]", maxsplit=1)[0].lower()
    return host.rsplit(":", 1)[0].lower() if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
