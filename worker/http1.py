r"""HTTP/1.1 messages on the wire: strict reading of heads (RFC 9112); ``worker.bodies`` reads what follows.

Pure. A head is kept as the bytes that came, ``fields`` being ``\r\nName: value`` repeated, so that order, case,
duplicates and latin-1 bytes survive by construction; only the few fields that steer an exchange are looked at.
One regular expression reads and validates a whole head: bare CR or LF, NUL, obs-fold, space before the colon and
other ways to smuggle simply do not match. ``tests/worker/test_http1.py`` holds it against llhttp.
"""

import re

from worker.failure import Failure, Refused

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# Possessive characters, greedy groups: a possessive group does not match at all on Python 3.11.2, which Debian 12 has.
_FIELD = rb"\r\n" + TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+"
_AUTHORITY = rb"0-9a-zA-Z\-._~!$&'()*+;=%\[\]:"
_REQUEST = re.compile(
    rb"(?:\r\n)?(" + TOKEN + rb"++) ([!\"$-~]++) HTTP/1\.([01])"
    rb"(((?:(?!\r\n[Hh]ost:)" + _FIELD + rb")*)"
    rb"(?:\r\n[Hh]ost: ([" + _AUTHORITY + rb"]++))?"  # what is read here needs no second look
    rb"((?:" + _FIELD + rb")*))\r\n\r\n"
)  # fmt: skip
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb"++) ([!\"$-~]++) HTTP/1\.([01])")
_REQUEST_BEGUN = re.compile(rb"(?:\r\n)?(?:" + TOKEN + rb"|\r?\Z)")
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)((?: [\t\x20-\x7e\x80-\xff]*+)?)((?:" + _FIELD + rb")*)\r\n\r\n")

_IN_BOTH = (
    rb"connection|content-length|transfer-encoding|te|upgrade|via|keep-alive|http2-settings|x-sidebeat-[^:]*+"
    rb"|proxy-(?:connection|authorization|authenticate)"
)
_IN_REQUESTS = (
    rb"|host|expect|forwarded|max-forwards|idempotency-key"
    rb"|x[-_]forwarded[-_](?:for|proto|host|port)|x[-_]real[-_]ip"
)
_IN_RESPONSES = rb"|date|x-health-(?:state|weight)"
STEERING = _IN_BOTH + _IN_REQUESTS + _IN_RESPONSES
"""The names of the fields that steer an exchange, as alternatives of a pattern."""


def _special(names: bytes) -> re.Pattern[bytes]:
    """A pattern for fields of these names in a block turned to lower case, which takes half as long as minding both."""
    return re.compile(rb"\n(" + names + rb"): *+([^\r]*+)")


_REQUEST_SPECIAL = _special(_IN_BOTH + _IN_REQUESTS)
_RESPONSE_SPECIAL = _special(_IN_BOTH + _IN_RESPONSES)
_CASELESS = frozenset(
    {
        b"connection", b"content-length", b"transfer-encoding", b"te", b"keep-alive", b"proxy-connection", b"date",
        b"expect", b"max-forwards", b"idempotency-key", b"x-health-state", b"x-health-weight",
    }
)  # fmt: skip
"""Steering fields whose values say the same in lower case, or are not looked at."""
_NOT_IN_AUTHORITY = re.compile(rb"[^" + _AUTHORITY + rb"]")

BODILESS = frozenset({204, 304})
"""Statuses whose responses have no body, whatever their fields say (RFC 9112 §6.3)."""
_EAGER = 4_096
"""So far into an incomplete head we look for what is wrong with it: looking at all of 64 KiB at each of its bytes took
a minute of a worker's time (measured)."""
_MISSES, _PASSED_BY = 4, 60
"""So many heads in a row unlike the one before, and the next so many are not compared: two looks in sixty remain."""
MAX_RESPONSE_FIELDS = 100
"""Envoy's limit, both ways."""
_SHORTEST_FIELD = 4
"""A head of fewer bytes than this times a number of fields cannot have so many."""

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

    __slots__ = ("fields", "host", "keep_alive", "length", "method", "size", "special", "target", "version")

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
        said = special.get(b"connection")
        self.keep_alive = version == 1 if said is None else said == b"keep-alive" or _keep_alive(version, said)

    @property
    def is_usual(self) -> bool:
        """Whether ``host`` is what the field says, and nobody changes what the steering fields ask for."""
        return self.target.startswith(b"/") and b"upgrade" not in self.special


