"""The backend's leg of a WebSocket whose client's leg ends at the ASGI server: messages in and out, bytes out and in.

A client of RFC 6455 without a connection of its own. It offers no extensions: backends are near, and what the client
has compressed was unpacked by the server in front of us. Pings are answered here, fragments become messages, and what
breaks the rules ends the leg.
"""

from collections.abc import Sequence

from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from worker.failure import Failure, Refused
from worker.frames import may_send
from worker.http1 import ResponseHead
from worker.tunnel.websocket import REASONS, Code

_DATA = frozenset({Opcode.CONT, Opcode.TEXT, Opcode.BINARY})
_NOWHERE = WebSocketURI(False, "backend.invalid", 80, "/", "")  # noqa: FBT003 - for a request that is never made
_MAX_REASON = 123
"""Bytes of a close frame that are left for the reason (RFC 6455 §5.5)."""
_LOST = Close(Code.BAD_GATEWAY, REASONS[Code.BAD_GATEWAY])
_BROKEN = Close(Code.BAD_GATEWAY, "the backend broke the protocol")
_TOO_BIG = Close(CloseCode.MESSAGE_TOO_BIG, "")


class Leg:
    """One WebSocket to a backend.

    Args:
        subprotocols: what the client offers, best first.
        max_bytes: of a message; a longer one ends the leg with 1009.
    """

    def __init__(self, subprotocols: Sequence[str], max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._offered = [Subprotocol(each) for each in subprotocols]
        self._protocol = ClientProtocol(_NOWHERE, subprotocols=self._offered or None, max_size=max_bytes)
        self._parts: list[bytes] = []
        self._is_text = False
        self._is_garbled = False

    @property
    def request_fields(self) -> list[tuple[bytes, bytes]]:
        """What a handshake says beside what HTTP wants (RFC 6455 §4.1)."""
        fields = [
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-key", self._protocol.key.encode()),
            (b"sec-websocket-version", b"13"),
        ]
        if self._offered:
            fields.append((b"sec-websocket-protocol", ", ".join(self._offered).encode()))
        return fields

    def open(self, head: ResponseHead) -> str | None:
        """The backend's 101; the subprotocol it has chosen.

        Raises:
            Refused: it does not answer this handshake.
        """
        self._protocol.receive_data(b"HTTP/1.1 101%b%b\r\n\r\n" % (head.reason, head.fields))
        self._protocol.events_received()
        if self._protocol.handshake_exc is not None:
            raise Refused(Failure.BAD_RESPONSE, str(self._protocol.handshake_exc))
        return self._protocol.subprotocol

    def feed(self, data: bytes) -> list[str | bytes]:
        """The messages that are whole with these bytes; text as ``str``."""
        self._protocol.receive_data(data)
        messages: list[str | bytes] = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in _DATA and not self._is_garbled:
                self._collect(event, messages)
        return messages

    def _collect(self, frame: Frame, messages: list[str | bytes]) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        parts, self._parts = self._parts, []
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        try:
            messages.append(whole.decode() if self._is_text else whole)
        except UnicodeDecodeError:
            self._is_garbled = True
            self._protocol.fail(CloseCode.INVALID_DATA)

    def send(self, message: str | bytes) -> bool:
        """A message for the backend, dropped once either side has said goodbye; False if it is longer than may be."""
        data = message.encode() if isinstance(message, str) else message
        if len(data) > self._max_bytes:
            return False
        if self._protocol.state is OPEN:
            (self._protocol.send_text if isinstance(message, str) else self._protocol.send_binary)(data)
        return True

    def close(self, code: int, reason: str) -> None:
        """Say goodbye in the client's words, unless that is done.

        1005 says nothing, as it came; what else no frame may say becomes 1011 (RFC 6455 §7.4.1).
        """
        if self._protocol.state is not OPEN:
            return
        if code == CloseCode.NO_STATUS_RCVD:
            self._protocol.send_close()
        elif may_send(code):
            self._protocol.send_close(code, reason.encode(errors="replace")[:_MAX_REASON].decode(errors="ignore"))
        else:
            self._protocol.send_close(CloseCode.INTERNAL_ERROR)

    @property
    def goodbye(self) -> Close | None:
        """How the backend ended it, None while it has not; 1005 where it did not say why.

        1014 is our word for a backend that broke the rules or off.
        """
        trouble = self._protocol.parser_exc
        if isinstance(trouble, PayloadTooBig):
            return _TOO_BIG
        if isinstance(trouble, EOFError):
            return _LOST
        if self._is_garbled or trouble is not None:
            return _BROKEN
        return self._protocol.close_rcvd

    def end(self) -> None:
        """The backend sends no more."""
        self._protocol.receive_eof()

    def to_send(self) -> list[bytes]:
        """What is to go to the backend now."""
        return [data for data in self._protocol.data_to_send() if data]
