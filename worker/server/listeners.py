"""The sockets we listen on: bound in the master, before anything is forked, with one clear line when one cannot be.

gunicorn would try a port in use five times over five seconds, and would make unix sockets open to everybody.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sidecar.contract.config import Listen, Socket

BACKLOG = 2048
"""Connections that may wait to be accepted; gunicorn's default. The kernel caps it at ``net.core.somaxconn``."""

_REASONS = {
    errno.EADDRINUSE: "is in use",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
    errno.EACCES: "may not be used: permission denied",
    errno.EEXIST: "is in the way: it is not a socket",
    errno.ENOENT: "cannot be made: there is no such folder",
}


class Role(StrEnum):
    """What a socket is for: traffic that is forwarded, or our own endpoints."""

    PUBLIC = "public"
    ADMIN = "admin"


class BindError(Exception):
    """An address could not be bound; the message is one line that names its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A bound, listening socket. ``file`` is device and inode of a unix socket's file, None for TCP."""

    role: Role
    address: Socket
    socket: socket.socket
    file: tuple[int, int] | None = None

    def unlink(self) -> None:
        """Remove the file of a unix socket, if it is still the one we made."""
        if self.file is not None:
            with suppress(OSError):
                if _identity(self.address.path) == self.file:
                    os.unlink(self.address.path)

    def close(self) -> None:
        """Stop listening, as far as this process goes, and remove the file."""
        self.socket.close()
        self.unlink()


def bind_all(listen: Listen) -> list[Listener]:
    """Bind and listen on every public address, then on the admin one.

    Raises:
        BindError: one of them cannot be bound; none is then.
    """
    listeners: list[Listener] = []
    with ExitStack() as undo:
        for key, role, address in _wanted(listen):
            try:
                listener = _bind(role, address)
            except OSError as error:
                raise BindError(f"{key}: {address} {_reason(error)}") from error
            undo.callback(listener.close)
            listeners.append(listener)
        undo.pop_all()
    return listeners


def admin_of(listeners: Iterable[Listener]) -> str:
    """Where our own endpoints are, as ``listen.admin`` has it."""
    return next(str(each.address) for each in listeners if each.role is Role.ADMIN)


def address_of(bound: socket.socket) -> Socket:
    """Where a bound socket listens, its real port included."""
    name = bound.getsockname()
    return Socket(path=name) if isinstance(name, str) else Socket(host=name[0], port=name[1])


def _wanted(listen: Listen) -> Iterator[tuple[str, Role, Socket]]:
    for index, address in enumerate(listen.public_sockets):
        yield "listen.bind" if isinstance(listen.bind, str) else f"listen.bind[{index}]", Role.PUBLIC, address
    yield "listen.admin", Role.ADMIN, listen.admin_socket


def _bind(role: Role, address: Socket) -> Listener:
    if address.path:
        path = os.path.abspath(address.path)
        return Listener(role=role, address=Socket(path=path), socket=_unix(path), file=_identity(path))
    bound = _tcp(address)
    return Listener(role=role, address=address_of(bound), socket=bound)


def _tcp(address: Socket) -> socket.socket:
    """A name that has several addresses gets its first IPv4 one: ``localhost`` is ``127.0.0.1``."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    bound = socket.create_server(where, family=family, backlog=BACKLOG)
    bound.settimeout(0)
    return bound


def _unix(path: str) -> socket.socket:
    _clear(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # 0600 from its first moment on
    try:
        bound.bind(path)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(mask)
    bound.settimeout(0)
    return bound


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on any more, left by a process that was killed.

    Raises:
        OSError: somebody does listen, or it is not a socket.
    """
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)  # a full backlog is an answer too
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "in use")
    os.unlink(path)


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "is not a host that is known here"
    if error.errno is None:
        return f"cannot be bound: {error}"
    return _REASONS.get(error.errno) or f"cannot be bound: {os.strerror(error.errno).lower()}"
