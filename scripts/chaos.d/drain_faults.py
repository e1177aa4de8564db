"""The workers are asked to end, or to hand over to new ones, while streams, WebSockets and GETs go on."""

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from findings import Finding, at_most, holds, told
from openload import Load
from system import WORKERS, System, eventually

EACH = 200
"""Event streams, WebSockets and kept connections, and GETs a second."""
DELAY_S = 2.0
DRAIN_S = 8.0
LISTEN = {"drain_delay_s": DELAY_S, "drain_timeout_s": DRAIN_S}
REAPED_MS = 50.0
EVENT = re.compile(rb"data: \d+\n\n")


class Lasting:
    """What goes on while the workers end, and how each of it ended."""

    def __init__(self, port: int, tasks: asyncio.TaskGroup) -> None:
        self.streams: Counter[str] = Counter()
        self.sockets: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self._port = port
        self._tasks = tasks
        self._begun = 0

    async def begin(self) -> None:
        """Open everything."""
        for kind in (self._stream, self._socket, self._keep):
            for _ in range(EACH):
                self._tasks.create_task(kind())
        await eventually(lambda: self._begun == 3 * EACH, within_s=30.0)

    async def _stream(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: chaos.test\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        self._begun += 1
        try:
            self.streams[await _ended(reader)] += 1
        except OSError as error:
            self.streams[type(error).__name__] += 1
        writer.close()

    async def _socket(self) -> None:
        async with connect(f"ws://127.0.0.1:{self._port}/ws", ping_interval=None) as socket:
            self._begun += 1
            try:
                while True:
                    await socket.recv()
            except ConnectionClosed as closed:
                self.sockets[str(closed.rcvd.code) if closed.rcvd else "no close frame"] += 1

    async def _keep(self) -> None:
        """A GET every second on one connection, until an answer says that it was the last."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._begun += 1
        how = "last one"
        try:
            while True:
                writer.write(b"GET / HTTP/1.1\r\nHost: chaos.test\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                if not head.startswith(b"HTTP/1.1 200"):
                    how = head.split(b"\r\n")[0].decode()
                    break
                if b"onnection: close" in head:
                    break
                await asyncio.sleep(1.0)
        except (OSError, EOFError) as error:
            how = type(error).__name__
        self.kept[how] += 1
        writer.close()


async def _ended(reader: asyncio.StreamReader) -> str:
    """How an event stream did."""
    body = bytearray()
    while line := await reader.readline():
        size = int(line, 16)
        body += (await reader.readexactly(size + 2))[:size]
        if not size:
            return "cleanly" if not EVENT.sub(b"", body) else "within an event"
    return "cut"


@asynccontextmanager
async def _busy() -> AsyncIterator[tuple[System, Lasting]]:
    async with System(listen=LISTEN) as system, asyncio.TaskGroup() as tasks:
        lasting = Lasting(system.port, tasks)
        await lasting.begin()
        yield system, lasting


def _endings(lasting: Lasting) -> list[Finding]:
    """What must hold of all that lasts, however the workers came to end."""
    return [
        at_most(f"of {EACH} event streams, not ended cleanly", EACH - lasting.streams["cleanly"], 0),
        at_most(f"of {EACH} WebSockets, not closed with 1012", EACH - lasting.sockets["1012"], 0),
        at_most(f"of {EACH} kept connections, not told which answer is the last", EACH - lasting.kept["last one"], 0),
        told("how they ended", f"{dict(lasting.streams)}, {dict(lasting.sockets)}, {dict(lasting.kept)}"),
    ]


async def drain() -> Sequence[Finding]:
    """SIGTERM under streams, WebSockets and GETs; who balances in front stops sending while readiness fails."""
    async with _busy() as (system, lasting):
        master = system.pid_of("worker")
        async with Load(system.port, rate=EACH) as load:
            await asyncio.sleep(1.0)
            began = time.monotonic()
            os.kill(master, signal.SIGTERM)
            await asyncio.sleep(0.75 * DELAY_S)
        await eventually(lambda: not Path(f"/proc/{master}").exists(), within_s=DELAY_S + DRAIN_S + 10.0)
        took_s = time.monotonic() - began
        told_left = len(re.findall(r"draining .*streams=", system.log("up")))
    return [
        at_most("client errors", load.errors().total(), 0),
        *_endings(lasting),
        at_most("SIGTERM until the master has ended", took_s, DELAY_S + DRAIN_S + 2.0, "s"),
        holds("what is left is said each second", met=told_left > WORKERS),
    ]


async def restart() -> Sequence[Finding]:
    """`sidebeat restart` under the same, and a new worker killed with -9 while the old ones drain."""
    async with _busy() as (system, lasting):
        before = system.worker_pids()
        async with Load(system.port, rate=EACH) as load:
            await asyncio.sleep(1.0)
            status, said = await system.command("restart")
            new = [pid for pid in system.worker_pids() if pid not in before]
            await eventually(lambda: not set(system.worker_pids()) & set(before), within_s=DELAY_S + DRAIN_S + 5.0)
            errors = load.errors()
        reaped_ms = [await _reaped_ms(pid) for pid in new[:2]]
    return [
        holds("all are replaced", met=status == 0 and len(new) == WORKERS, measured=said.strip().splitlines()[-1]),
        at_most("client errors, refusals among them", errors.total(), 0),
        *_endings(lasting),
        at_most("kill -9 of a worker until it is reaped", max(reaped_ms), REAPED_MS, "ms"),
    ]


async def _reaped_ms(pid: int) -> float:
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not Path(f"/proc/{pid}").exists(), within_s=5.0, every_s=0.002)
    return 1e3 * (time.monotonic() - killed)
