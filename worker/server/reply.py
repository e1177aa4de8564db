"""The head of an app's own response, out of ASGI's ``http.response.start``: checked, and framed as we see fit.

Pure.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from worker.http1 import BODILESS, TOKEN, UNKNOWN_LENGTH

_FIELDS = re.compile(rb"(?:\r\n" + TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+)*")
_STEERING = re.compile(rb"\r\n((?i:connection|content-length|date|transfer-encoding)): *+([^\r]*+)")
_OURS = re.compile(rb"\r\n(?i:connection|transfer-encoding):[^\r]*+")
_PERSISTENCE = frozenset({b"close", b"keep-alive", b""})
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Reply:
    """A response's head, as far as it does not depend on the connection it goes out on.

    ``fields`` are a block as ``worker.http1`` has them, without what says how long the connection lives and how the
    body is framed; ``length`` is what Content-Length says, else ``UNKNOWN_LENGTH``; ``has_body``: whether one may
    follow; ``close``: the app wants the connection to end with it.
    """

    __slots__ = ("close", "fields", "has_body", "has_date", "length", "reason", "status")

    def __init__(self, status: int, fields: bytes, *, to_head: bool) -> None:
        self.status = status
        self.reason = _REASONS.get(status, b"")
        self.has_body = not to_head and status not in BODILESS
        self.length: int = UNKNOWN_LENGTH
        self.has_date = self.close = False
        is_ours = False
        options: list[bytes] = []
        for name, value in _STEERING.findall(fields):
            match name.lower():
                case b"content-length":
                    self.length = _length(value, self.length)
                case b"date":
                    self.has_date = True
                case b"connection":
                    is_ours = True
                    options += [option.strip() for option in value.split(b",")]
                case _:
                    is_ours = True  # ASGI leaves the framing to the server
        self.fields = _OURS.sub(b"", fields) if is_ours else fields
        if options:
            self.close = any(option.lower() == b"close" for option in options)
            kept = [option for option in options if option.lower() not in _PERSISTENCE]
            if kept:
                self.fields += b"\r\nconnection: " + b", ".join(kept)

    @classmethod
    def of(cls, message: Mapping[str, Any], *, to_head: bool) -> "Reply":
        """What ``http.response.start`` says.

        Raises:
            ValueError: no head of a final response can say that; a line end in a field would be a second field.
        """
        status = message["status"]
        headers = message.get("headers", ())
        fields = b"".join([b"\r\n%b: %b" % (name, value) for name, value in headers])
        if not 200 <= status <= 999:
            raise ValueError(f"{status} is not the status of a final response")
        if fields.count(b"\r\n") != len(headers) or not _FIELDS.fullmatch(fields):
            raise ValueError("a header that HTTP cannot carry")
        return cls(status, fields, to_head=to_head)


def _length(value: bytes, before: int) -> int:
    if before != UNKNOWN_LENGTH or not value.isdigit() or len(value) > 18:
        raise ValueError("a bad Content-Length")
    return int(value)
