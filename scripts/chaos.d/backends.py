"""The backends under the system, as handles: each a process that can be told to misbehave, stopped and killed."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mortal import start

HERE = Path(__file__).parent
STARTS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a backend has counted: requests by their arrival (monotonic), probes and streams by number."""

    arrivals: list[float]
    probes: int
    streams: int

    def since(self, moment: float) -> list[float]:
        """The arrivals after a moment."""
        return [arrival for arrival in self.arrivals if arrival > moment]


class Backend:
    """One of them. Its port stays its own over its deaths."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._socket = folder / f"{name}.sock"
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._reserved.getsockname()[1])

    async def start(self) -> None:
        """Start it and wait until it takes orders."""
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-P", str(HERE / "moody_origin.py"), self.name, str(self.port), str(self._socket)]
        self._process = start(command)
        async with asyncio.timeout(STARTS_WITHIN_S):
            while not self._socket.exists():
                await asyncio.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """A signal to its process."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it with -9, and reap it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it, and give the port back."""
        self.kill()
        self._reserved.close()

    async def tell(self, **orders: Any) -> Counted:  # noqa: ANN401 - whatever its manners have
        """Have it behave so from now on; what it has counted."""
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=1 << 24)
        writer.write(json.dumps(orders).encode() + b"\n")
        told = json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return Counted(**told)
