"""Who may ask: the token, the host and origin of a request, its body, and the headers of every answer. Plain ASGI."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Literal
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from accompany.serve.limits import Address, is_loopback

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OPEN_PATHS = ("/page.css", "/icon.svg")
_UPLOAD_PATH = "/api/vocals"
_MOST_JSON_BYTES = 65_536
_JSON_S = 10.0
_LENGTH_DIGITS = 18
CLOSE = {"Connection": "close"}  # nobody waits for the rest of a body that comes too slowly
_OWN_SITE = ("same-origin", "none")
_NO_FRAME = "frame-ancestors 'none'"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; media-src 'self' blob:; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        f"form-action 'self'; {_NO_FRAME}"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_SIGN_IN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>accompany</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/page.css">
<body class="sign-in"><main class="card"><h1>accompany</h1><p>This server asks for its token.
It stands in the terminal that runs <code>accompany serve</code>.</p>
<form method="get" action="/"><label>Token <input name="token" type="password" autocomplete="off" required></label>
<button class="primary">Enter</button></form></main></body></html>"""


class Gate:
    """Lets a request through to `app` when it may: right host, right origin, right token, a body that comes in time."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        """Guard `app`, which listens at `address`."""
        self.app, self.address = app, address
        self._headers = dict(_HEADERS)
        if address.embed:
            rules = _HEADERS["Content-Security-Policy"]
            self._headers["Content-Security-Policy"] = rules.replace(_NO_FRAME, f"frame-ancestors {address.embed}")
        self._cookie = f"accompany_token_{address.port}"
        self._pass = hashlib.sha256(b"accompany page " + address.token.encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            elif head_only:
                message = {**message, "body": b""}
            await send(message)

        head_only = scope["method"] == "HEAD"
        if head_only:  # the routes know GET alone
            scope = {**scope, "method": "GET"}
        app: ASGIApp | None = self._refuse(scope)
        if app is None and scope["method"] not in _SAFE_METHODS and scope["path"] != _UPLOAD_PATH:
            body = await _whole_body(receive)
            app = _no(408, "The body of this request came too slowly.", CLOSE) if body is None else None
            receive = _replayed(body or b"", receive)
        await (app or self.app)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = _host_name(headers.get("host", ""))
        # A page elsewhere can point a name of its own at this machine (DNS rebinding); the name gives it away.
        if self.address.local and not (is_loopback(host) or host == self.address.host):
            return _no(403, f"This server answers to localhost only, not to {host or 'no name'}.")
        if scope["method"] not in _SAFE_METHODS and _from_elsewhere(headers):
            return _no(403, "This request comes from a page of another site; use the page of this server.")
        if scope["path"] != _UPLOAD_PATH and _large(headers):
            return _no(413, f"The body of this request must be JSON of at most {_MOST_JSON_BYTES} bytes.")
        if self.address.token and scope["path"] not in _OPEN_PATHS:
            return self._ask_token(scope, headers)
        return None

    def _ask_token(self, scope: Scope, headers: Headers) -> Response | None:
        given = headers.get("authorization", "")
        if given and _same(given, f"Bearer {self.address.token}"):
            return None
        if _same(_cookie(headers, self._cookie), self._pass):
            return None
        offered = QueryParams(scope["query_string"]).get("token", "")
        if scope["path"] == "/" and offered and _same(offered, self.address.token):
            answer = RedirectResponse("/", status_code=303)
            https = scope.get("scheme") == "https"
            keep_cookie(answer, self._cookie, self._pass, "lax", https=https, embedded=bool(self.address.embed))
            return answer
        if scope["path"] == "/":
            return HTMLResponse(_SIGN_IN, status_code=401)
        return _no(401, "This server asks for its token: send the header 'Authorization: Bearer TOKEN'.")


def keep_cookie(
    response: Response, name: str, value: str, samesite: Literal["lax", "strict"], *, https: bool, embedded: bool
) -> None:
    """Set a cookie that pages of this server alone send back; one of an embedded page belongs to that frame."""
    if not embedded:
        response.set_cookie(name, value, httponly=True, samesite=samesite, secure=https)
        return
    response.set_cookie(name, value, httponly=True, samesite="none", secure=True)
    key, cookie = response.raw_headers[-1]  # starlette knows the word from Python 3.14 on
    response.raw_headers[-1] = (key, cookie + b"; Partitioned")


def declared_bytes(headers: Headers) -> int | None:
    """What a request says of the length of its body; None where it says nothing that can be read."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) <= _LENGTH_DIGITS else None


def _large(headers: Headers) -> bool:
    """Whether a body has more bytes than JSON of ours needs, or does not say how many it has."""
    if "transfer-encoding" in headers:
        return True
    length = declared_bytes(headers)
    return "content-length" in headers and (length is None or length > _MOST_JSON_BYTES)


async def _whole_body(receive: Receive) -> bytes | None:
    """The body of a request, which is small; None for one that does not come in time."""
    body = b""
    with anyio.move_on_after(_JSON_S):
        while len(body) <= _MOST_JSON_BYTES:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return body
    return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was read already, and then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _from_elsewhere(headers: Headers) -> bool:
    """Whether a page of another site sent a request: browsers say so, and nothing else sends these headers."""
    own = headers.get("host", "").lower()
    origins = headers.getlist("origin")
    site = headers.get("sec-fetch-site", "none")
    return site not in _OWN_SITE or any(_netloc(origin) != own for origin in origins)


def _netloc(origin: str) -> str:
    """Host and port of an Origin header; empty for one that cannot be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    """The host of a Host header, without its port; empty for one that cannot be read."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookie(headers: Headers, name: str) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())


def _no(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)
