"""Sockets as tests want them: bound where nobody else comes, ended by a reset."""

import asyncio
import socket
import struct
from pathlib import Path


def abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def bound_tcp(port: int) -> socket.socket:
    """A socket on a loopback port which others of this process may share (SO_REUSEPORT); port 0 takes a free one."""
    bound = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio leaves Nagle on: 40 ms between small chunks
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def bound_unix(path: Path) -> socket.socket:
    """A socket on this path, in the place of whatever socket is there; it refuses until somebody listens."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path))
    return bound
