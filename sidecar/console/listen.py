"""The socket that a console listens on."""

import errno
import os
import socket
from pathlib import Path

from sidecar.contract.config import Socket

BACKLOG = 128
STUCK_MS = 30_000
"""A peer that acknowledges nothing for so long is gone (TCP_USER_TIMEOUT, RFC 5482); connections inherit it."""


def listen_on(address: Socket) -> socket.socket:
    """A socket that listens there; for a unix one, mode 0600, and one that nobody listens on any more is replaced.

    Raises:
        OSError: somebody else does, or it cannot be listened on.
    """
    if address.path:
        return _listen_on_path(Path(address.path))
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    bound = socket.create_server(where[:2], family=family, backlog=BACKLOG)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK_MS)
    return bound


def address_of(bound: socket.socket) -> Socket:
    """Where it listens; a port that the system chose is told."""
    name = bound.getsockname()
    return Socket(path=name) if bound.family == socket.AF_UNIX else Socket(host=name[0], port=name[1])


def _listen_on_path(path: Path) -> socket.socket:
    if path.exists() and _is_taken(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        path.chmod(0o600)  # before anybody can connect: it does not listen yet
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _is_taken(path: Path) -> bool:
    """Whether somebody listens there, or it is no socket at all."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return not path.is_socket()
        except OSError:
            return True
    return True
