"""Where the frames of a WebSocket begin and end, read beside a tunnel that passes them on as they came (RFC 6455 §5).

Only headers are looked at. Payloads are stepped over and never copied, so that compression, masks and whatever an
extension makes of the reserved bits stay the business of the two ends. What is known in the end is whether a frame of
our own may stand between theirs, and who has said goodbye. Pure.
"""

_FINAL = 0x80
_CONTROL = 0x08
_CLOSE, _PING, _PONG = 0x88, 0x89, 0x8A
_CONTROLS = frozenset({_CLOSE, _PING, _PONG})
_BETWEEN_MESSAGES = _CONTROLS | {0x01, 0x02, 0x81, 0x82}
_WITHIN_MESSAGE = _CONTROLS | {0x00, 0x80}
"""How a frame may begin: its first byte without the reserved bits."""

_MAX_HEADER = 14
_MAX_CONTROL = 125
_HEADER_SIZES = [2 + {126: 2, 127: 8}.get(each & 0x7F, 0) + (4 if each & 0x80 else 0) for each in range(256)]
"""By the second byte: of the header alone."""


def _steps(allowed: frozenset[int]) -> list[list[int]]:
    """By the first two bytes: how far it is to the next frame, -(size of the header) where two more bytes say that.

    0 for what needs a closer look: what breaks the rules, a close frame, a length of eight bytes.
    """
    short = [size + (each & 0x7F) if each & 0x7F < 126 else 0 for each, size in enumerate(_HEADER_SIZES)]
    data = [-size if each & 0x7F == 126 else short[each] for each, size in enumerate(_HEADER_SIZES)]
    rows = {kind: short if kind & _CONTROL else data for kind in allowed - {_CLOSE}}
    return [rows.get(each & 0x8F, [0] * 256) for each in range(256)]


_STEPS_BETWEEN = _steps(_BETWEEN_MESSAGES)
_STEPS_WITHIN = _steps(_WITHIN_MESSAGE)


