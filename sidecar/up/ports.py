"""The addresses of the proxy and of the admin endpoints, tried before anything is started.

The console's may be another monitor's, who leads and serves the same page: of that only a port 0 is settled.

gunicorn takes five and a half seconds and eleven lines for a port in use (measured, gunicorn 27); a person deserves
one line at once. The worker binds them again itself, so whoever comes between is still told, only later. A port that
the system chose is held meanwhile: it would be given to the next one who wants any.
"""

import errno
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from sidecar.contract.config import Listen, Socket

REASONS = {
    errno.EADDRINUSE: "is in use",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
    errno.EACCES: "is not for this user",
    errno.ENOENT: "lies in a directory that does not exist",
}

IS_SHARED = sys.platform == "linux"
"""Whether a server, which sets SO_REUSEADDR, can listen beside a socket that is bound there and does not."""


class AddressError(RuntimeError):
    """An address cannot be listened on; the message names it, its key and its flag."""


def settle(listen: Listen, held: ExitStack) -> Listen:
    """The same section with the system's choice in place of every port 0.

    Args:
        held: gets a socket for each of these, where it may be shared.

    Raises:
        AddressError: one of the addresses is in use, or cannot be listened on.
    """
    binds = [str(_settle("--bind (listen.bind)", address, held)) for address in listen.public_sockets]
    admin = str(_settle("--admin (listen.admin)", listen.admin_socket, held))
    console = listen.console_socket
    if not console.path and not console.port:
        console = _settle("--console (listen.console)", console, held)
    return listen.model_copy(
        update={"bind": binds if len(binds) > 1 else binds[0], "admin": admin, "console": str(console)}
    )


def _settle(name: str, address: Socket, held: ExitStack) -> Socket:
    try:
        if address.path:
            _try_path(Path(address.path))
            return address
        return Socket(host=address.host, port=_try_port(address, held))
    except OSError as error:
        reason = REASONS.get(error.errno or 0, f"cannot be listened on: {error.strerror or error}")
        raise AddressError(f"{name}: {address} {reason}") from error


def _try_port(address: Socket, held: ExitStack) -> int:
    """Bind it; the port it then has. A name with several addresses stands for its first IPv4 one."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    with ExitStack() as moment:
        keeper = held if IS_SHARED and not address.port else moment
        tried = keeper.enter_context(socket.socket(family, kind, protocol))
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind(where)
        return int(tried.getsockname()[1])


def _try_path(path: Path) -> None:
    """A socket nobody listens on may be replaced; anything else in its place is in use."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            if path.is_socket():
                return
    raise FileExistsError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
