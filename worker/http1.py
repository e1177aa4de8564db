r"""HTTP/1.1 messages on the wire: strict reading of heads and of chunked bodies (RFC 9112).

Pure. A head is kept as the bytes that came, ``fields`` being ``\r\nName: value`` repeated, so that order, case,
duplicates and latin-1 bytes survive by construction; only the few fields that steer an exchange are looked at.
One regular expression reads and validates a whole head: bare CR or LF, NUL, obs-fold, space before the colon and
other ways to smuggle simply do not match. ``tests/worker/test_http1.py`` holds it against llhttp.
"""

import re

from worker.failure import Failure, Refused

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_FIELDS = rb"((?:\r\n" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+)*+)\r\n\r\n"
_REQUEST = re.compile(rb"(?:\r\n)?(" + _TOKEN + rb"++) ([!\"$-~]++) HTTP/1\.([01])" + _FIELDS)
_REQUEST_BEGUN = re.compile(rb"(?:\r\n)?(?:" + _TOKEN + rb"|\r?\Z)")
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)((?: [\t\x20-\x7e\x80-\xff]*+)?)" + _FIELDS)

_STEERING = (
    rb"host|connection|content-length|transfer-encoding|te|upgrade|expect|via|forwarded|keep-alive|max-forwards"
    rb"|proxy-connection|proxy-authorization|proxy-authenticate|http2-settings|idempotency-key|date"
    rb"|x[-_]forwarded[-_](?:for|proto|host|port)|x[-_]real[-_]ip|x-sidebeat-[^:]*+|x-health-(?:state|weight)"
)
_SPECIAL = re.compile(rb"\r\n(?=[chtuevfkmpxidCHTUEVFKMPXID])((?i:" + _STEERING + rb")): *+([^\r]*+)")
_IN_AUTHORITY = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+;=%[]:"
_DIGITS = re.compile(rb"\d{1,18}")

_BODILESS = frozenset({204, 304})
_EAGER = 4_096
"""So far into an incomplete head we look for what is wrong with it: looking at all of 64 KiB at each of its bytes took
a minute of a worker's time (measured)."""
MAX_RESPONSE_FIELDS = 100
"""Envoy's limit, both ways."""
_MANY = 4 * MAX_RESPONSE_FIELDS
"""A head of no more bytes cannot have more fields."""

UNKNOWN_LENGTH = -1
CHUNKED = -2
"""Body lengths that are not numbers: until the connection closes (responses only), and chunked."""

Special = dict[bytes, bytes]
"""The steering fields of a head: lower-case name to value. Lines of one name are joined with a comma, which is what
they mean (RFC 9110 §5.3); where a name may stand only once, the comma is what gives a second line away. Spaces around
a value are taken off and tabs are not: they hide a framing field from some recipients, and spoil the value here."""


class RequestHead:
    """A request's head.

    ``target`` is exactly as it came, ``host`` the authority it is meant for; ``version`` the minor one, 0 or 1;
    ``length`` the body's or ``CHUNKED``; ``size`` the bytes of the head itself.
    """

    __slots__ = ("fields", "host", "length", "method", "size", "special", "target", "version")

    def __init__(
        self, method: bytes, target: bytes, version: int, fields: bytes, special: Special, host: bytes, length: int,
        size: int,
    ) -> None:  # fmt: skip
        """By position: this runs for every request."""
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.special = special
        self.host = host
        self.length = length
        self.size = size

    @property
    def keep_alive(self) -> bool:
        """Whether the client lets the connection live after this message (RFC 9112 §9.3)."""
        return _keep_alive(self.version, self.special)


class ResponseHead:
    """A response's head.

    ``reason`` is the reason phrase with the space before it; ``length`` may be ``CHUNKED`` or ``UNKNOWN_LENGTH``.
    """

    __slots__ = ("fields", "length", "reason", "size", "special", "status", "version")

    def __init__(
        self, status: int, reason: bytes, version: int, fields: bytes, special: Special, length: int, size: int
    ) -> None:
        """By position: this runs for every response."""
        self.status = status
        self.reason = reason
        self.version = version
        self.fields = fields
        self.special = special
        self.length = length
        self.size = size

    @property
    def keep_alive(self) -> bool:
        """Whether the backend lets the connection live after this message (RFC 9112 §9.3)."""
        return _keep_alive(self.version, self.special)


def _keep_alive(version: int, special: Special) -> bool:
    said = special.get(b"connection")
    if said is None:
        return version == 1
    options = connection_tokens(said)
    return b"close" not in options and (version == 1 or b"keep-alive" in options)