NO_HEAD = RequestHead(b"", b"", 1, b"", {}, b"", 0, 0)
"""What a connection answers to when it could not read a head."""


class ResponseHead:
    """A response's head.

    ``reason`` is the reason phrase with the space before it; ``length`` may be ``CHUNKED`` or ``UNKNOWN_LENGTH``.
    ``passing`` is for whoever passes it on: what becomes of it, once that is known. Many may have the same head.
    ``ours`` are lines that we say to the client beside what the backend says.
    """

    ours = b""

    __slots__ = ("fields", "keep_alive", "length", "passing", "reason", "size", "special", "status", "version")

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
        self.passing = b""
        said = special.get(b"connection")
        self.keep_alive = version == 1 if said is None else said == b"keep-alive" or _keep_alive(version, said)

    def with_lines(self, lines: bytes) -> "ResponseHead":
        """Another head that has these fields, too."""
        return ResponseHead(
            self.status, self.reason, self.version, self.fields + lines, self.special, self.length, self.size
        )


def _keep_alive(version: int, said: bytes) -> bool:
    """Whether a sender who says this in Connection lets it live after the message (RFC 9112 §9.3)."""
    options = connection_tokens(said)
    return b"close" not in options and (version == 1 or b"keep-alive" in options)


def read_request(data: bytes, max_bytes: int, max_fields: int, last: RequestHead | None = None) -> RequestHead | None:
    """The request head that ``data`` begins with; None when more bytes are needed.

    ``last`` is the head before it from the same client: where the fields are the same bytes, as most clients have them
    when they go from one path to the next, only the request line is read.

    Raises:
        Refused: it breaks the grammar, the framing rules of RFC 9112 §6 or a limit; nothing more can be read from
            this connection, since nobody knows where the next request begins.
    """
    if last is not None and data.startswith(last.fields, data.find(b"\r\n")):
        head = _again(data, max_bytes, last)
        if head is not None:
            return head
    match = _REQUEST.match(data) if len(data) <= _EAGER or b"\r\n\r\n" in data else None
    if match is None:
        _refuse_request(data, max_bytes)
        return None
    size = match.end()
    method, target, minor, fields, before, host, after = match.groups()
    if size > max_bytes or (size > max_fields * _SHORTEST_FIELD and fields.count(b"\n") > max_fields):
        raise _too_large(data, max_bytes)
    version = 1 if minor == b"1" else 0
    others = before + after if before else after
    special: Special = read_special(others, _REQUEST_SPECIAL) if others else {}
    if host is None:
        host = _host(special, version)
    elif b"host" in special:
        raise Refused(Failure.BAD_REQUEST, "two Hosts")
    length = _request_length(special, version) if special else 0
    return RequestHead(method, target, version, fields, special, host, length, size)


def _again(data: bytes, max_bytes: int, last: RequestHead) -> RequestHead | None:
    """The head, if its fields are those of the last one, with which they begin; None: it has to be read."""
    fields, end = last.fields, data.find(b"\r\n")
    size = end + len(fields) + 4
    if not data.startswith(b"\r\n\r\n", size - 4) or size > max_bytes:
        return None
    match = _REQUEST_LINE.fullmatch(data, 0, end)
    if match is None or not last.is_usual:
        return None
    method, target, minor = match.groups()
    if (minor == b"1") != last.version:
        return None
    return RequestHead(method, target, last.version, fields, last.special, last.host, last.length, size)


def _refuse_request(data: bytes, max_bytes: int) -> None:
    """Refuse what can never become a request; return when it may still be one."""
    if data.find(b"\r\n\r\n", 2) >= 0 or has_bare_line_end(data[:_EAGER]):
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


