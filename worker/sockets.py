"""What has to be said of a connection to its socket, below what transports know."""

import asyncio
import socket
import struct
from math import ceil

PROBES = 4
"""How often a silent peer is asked before it counts as gone."""
_IDLE = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)  # the latter is macOS' word
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


def reset(transport: asyncio.Transport) -> None:
    """Close so that the other side sees an error, not an end: RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def probe(transport: asyncio.Transport, after_s: float) -> None:
    """Have TCP find out whether the peer is there: asked after ``after_s`` of silence, given up after twice that.

    0 asks nobody. Beside a unix socket there is always somebody, or nobody at all.
    """
    sock = transport.get_extra_info("socket")
    if not after_s or sock is None or sock.family == socket.AF_UNIX:
        return
    options = {
        _IDLE: ceil(after_s),
        getattr(socket, "TCP_KEEPINTVL", None): ceil(after_s / PROBES),
        getattr(socket, "TCP_KEEPCNT", None): PROBES,
        _USER_TIMEOUT: ceil(2_000 * after_s),  # else what was sent and not taken is sent again for 15 minutes
    }
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in options.items():
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