def read_request(data: bytes, max_bytes: int, max_fields: int) -> RequestHead | None:
    """The request head that ``data`` begins with; None when more bytes are needed.

    Raises:
        Refused: it breaks the grammar, the framing rules of RFC 9112 §6 or a limit; nothing more can be read from
            this connection, since nobody knows where the next request begins.
    """
    match = _REQUEST.match(data) if len(data) <= _EAGER or b"\r\n\r\n" in data else None
    if match is None:
        _refuse_request(data, max_bytes)
        return None
    size = match.end()
    method, target, minor, fields = match.groups()
    if size > max_bytes or fields.count(b"\r\n") > max_fields:
        raise _too_large(data, max_bytes)
    special = read_special(fields)
    version = 1 if minor == b"1" else 0
    length = _request_length(special, version) if len(special) > 1 or not version else 0  # HTTP/1.1 has a Host
    return RequestHead(method, target, version, fields, special, _host(special, version), length, size)


def _refuse_request(data: bytes, max_bytes: int) -> None:
    """Refuse what can never become a request; return when it may still be one."""
    if data.find(b"\r\n\r\n", 2) >= 0 or _has_bare_line_end(data[:_EAGER]):
        raise Refused(Failure.BAD_REQUEST, "malformed head")
    if not _REQUEST_BEGUN.match(data):
        raise Refused(Failure.BAD_REQUEST, "not HTTP")
    if len(data) > max_bytes:
        raise _too_large(data, max_bytes)


def _too_large(data: bytes, max_bytes: int) -> Refused:
    """What is over a limit: the request line alone (RFC 9110 §15.5.15), or the head as a whole (RFC 6585 §5)."""
    if 0 <= data.find(b"\r\n", 2) <= max_bytes:
        return Refused(Failure.HEADERS_TOO_LARGE, "too many bytes or fields")
    return Refused(Failure.TARGET_TOO_LONG, f"request line over {max_bytes} bytes")


def _has_bare_line_end(data: bytes) -> bool:
    """Whether CR and LF ever stand apart; a CR at the very end may still get its LF."""
    ends = data.count(b"\r\n")
    return data.count(b"\n") != ends or data.count(b"\r") - data.endswith(b"\r") != ends


def read_special(fields: bytes) -> Special:
    """The fields that steer an exchange, out of a block of fields."""
    special: Special = {}
    for name, value in _SPECIAL.findall(fields):
        key = name.lower()
        value = value.rstrip(b" ")  # noqa: PLW2901 - see Special
        special[key] = special[key] + b", " + value if key in special else value
    return special


def _host(special: Special, version: int) -> bytes:
    """Exactly one Host, nothing in it that could be two (RFC 9112 §3.2); HTTP/1.0 may do without."""
    host = special.get(b"host")
    if host is None:
        if version == 1:
            raise Refused(Failure.BAD_REQUEST, "no Host")
        return b""
    if host.translate(None, _IN_AUTHORITY):  # half the time of a pattern
        raise Refused(Failure.BAD_REQUEST, "bad Host")
    return host


def _request_length(special: Special, version: int) -> int:
    """Where a request's body ends (RFC 9112 §6.3): a request without framing has none."""
    if b"transfer-encoding" in special:
        return _chunked(special, version, Failure.BAD_REQUEST)
    if b"content-length" in special:
        return _content_length(special[b"content-length"], Failure.BAD_REQUEST)
    return 0


def _chunked(special: Special, version: int, failure: Failure) -> int:
    """``CHUNKED``, if that is all it says: a second coding, a length beside it or HTTP/1.0 is how smuggling begins."""
    coding = special[b"transfer-encoding"]
    if coding.lower() != b"chunked" or b"content-length" in special or version == 0:
        raise Refused(failure, "ambiguous framing")
    return CHUNKED


def _content_length(value: bytes, failure: Failure) -> int:
    """One number; several are refused even where they agree, since a recipient behind us might not merge them."""
    if not _DIGITS.fullmatch(value):
        raise Refused(failure, "bad Content-Length")
    return int(value)


def read_response(data: bytes, max_bytes: int, *, to_head: bool) -> ResponseHead | None:
    """The response head that ``data`` begins with; None when more bytes are needed.

    ``to_head``: the request's method was HEAD, so that no body follows whatever the fields say (RFC 9110 §9.3.2).

    Raises:
        Refused: with ``BAD_RESPONSE``; the connection must be dropped.
    """
    match = _RESPONSE.match(data) if len(data) <= _EAGER or b"\r\n\r\n" in data else None
    if match is None:
        if len(data) > max_bytes or b"\r\n\r\n" in data or _has_bare_line_end(data[:_EAGER]):
            raise Refused(Failure.BAD_RESPONSE, "malformed head")
        if not b"HTTP/1.".startswith(data[:7]):
            raise Refused(Failure.BAD_RESPONSE, "not HTTP")
        return None
    minor, digits, reason, fields = match.groups()
    size = match.end()
    if size > max_bytes or (size > _MANY and fields.count(b"\r\n") > MAX_RESPONSE_FIELDS):
        raise Refused(Failure.BAD_RESPONSE, f"over {max_bytes} bytes or {MAX_RESPONSE_FIELDS} fields")
    status = int(digits)
    special = read_special(fields)
    version = 1 if minor == b"1" else 0
    length = _response_length(special, version)
    if to_head or status < 200 or status in _BODILESS:
        length = 0
    return ResponseHead(status, reason, version, fields, special, length, size)


