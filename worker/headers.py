"""What a proxy changes in a head, and nothing else (RFC 9110 §7.6): hop-by-hop fields out, forwarding fields in.

Pure. Blocks of fields come in and go out as ``worker.http1`` keeps them; what is not named here passes byte for
byte, in its order and case.
"""

import re
from collections.abc import Callable, Container, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from worker.http1 import RequestHead, ResponseHead, Special, connection_tokens

_HOP_BY_HOP = (
    rb"connection|keep-alive|proxy-connection|te|upgrade|http2-settings|proxy-authorization|proxy-authenticate"
    rb"|x-sidebeat-[^:\r]*+"
)


def _lines_of(names: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\r\n(?i:" + names + rb"):[^\r]*+")


# CGI and WSGI read underscores and hyphens as the same name: nobody honest writes these with one.
_DISGUISED = rb"|x(?:_forwarded[-_]|-forwarded_)(?:for|proto|host|port)|x(?:_real[-_]|-real_)ip"
_FROM_TRUSTED = _lines_of(_HOP_BY_HOP + _DISGUISED + rb"|x-forwarded-for|forwarded")
_FROM_CLIENT = _lines_of(_HOP_BY_HOP + _DISGUISED + rb"|x-forwarded-(?:for|proto|host|port)|forwarded|x-real-ip")
_FROM_BACKEND = _lines_of(_HOP_BY_HOP + rb"|x-health-(?:state|weight)")
_HOST = _lines_of(rb"host")
_FRAMING = _lines_of(rb"content-length|transfer-encoding")
_FIELD = re.compile(rb"\r\n([^:]++):[ \t]*+([^\r]*+)")
_EVENT_STREAM = re.compile(rb"(?i)\r\ncontent-type: *+text/event-stream")
_ENCODING = re.compile(rb"(?i)\r\ncontent-encoding:(?! *+identity *+(?:\r|\Z))")
_BUFFERING = _lines_of(rb"x-accel-buffering")
_MAX_FORWARDS = _lines_of(rb"max-forwards")
_TRACE = re.compile(rb"\r\n[Tt]raceparent:[ \t]*+[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-")
_TRACE_BYTES = 69
"""A line with one is no shorter."""

_PASSING = frozenset({b"host", b"content-length", b"transfer-encoding", b"date", b"idempotency-key", b"via", b"expect"})
"""Steering fields that are forwarded; a head with no others is forwarded as the bytes it came in."""

_PASSING_OR_CONNECTION = _PASSING | {b"connection"}
_PLAIN_LINES = {b"keep-alive": b"\r\nConnection: keep-alive", b"close": b"\r\nConnection: close"}

_BEYOND_CONNECTION = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie", b"set-cookie", b"forwarded", b"via"}
)
"""What a Connection option may not take away, with all of X-Forwarded-*: naming these is an attack on the backend's
trust, not a wish."""
_NOT_NAMES = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b""})
"""Connection options that name no field, or one that is taken off anyway."""


KNOWN_HOPS = 1_024
"""Addresses whose trust is remembered: to find it out takes 3 µs (measured 2026-11)."""


KNOWN_BLOCKS = 64
"""Blocks of fields of which it is remembered what they are in ASGI: many answers within a second have the same ones."""


class Peer:
    """Who sent a request, and what we say of it to backends.

    Args:
        address: its IP address as text; empty on a unix socket.
        scheme: http or https.
        port: ours, that it connected to; 0 on a unix socket.
        trusted: whether we believe what it says about those before it.
        is_told: its address stands in X-Forwarded-For, where the server in front has read it.
        real_ip: whether X-Real-IP says it, too.
    """

    __slots__ = ("address", "forwarded", "is_told", "port_line", "real_ip_line", "scheme", "trusted")

    def __init__(
        self,
        *,
        address: str,
        port: int,
        trusted: bool,
        scheme: str = "http",
        is_told: bool = False,
        real_ip: bool = False,
    ) -> None:
        if "." in address:
            address = address.removeprefix("::ffff:")  # an IPv4 client of a socket that takes both
        self.address = (address or "unix").encode()
        self.port_line = b"\r\nX-Forwarded-Port: %d" % port if port else b""
        self.scheme = scheme.encode()
        self.trusted = trusted
        self.is_told = is_told
        self.real_ip_line = b"\r\nX-Real-IP: " + self.address if real_ip else b""
        self.forwarded = (
            b"%b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b%b\r\nX-Forwarded-Host: "
            % (self.real_ip_line, self.address, self.scheme, self.port_line)
        )  # fmt: skip


