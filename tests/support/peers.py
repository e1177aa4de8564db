"""Real HTTP servers in processes of their own, all of which answer the same paths (`tests/peers`).

    with started(SERVERS["node"]) as server:
        response = await fetch(server.port, "/big")
        server.program.kill()

All have `/small`, `/big` and `/chunked` (1 MiB both), `/none` (204), `/same` (304), `/cookies` (two), `/gzip` (1 MiB),
`/port` (from which it was asked), `/close` (small, and the server closes), `/refuse` (413 without a look at the body),
`/stall/big` and `/stall/chunked` (about the first half, then nothing). They take uploads at `/echo` or, where they lack
that, keep them under `/upload/`. Some have `/trailers`, `/hints` and a WebSocket at `/ws`.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from processes import Program
from waiting import eventually_sync, free_port, is_port_open

FOLDER = Path(__file__).resolve().parents[1] / "peers"
BIG = bytes(range(256)) * 4096

Command = Callable[[int, Path], list[str | Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKind:
    """A server program. ``lacks`` is what it cannot do; it gets a port and a folder of its own."""

    command: Command
    lacks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs."""

    port: int
    program: Program
    kind: ServerKind

    @property
    def url(self) -> str:
        """The address, as ``backends`` of a pool takes it."""
        return f"http://127.0.0.1:{self.port}"

    def needs(self, *abilities: str) -> None:
        """Skip the test where this server cannot do that by its nature."""
        if missing := self.kind.lacks.intersection(abilities):
            pytest.skip(f"not in this server: {', '.join(sorted(missing))}")


def uvicorn(parser: str) -> Command:
    """With httptools, as the extra `standard` brings it, or with h11, as it comes without."""

    def command(port: int, _folder: Path) -> list[str | Path]:
        options = ["--http", parser, "--port", str(port), "--log-level", "warning", "--no-access-log"]
        return [sys.executable, "-P", "-m", "uvicorn", "--app-dir", FOLDER, *options, "uvicorn_app:app"]

    return command


def aiohttp(port: int, _folder: Path) -> list[str | Path]:
    return [sys.executable, "-P", FOLDER / "aiohttp_app.py", str(port)]


def websockets(port: int, _folder: Path) -> list[str | Path]:
    return [sys.executable, "-P", FOLDER / "websockets_app.py", str(port)]


def node(port: int, _folder: Path) -> list[str | Path]:
    return [program("node"), FOLDER / "node_server.mjs", str(port)]


def nginx(port: int, folder: Path) -> list[str | Path]:
    binary = program("nginx")
    for name in ("temp", "files", "files/upload"):
        (folder / name).mkdir()
    (folder / "files" / "small").write_bytes(b"hello")
    (folder / "files" / "big").write_bytes(BIG)
    config = folder / "nginx.conf"
    config.write_text((FOLDER / "nginx.conf").read_text().replace("PORT;", f"{port};"))
    return [binary, "-p", folder, "-c", config, "-e", "stderr"]


SERVERS: dict[str, ServerKind] = {
    "uvicorn": ServerKind(command=uvicorn("httptools"), lacks=frozenset({"trailers", "hints"})),
    "uvicorn-h11": ServerKind(command=uvicorn("h11"), lacks=frozenset({"trailers", "hints"})),
    "aiohttp": ServerKind(command=aiohttp, lacks=frozenset({"trailers", "hints"})),
    "node": ServerKind(command=node, lacks=frozenset({"websocket"})),
    "nginx": ServerKind(command=nginx, lacks=frozenset({"hints", "echo", "websocket"})),
}
"""Every server that a backend of ours is likely to be."""

WEBSOCKET_SERVERS: dict[str, ServerKind] = {
    "uvicorn": SERVERS["uvicorn"],
    "aiohttp": SERVERS["aiohttp"],
    "websockets": ServerKind(command=websockets),
}
"""Those that speak WebSocket at `/ws`, refuse it at `/ws/STATUS` and say at `/closed` how the last one was ended."""


@contextmanager
def started(kind: ServerKind, port: int = 0) -> Iterator[Server]:
    """Such a server, until the block ends, on a free port or on this one. Skips where the program is missing."""
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        port = port or free_port()
        with Program(kind.command(port, Path(folder))) as running:
            eventually_sync(lambda: is_port_open(port) or running.status is not None, within=20)
            assert running.status is None, running.output
            yield Server(port=port, program=running, kind=kind)


def program(name: str) -> str:
    """Where a program is that not every machine has; daemons are not on everybody's PATH. Skips where it is missing."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found