def _response_length(special: Special, version: int) -> int:
    if b"transfer-encoding" in special:
        return _chunked(special, version, Failure.BAD_RESPONSE)
    if b"content-length" in special:
        return _content_length(special[b"content-length"], Failure.BAD_RESPONSE)
    return UNKNOWN_LENGTH


def connection_tokens(value: bytes) -> list[bytes]:
    """The options of a Connection field, lower-case (RFC 9110 §7.6.1)."""
    value = value.lower()
    if b"," not in value:
        return [value.strip()]
    return [token for part in value.split(b",") if (token := part.strip())]


class ChunkedDecoder:
    """Takes a chunked body apart (RFC 9112 §7.1): payload out, extensions dropped, trailers kept.

    Not all of them: what only a head may say is dropped, since a recipient might merge it (RFC 9110 §6.5.1).

    ``done`` once the last chunk and its trailers are in; ``trailers`` is then their block of fields, and ``rest``
    what followed. Every line end must be CRLF.
    """

    __slots__ = ("_held", "_in_trailers", "_left", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._in_trailers = False
        self.done = False
        self.trailers = b""
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``, joined; empty when there is none yet.

        Raises:
            ValueError: the framing is broken.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        parts: list[bytes] = []
        position = 0
        while not self.done and position < len(data):
            if self._in_trailers:
                self._read_trailers(data[position:])
                break
            position = self._read_payload(data, position, parts) if self._left else self._read_size(data, position)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_payload(self, data: bytes, position: int, parts: list[bytes]) -> int:
        """Take what there is of the current chunk, whose last two bytes must be CRLF."""
        end = position + self._left
        payload_end = min(end - 2, len(data))
        if position < payload_end:
            parts.append(data[position:payload_end])
        if end > len(data):
            taken = max(payload_end - position, 0)
            self._left -= taken
            self._held = data[position + taken :]
            if self._held and self._held != b"\r":
                raise ValueError("a chunk is longer than it said")
            return len(data)
        if data[end - 2 : end] != b"\r\n":
            raise ValueError("a chunk is longer than it said")
        self._left = 0
        return end

    def _read_size(self, data: bytes, position: int) -> int:
        """Read a chunk-size line, or hold it back until its end has come."""
        match = _CHUNK_SIZE.match(data, position, position + MAX_CHUNK_LINE)
        if match is None:
            held = data[position:]
            if len(held) >= MAX_CHUNK_LINE or not _CHUNK_SIZE_BEGUN.fullmatch(held):
                raise ValueError("bad chunk size")
            self._held = held
            return len(data)
        size = int(match[1], 16)
        if size == 0:
            self._in_trailers = True
        else:
            self._left = size + 2
        return match.end()

    def _read_trailers(self, data: bytes) -> None:
        """Read the trailer section: fields, then an empty line."""
        is_whole = data.startswith(b"\r\n") or b"\r\n\r\n" in data
        match = _TRAILER_SECTION.match(data, 0, MAX_TRAILERS) if is_whole else None
        if match is None:
            if is_whole or len(data) >= MAX_TRAILERS or _has_bare_line_end(data):
                raise ValueError("bad trailers")
            self._held = data
            return
        block = match[1]
        self.trailers = _NOT_IN_TRAILERS.sub(b"", b"\r\n" + block[:-2]) if block else b""
        self.rest = data[match.end() :]
        self.done = True


MAX_CHUNK_LINE = 1_024
"""Longest chunk-size line with its extensions; unbounded ones were a denial of service in Go (CVE-2023-39326)."""
MAX_TRAILERS = 16_384
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_EXTENSIONS = rb"(?:;" + _TOKEN + rb"++(?:=(?:" + _TOKEN + rb"++|" + _QUOTED + rb"))?)*+"
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})" + _EXTENSIONS + rb"\r\n")
_CHUNK_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,15}(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?")
_TRAILER_SECTION = re.compile(rb"((?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n")
_NOT_IN_TRAILERS = re.compile(
    rb"\r\n(?i:" + _STEERING + rb"|authorization|content-(?:encoding|range|type)|cookie|set-cookie|trailer):[^\r]*+"
)


def encode_chunk(payload: bytes) -> bytes:
    """One chunk; ``payload`` may not be empty, since an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def last_chunk(trailers: bytes) -> bytes:
    """The end of a chunked body, with trailers in the form ``ChunkedDecoder`` gives them."""
    return b"0" + trailers + b"\r\n\r\n"