def has_bare_line_end(data: bytes) -> bool:
    """Whether CR and LF ever stand apart; a CR at the very end may still get its LF."""
    ends = data.count(b"\r\n")
    return data.count(b"\n") != ends or data.count(b"\r") - data.endswith(b"\r") != ends


def read_special(fields: bytes, pattern: re.Pattern[bytes]) -> Special:
    """The fields that steer an exchange, out of a block of fields; ``pattern`` knows their names."""
    lowered = fields.lower()
    pairs = pattern.findall(lowered)
    special: Special = {}
    for name, value in pairs:
        special[name] = value.rstrip(b" ")
    if len(special) == len(pairs) and _CASELESS.issuperset(special):
        return special
    special = {}
    for match in pattern.finditer(lowered):
        name, value = match[1], fields[match.start(2) : match.end(2)].rstrip(b" ")
        special[name] = special[name] + b", " + value if name in special else value
    return special


def _host(special: Special, version: int) -> bytes:
    """Exactly one Host, nothing in it that could be two (RFC 9112 §3.2); HTTP/1.0 may do without."""
    host = special.get(b"host")
    if host is None:
        if version == 1:
            raise Refused(Failure.BAD_REQUEST, "no Host")
        return b""
    if _NOT_IN_AUTHORITY.search(host):
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
    if not value.isdigit() or len(value) > 18:
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
        if len(data) > max_bytes or b"\r\n\r\n" in data or has_bare_line_end(data[:_EAGER]):
            raise Refused(Failure.BAD_RESPONSE, "malformed head")
        if not b"HTTP/1.".startswith(data[:7]):
            raise Refused(Failure.BAD_RESPONSE, "not HTTP")
        return None
    minor, digits, reason, fields = match.groups()
    size = match.end()
    limit = MAX_RESPONSE_FIELDS
    if size > max_bytes or (size > limit * _SHORTEST_FIELD and fields.count(b"\n") > limit):
        raise Refused(Failure.BAD_RESPONSE, f"over {max_bytes} bytes or {limit} fields")
    status = int(digits)
    special = read_special(fields, _RESPONSE_SPECIAL)
    version = 1 if minor == b"1" else 0
    if b"transfer-encoding" in special:
        length = _chunked(special, version, Failure.BAD_RESPONSE)
    elif b"content-length" in special:
        length = _content_length(special[b"content-length"], Failure.BAD_RESPONSE)
    else:
        length = UNKNOWN_LENGTH
    if to_head or status < 200 or status in BODILESS:
        length = 0
    return ResponseHead(status, reason, version, fields, special, length, size)


class ResponseReader:
    """Reads one backend's response heads; a head that is the bytes of the one before it is not read again.

    So it is for most answers within a second that have no id, cookie or length of their own. Where that does not come
    true, it is looked for less and less often: looking costs 0.3 µs.
    """

    __slots__ = ("_head", "_last", "_max_bytes", "_misses", "_passing")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._last = b""
        self._head: ResponseHead | None = None
        self._misses = 0
        self._passing = 0

    def read(self, data: bytes, *, to_head: bool) -> ResponseHead | None:
        """As ``read_response``, but what it gives may be known to others already: it is not to be changed."""
        if self._passing:
            self._passing -= 1
            return read_response(data, self._max_bytes, to_head=to_head)
        head = self._head
        if head is not None and not to_head and data.startswith(self._last):
            self._misses = 0
            return head
        head = read_response(data, self._max_bytes, to_head=to_head)
        if head is not None and not to_head and head.status >= 200:
            self._last = data[: head.size]
            self._head = head
            self._misses += 1
            self._passing = _PASSED_BY if self._misses > _MISSES else 0
        return head


def connection_tokens(value: bytes) -> list[bytes]:
    """The options of a Connection field, lower-case (RFC 9110 §7.6.1)."""
    value = value.lower()
    if b"," not in value:
        return [value.strip()]
    return [token for part in value.split(b",") if (token := part.strip())]
