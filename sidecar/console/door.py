"""Every request passes here: refused for what it says of itself or for its size, and answered with fields for browsers.

The page runs nothing but its own files: no script or style from elsewhere or inline, in no frame, with no referrer.
"""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.console.rules import Refusal, fields_of, refusal
from sidecar.console.setting import Live

MAX_BODY_BYTES = 16_384
BODY_S = 10.0
POLICY = "; ".join(
    [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
        "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
    ]
)  # fmt: skip
FIELDS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Door:
    """Around the application."""

    def __init__(self, app: ASGIApp, live: Live) -> None:
        self._app = app
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(MutableHeaders(scope=message))
            await send(message)

        if scope["type"] != "http":
            return
        refused = refusal(scope["method"], scope["path"], fields_of(scope["headers"]), self._live.setting.names)
        body = b""
        if refused is None and scope["method"] == "POST":
            try:
                async with asyncio.timeout(BODY_S):
                    body = await _whole(receive)
            except (ValueError, TimeoutError):
                refused = Refusal(status=413, why=f"a body comes at once, and has at most {MAX_BODY_BYTES} bytes")
        app = self._app if refused is None else JSONResponse({"detail": refused.why}, status_code=refused.status)
        await app(scope, _again(body, receive), answer)


async def _whole(receive: Receive) -> bytes:
    """All of a body.

    Raises:
        ValueError: it is too long, or its sender has gone.
    """
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or len(body) > MAX_BODY_BYTES:
            raise ValueError
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, and then what comes."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _complete(headers: MutableHeaders) -> None:
    for name, value in FIELDS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")
