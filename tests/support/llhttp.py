"""llhttp, the parser of Node.js, as a second opinion on what a message says."""

from dataclasses import dataclass, field

import httptools


def pairs(block: bytes) -> list[tuple[bytes, bytes]]:
    """A block of fields as name and trimmed value."""
    return [
        (name, value.strip(b" \t"))
        for name, _, value in (line.partition(b":") for line in block.removeprefix(b"\r\n").split(b"\r\n") if line)
    ]


@dataclass
class Llhttp:
    """What llhttp makes of a message, fed all at once."""

    data: bytes
    is_response: bool = False
    target: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    has_head: bool = False
    is_done: bool = False
    is_upgrade: bool = False
    is_refused: bool = False

    def __post_init__(self) -> None:
        kind = httptools.HttpResponseParser if self.is_response else httptools.HttpRequestParser
        self.parser = kind(self)
        try:
            self.parser.feed_data(self.data)
        except httptools.HttpParserUpgrade:
            self.is_upgrade = True
        except httptools.HttpParserError:
            self.is_refused = True

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_done = True

    @property
    def accepts(self) -> bool:
        return self.has_head and not self.is_refused

    @property
    def version(self) -> str:
        return str(self.parser.get_http_version())

    @property
    def method(self) -> bytes:
        return bytes(self.parser.get_method())  # type: ignore[union-attr]

    @property
    def status(self) -> int:
        return int(self.parser.get_status_code())  # type: ignore[union-attr]

    def values(self, wanted: bytes) -> list[bytes]:
        return [value for name, value in self.fields if name.lower() == wanted]