QUIET = Peer(address="", port=0, trusted=True)
"""Who stands for a request whose fields are final: they are believed, and nothing is said of anybody before us."""


def peer_of(extra_info: Callable[[str], object], networks: Sequence[IPv4Network | IPv6Network]) -> Peer:
    """Who is at the other end of a transport, by what it says of its two ends; a unix socket's are no tuples."""
    peername, sockname = extra_info("peername"), extra_info("sockname")
    address = str(peername[0]) if isinstance(peername, tuple) else ""
    port = int(sockname[1]) if isinstance(sockname, tuple) else 0
    return Peer(address=address, port=port, trusted=is_trusted(address, networks))


def is_trusted(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether the address lies in one of the networks; what is no IP address never does."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    ip = (ip.ipv4_mapped if isinstance(ip, IPv6Address) else None) or ip
    return any(ip.version == network.version and ip in network for network in networks)


def trust_in(networks: Sequence[IPv4Network | IPv6Network]) -> Callable[[str], bool]:
    """``is_trusted`` for these, which remembers the addresses that most requests come through."""
    return lru_cache(KNOWN_HOPS)(partial(is_trusted, networks=networks))


def client_of(trusts: Callable[[str], bool], head: RequestHead, peer: Peer) -> bytes:
    """The last address before those that we trust; ``unix`` where that is a unix socket's peer."""
    client = peer.address
    said = head.special.get(b"x-forwarded-for", b"") if peer.trusted else b""
    for hop in reversed(said.split(b",")):
        if address := _without_port(hop.strip(b" \t")):
            client = address
            if not trusts(address.decode("latin-1")):
                break
    return client


def _without_port(hop: bytes) -> bytes:
    """An address as some proxies write it, with the port that differs for each connection."""
    if hop.startswith(b"["):
        return hop[1:].partition(b"]")[0]
    return hop.partition(b":")[0] if hop.count(b":") == 1 else hop


def trace_id_of(fields: bytes) -> bytes:
    """The trace that a request is part of (W3C Trace Context §3.2), in hex; empty where it does not say so."""
    if len(fields) < _TRACE_BYTES or b"raceparent" not in fields:
        return b""
    found = _TRACE.search(fields)
    return found[1] if found else b""


def request_head(head: RequestHead, target: bytes, peer: Peer, via: bytes, host: bytes | None = None) -> bytes:
    """The head to send upstream, up to and with the empty line.

    Args:
        target: in origin form.
        via: our pseudonym (RFC 9110 §7.6.3).
        host: what the Host field is to say; None leaves the client's as it is.
    """
    fields = head.fields
    special = head.special
    if not _PASSING.issuperset(special):
        fields = _end_to_end(fields, special, _FROM_TRUSTED if peer.trusted else _FROM_CLIENT)
        if b"upgrade" in special or b"te" in special:
            fields += _kept_options(head)
        if b"max-forwards" in special and (hops := _hops(head)):
            fields = _MAX_FORWARDS.sub(b"\r\nMax-Forwards: %d" % (hops - 1), fields)
    if host is not None:
        fields = b"\r\nHost: " + host + _HOST.sub(b"", fields)
    said = _relayed_forwarding(head, peer) if peer.trusted else peer.forwarded + head.host
    return b"%b %b HTTP/1.1%b%b\r\nVia: 1.%d %b\r\n\r\n" % (head.method, target, fields, said, head.version, via)


def _end_to_end(fields: bytes, special: Special, hop_by_hop: re.Pattern[bytes]) -> bytes:
    """Without the fields that are for us alone, and those that Connection names."""
    said = special.get(b"connection")
    if said in _PLAIN_LINES and _PASSING_OR_CONNECTION.issuperset(special):
        # What most clients and servers send, exactly so: a tenth of what the general way costs.
        before, line, after = fields.partition(_PLAIN_LINES[said])
        if line and (not after or after.startswith(b"\r\n")):
            return before + after
    fields = hop_by_hop.sub(b"", fields)
    return fields if said is None else _without_named(fields, said)


def named_by(options: bytes) -> set[bytes]:
    """The fields, in lower case, that a Connection field with this value takes along (RFC 9110 §7.6.1)."""
    names = set(connection_tokens(options)) - _NOT_NAMES - _BEYOND_CONNECTION
    return {name for name in names if not name.startswith(b"x-forwarded-")}


def _without_named(fields: bytes, options: bytes) -> bytes:
    """Without the fields that Connection names."""
    names = named_by(options)
    if not names:
        return fields
    lines = [(line.partition(b":")[0].lower(), line) for line in fields.split(b"\r\n")]
    return b"\r\n".join([line for name, line in lines if name not in names])


def _kept_options(head: RequestHead) -> bytes:
    """The two hop-by-hop wishes that we pass on in our own name: an upgrade, and that trailers are welcome."""
    if upgrade := upgrade_of(head):
        return b"\r\nConnection: Upgrade\r\nUpgrade: " + upgrade
    if b"trailers" in connection_tokens(head.special.get(b"te", b"")):
        return b"\r\nConnection: TE\r\nTE: trailers"
    return b""


def upgrade_of(head: RequestHead) -> bytes:
    """The protocols this request asks to switch to, empty for none (RFC 9110 §7.8).

    Upgrade counts only in HTTP/1.1 and where Connection names it. A request with a body is not switched: its bytes
    and the new protocol's would meet. Nor is one to h2c: requests inside it would pass our rules by.
    """
    if b"upgrade" not in head.special or head.version == 0 or head.length:
        return b""
    if b"upgrade" not in connection_tokens(head.special.get(b"connection", b"")):
        return b""
    wishes = [wish.strip() for wish in head.special[b"upgrade"].split(b",")]
    return b", ".join([wish for wish in wishes if wish and wish.lower() != b"h2c"])


def keep_upgrades(head: RequestHead, allowed: Container[bytes]) -> None:
    """Have a request ask for these protocols alone, given in lower case; a name stands for all versions."""
    wishes = [wish.strip() for wish in head.special[b"upgrade"].split(b",")]
    kept = [wish for wish in wishes if wish.lower() in allowed or wish.lower().partition(b"/")[0] in allowed]
    head.special = head.special | {b"upgrade": b", ".join(kept)}


def _relayed_forwarding(head: RequestHead, peer: Peer) -> bytes:
    """What a trusted peer says of those before it, with the peer itself added to the chain."""
    if peer is QUIET:
        return b""
    special = head.special
    before = special.get(b"x-forwarded-for")
    chain = peer.address if not before else before if peer.is_told else before + b", " + peer.address
    said = b"\r\nX-Forwarded-For: " + chain
    if b"x-real-ip" not in special:
        said += peer.real_ip_line
    if b"x-forwarded-proto" not in special:
        said += b"\r\nX-Forwarded-Proto: " + peer.scheme
    if b"x-forwarded-port" not in special:
        said += peer.port_line
    if b"x-forwarded-host" not in special:
        said += b"\r\nX-Forwarded-Host: " + head.host
    if b"forwarded" in special and peer.is_told:
        said += b"\r\nForwarded: " + special[b"forwarded"]
    elif b"forwarded" in special:
        node = b'"[%b]"' % peer.address if b":" in peer.address else peer.address
        said += b"\r\nForwarded: " + special[b"forwarded"] + b", for=" + node
    return said


def response_fields(
    head: ResponseHead, via: bytes, date: bytes, *, framing: bytes | None = None, streams: bool = False
) -> bytes:
    """The block of fields to send to the client, without the empty line.

    Args:
        via: our pseudonym.
        date: the time now as an HTTP date, for an origin that sent none (RFC 9110 §6.6.1).
        framing: lines that replace the length and coding; None leaves the origin's.
        streams: the body is still to come, which of an event stream nobody after us is to hold back.
    """
    if framing is not None or streams or b"date" not in head.special:
        return _passing_on(head, via, date, framing, streams=streams)
    if not head.passing:
        head.passing = _passing_on(head, via, date, None, streams=False)
    return head.passing


def _passing_on(head: ResponseHead, via: bytes, date: bytes, framing: bytes | None, *, streams: bool) -> bytes:
    fields = head.fields
    special = head.special
    if not _PASSING.issuperset(special):
        fields = _end_to_end(fields, special, _FROM_BACKEND)
        if head.status == 426 and b"upgrade" in special:  # RFC 9110 §15.5.22: it is no answer without
            fields += b"\r\nConnection: Upgrade\r\nUpgrade: " + special[b"upgrade"]
    if streams and _EVENT_STREAM.search(fields) and not _BUFFERING.search(fields):
        fields += b"\r\nX-Accel-Buffering: no"
    if framing is not None:
        fields = _FRAMING.sub(b"", fields) + framing
    elif b"transfer-encoding" in special and not head.length:
        fields = _FRAMING.sub(b"", fields)  # there is no body; 1xx, 204 and old clients must not see it (RFC 9112 §6.1)
    if b"date" not in special and head.status >= 200:
        fields += b"\r\nDate: " + date
    if head.ours:
        fields += head.ours
    return b"%b\r\nVia: 1.%d %b" % (fields, head.version, via)


def protocol_of(head: ResponseHead, request: RequestHead) -> bytes:
    """Which protocol a 101 switches to, as the backend says it, else as it was asked for."""
    return head.special.get(b"upgrade", upgrade_of(request))


def switching_fields(head: ResponseHead, request: RequestHead, via: bytes) -> bytes:
    """``response_fields`` for a 101."""
    chosen = protocol_of(head, request)
    return response_fields(head, via, b"") + b"\r\nConnection: Upgrade\r\nUpgrade: " + chosen


def is_event_stream(head: ResponseHead) -> bool:
    """Whether a response is a ``text/event-stream`` that can be read, since nothing has encoded it."""
    return _EVENT_STREAM.search(head.fields) is not None and _ENCODING.search(head.fields) is None


def loops(head: RequestHead, via: bytes) -> bool:
    """Whether this request has been through us before: our pseudonym stands in its Via already."""
    return via in head.special.get(b"via", b"").replace(b",", b" ").split()


def _hops(head: RequestHead) -> int | None:
    """How often an OPTIONS request may still be forwarded, None for any number (RFC 9110 §7.6.2)."""
    said = head.special.get(b"max-forwards", b"")
    return int(said) if head.method == b"OPTIONS" and len(said) < 10 and said.isdigit() else None


def is_last_hop(head: RequestHead) -> bool:
    """Whether this request may not be forwarded at all, so that we have to answer it (RFC 9110 §7.6.2)."""
    return _hops(head) == 0


def pairs_of(fields: bytes) -> list[tuple[bytes, bytes]]:
    """A block of fields as ASGI has it: names in lower case, values without the blanks around them."""
    return list(_pairs(fields))


@lru_cache(KNOWN_BLOCKS)
def _pairs(fields: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple([(name.lower(), value.rstrip(b" \t")) for name, value in _FIELD.findall(fields)])
