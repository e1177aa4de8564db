"""What an ASGI scope says, as the head that an exchange works with."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import quote

from sidecar.contract.config import Listen
from worker.failure import Failure, Refused
from worker.http1 import RequestHead, read_request

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Shortcut:
    """How a server of ours spares an exchange the way through ASGI; in ``scope["extensions"]["sidebeat"]``."""

    __slots__ = ()

    def head(self, scope: Scope) -> RequestHead | None:
        """The head as the client sent it; None where the scope no longer says the same."""
        raise NotImplementedError

    def can_forward(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the request is as it came and nobody has to see the response pass."""
        raise NotImplementedError

    async def forward(self) -> None:
        """Forward it, and wait for the end."""
        raise NotImplementedError


def shortcut_of(scope: Scope) -> Shortcut | None:
    """The one that our server left there, if it was ours."""
    extensions = scope.get("extensions")
    shortcut = extensions.get("sidebeat") if extensions else None
    return shortcut if isinstance(shortcut, Shortcut) else None


_NOT_OF_THE_CLIENT = frozenset(
    {
        b"content-length", b"transfer-encoding", b"upgrade", b"sec-websocket-extensions", b"sec-websocket-key",
        b"sec-websocket-protocol", b"sec-websocket-version",
    }
)  # fmt: skip
"""Fields of a handshake that each leg of a WebSocket has for itself, and those of a body, of which it has none."""


def head_of(scope: Scope, listen: Listen, *, framed: bool) -> RequestHead:
    """A scope as the head it stands for, read like any other.

    ``framed``: its fields tell whether a body follows; else one does, of any length.

    Raises:
        Refused: it is none, or says more than one request would.
    """
    fields = [(name, value) for name, value in scope["headers"] if name != b"upgrade"]
    if not framed:
        fields.append((b"transfer-encoding", b"chunked"))
    return _read_head(scope, scope["method"].encode(), b"0" if scope["http_version"] == "1.0" else b"1", fields, listen)


def handshake_of(scope: Scope, listen: Listen, own: list[tuple[bytes, bytes]]) -> RequestHead:
    """A WebSocket's scope as the request that asks a backend for one; ``own`` is what our leg has to say in it.

    Raises:
        Refused: it is none, or says more than one request would.
    """
    # uvicorn leaves names as they came, though ASGI has them in lower case.
    fields = [(name, value) for name, value in scope["headers"] if name.lower() not in _NOT_OF_THE_CLIENT]
    return _read_head(scope, b"GET", b"1", fields + own, listen)


def _read_head(
    scope: Scope, method: bytes, version: bytes, fields: list[tuple[bytes, bytes]], listen: Listen
) -> RequestHead:
    target = scope.get("raw_path") or quote(scope["path"], safe="/%:@!$&'()*+,;=~").encode()
    if query := scope["query_string"]:
        target = b"%b?%b" % (target, query)
    return head_from(method, target, version, fields, listen)


def head_from(
    method: bytes, target: bytes, version: bytes, fields: list[tuple[bytes, bytes]], listen: Listen
) -> RequestHead:
    """The head that is made of these, read like one that came in; ``version`` is the minor one, as it is written.

    Raises:
        Refused: it is none, or says more than one request would.
    """
    lines = [b"\r\n%b: %b" % field for field in fields]
    data = b"%b %b HTTP/1.%b%b\r\n\r\n" % (method, target, version, b"".join(lines))
    head = read_request(data, listen.max_header_bytes, listen.max_headers)
    if head is None or head.size != len(data) or head.target != target or head.fields.count(b"\r\n") != len(lines):
        raise Refused(Failure.BAD_REQUEST, "a line end where none may be")
    return head


def is_framed(scope: Scope) -> bool:
    """Whether its fields tell where the body ends."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def make_way(receive: Receive, fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Have uvicorn leave out its own Date and Server where these fields have them.

    It puts them before ours, unless it was told at its start not to: some clients refuse an answer with two dates.
    """
    cycle: Any = getattr(receive, "__self__", None)
    defaults = getattr(cycle, "default_headers", None)
    if isinstance(defaults, list) and defaults:
        names = {name for name, _ in fields}
        cycle.default_headers = [pair for pair in defaults if pair[0] not in names]  # of this request alone