class FrameTracker:
    """What has passed in one direction of a tunnel.

    ``messages`` have passed to their last byte. ``last_control`` is the opcode of the latest control frame (8 close,
    9 ping, 10 pong), None before the first. ``close_code`` is what a close frame says, whether or not it may say so;
    None where it says nothing. ``broken`` where no reader can take this for a WebSocket: a reserved opcode, a control
    frame that is too long or in fragments, a length over 63 bits, a fragment of no message or a message within one.
    Nobody knows then where frames begin. What else breaks the rules, a payload or a missing mask, is for the other
    end to find.
    """

    __slots__ = (
        "_ends_message", "_held", "_is_open", "_is_over", "_left",
        "broken", "close_code", "last_control", "messages",
    )  # fmt: skip

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._is_open = self._is_over = False
        self._ends_message = False
        self.messages = 0
        self.last_control: int | None = None
        self.close_code: int | None = None
        self.broken = False

    @property
    def at_boundary(self) -> bool:
        """Whether what has passed is whole frames, or nothing; never so in a broken stream."""
        return not (self._left or self._held or self.broken)

    @property
    def in_message(self) -> bool:
        """Whether a message has begun and not ended; control frames may stand within it."""
        return self._is_open or self._ends_message

    @property
    def closed(self) -> bool:
        """Whether a close frame has passed to its last byte; what follows it means nothing (§5.5.1)."""
        return self._is_over and self.at_boundary

    @property
    def may_insert(self) -> bool:
        """Whether a control frame of ours may follow what has passed."""
        return self.at_boundary and not self._is_over

    def feed(self, data: bytes | memoryview) -> None:
        """Look at what passes, in whatever pieces it comes."""
        size, left = len(data), self._left
        if size < left:
            self._left = left - size
            return
        if size > 3 and not (left or self._held or self._is_open or self._is_over):
            first = data[0]
            step = _STEPS_BETWEEN[first][data[1]]
            if step < 0:
                step = (data[2] << 8 | data[3]) - step
            if step == size and first & _FINAL and not first & _CONTROL:
                self.messages += 1  # one message in one frame and one read, the usual case: half of what it takes below
                return
        at = self._resume(data) if self._held else left
        while at <= size:
            self.messages += self._ends_message
            self._ends_message = False
            if self._is_over:
                at = size
                break
            at = self._skip_whole(data, at)
            if at == size:
                break
            at = self._read_header(data, at)
        self._left = at - size

    def feed_to_boundary(self, data: bytes | memoryview, *, of_message: bool = False) -> int:
        """Look at no more than the end of the frame under way, or of the message; how much of ``data`` that was."""
        at, size = 0, len(data)
        while at < size and (self._left or self._held or (of_message and self.in_message and not self._is_over)):
            end = min(at + (self._left or 1), size)  # a header in pieces says with its last byte how far it is
            self.feed(data[at:end])
            at = end
        return at

    def _skip_whole(self, data: bytes | memoryview, at: int) -> int:
        """Step over frames that are here to their last byte: the usual ones, and up to 130,000 in one read."""
        size = len(data)
        last = size - 1
        steps = _STEPS_WITHIN if self._is_open else _STEPS_BETWEEN
        messages, control = self.messages, self.last_control
        while at < last:
            first = data[at]
            step = steps[first][data[at + 1]]
            if step < 0 and at + 3 < size:
                step = (data[at + 2] << 8 | data[at + 3]) - step
            if step <= 0 or at + step > size:
                break
            at += step
            if first & _CONTROL:
                control = first & 0x0F
            elif first & _FINAL:
                messages += 1
                steps = _STEPS_BETWEEN
            else:
                steps = _STEPS_WITHIN
        self.messages, self.last_control = messages, control
        self._is_open = steps is _STEPS_WITHIN
        return at

    def _resume(self, data: bytes | memoryview) -> int:
        """Read a header that came in pieces; where in ``data`` its frame ends."""
        held, self._held = self._held, b""
        return self._read_header(held + data[:_MAX_HEADER], 0) - len(held)

    def _read_header(self, data: bytes | memoryview, at: int) -> int:
        """Where the frame at ``at`` ends; the end of ``data`` while its header is incomplete."""
        header = bytes(data[at : at + _MAX_HEADER])
        kind, second = header[0] & 0x8F, header[1] if len(header) > 1 else 0
        short = second & 0x7F
        if kind not in (_WITHIN_MESSAGE if self._is_open else _BETWEEN_MESSAGES):
            return self._break(at)
        if kind & _CONTROL and short > _MAX_CONTROL:
            return self._break(at)
        size = _HEADER_SIZES[second]
        if len(header) < size + (2 if kind == _CLOSE and short > 1 else 0):
            self._held = header
            return at + len(header)
        length = short if short < 126 else int.from_bytes(header[2 : 4 if short == 126 else 10], "big")
        if length >> 63:
            return self._break(at)
        if kind & _CONTROL:
            self.last_control = kind & 0x0F
        else:
            self._is_open = not kind & _FINAL
            self._ends_message = not self._is_open
        if kind == _CLOSE:
            self._is_over = True
            self.close_code = _code_of(header)
        return at + size + length

    def _break(self, at: int) -> int:
        """This is no WebSocket, or none any more."""
        self.broken = self._is_over = True
        return at


def _code_of(header: bytes) -> int | None:
    """What a close frame says: the first two bytes of its payload, if it has so many (§5.5.1)."""
    if header[1] & 0x7F < 2:
        return None
    if header[1] & 0x80:
        return int.from_bytes(header[6:8], "big") ^ int.from_bytes(header[2:4], "big")
    return int.from_bytes(header[2:4], "big")


_SENDABLE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""RFC 6455 §7.4 and what IANA has added since: 1012 to 1014. 1004 to 1006 and 1015 are for programs to tell each
other; 2000 and its like are for extensions nobody has written."""


def may_send(code: int) -> bool:
    """Whether a close frame may say this."""
    return code in _SENDABLE_CODES


def close_frame(code: int, reason: str = "", *, mask: bytes | None) -> bytes:
    """A close frame; ``mask``: four bytes of chance in what a client sends, None in what a server does (§5.3).

    ``reason`` is cut where the frame is full, between two characters.

    Raises:
        ValueError: the code may not be sent, or the mask is not of four bytes.
    """
    if not may_send(code):
        raise ValueError(f"no close frame may say {code}")
    fitting = reason.encode(errors="replace")[: _MAX_CONTROL - 2].decode(errors="ignore").encode()
    payload = code.to_bytes(2, "big") + fitting
    if mask is None:
        return bytes((_CLOSE, len(payload))) + payload
    if len(mask) != 4:
        raise ValueError(f"a mask of {len(mask)} bytes")
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes((_CLOSE, 0x80 | len(payload))) + mask + masked
