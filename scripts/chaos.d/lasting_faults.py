"""What lasts when something around it changes: a reload, clients that leave, a backend that is killed."""

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from drain_faults import LISTEN, Lasting
from findings import Finding, at_most, holds, told
from openload import Load
from system import System, eventually, eventually_async

TUNNELS = 100
LEFT_MS = 100.0
CLOSED_S = 1.0
APPLIED_S = 1.0
TRIES = 20


async def reload() -> Sequence[Finding]:
    """`sidebeat reload` with a changed pool, route and limit, then with a broken file, under streams and GETs."""
    async with System(listen=LISTEN) as system, asyncio.TaskGroup() as tasks:
        lasting = Lasting(system.port, tasks)
        await lasting.begin()
        async with Load(system.port, rate=200) as load:
            await asyncio.sleep(1.0)
            good = system.config.read_text()
            changed = good.replace("[pools.api]", "max_headers = 90\n[pools.api]", 1)
            changed = re.sub(r'(id = "alpha")', r"\1, weight = 2", changed, count=1)
            system.config.write_text(
                changed + '[[routes]]\npool = "api"\n[[routes]]\npool = "api"\npath_prefix = "/new"\n'
            )
            status, said = await system.command("reload", "-c", str(system.config))
            system.config.write_text("[pools")
            refused, why = await system.command("reload", "-c", str(system.config))
            errors = load.errors()
        ended = lasting.streams + lasting.sockets + lasting.kept
        applied = re.findall(r"worker\S* config \S+ reload=applied took_s=([\d.]+)", system.log("up"))
        os.kill(system.pid_of("worker"), signal.SIGTERM)  # and so all that lasts
    return [
        holds("all workers have applied it", met=status == 0 and bool(applied), measured=said.strip().splitlines()[-1]),
        at_most(
            "until they had, the check of the file included", max(map(float, applied), default=99.0), APPLIED_S, "s"
        ),
        holds("a broken file is refused", met=refused != 0, measured=why.strip().splitlines()[0][:60]),
        at_most("client errors", errors.total(), 0),
        at_most("of 600 streams, WebSockets and kept connections, ended by it", ended.total(), 0),
    ]


async def leaving_clients() -> Sequence[Finding]:
    """Clients that leave before the first byte, and in the middle of a stream: when their place is free again."""
    times_ms: dict[str, list[float]] = {"before the first byte": [], "in an event stream": []}
    async with System(names=("alpha",)) as system:
        await system.backends["alpha"].tell(service_s=60.0)
        for _ in range(TRIES):
            for what, target in (("before the first byte", "/"), ("in an event stream", "/events")):
                times_ms[what].append(await _left_ms(system, target, begun=what == "in an event stream"))
    return [
        at_most(f"{what}: client gone until it is over here, worst of {TRIES}", max(times), LEFT_MS, "ms")
        for what, times in times_ms.items()
    ]


async def _left_ms(system: System, target: str, *, begun: bool) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", system.port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: chaos.test\r\n\r\n" % target.encode())
    if begun:
        await reader.readuntil(b"\r\n\r\n")

    async def under_way() -> bool:
        return await system.metric("sidebeat_inflight") > 0

    async def over() -> bool:
        return not await under_way()

    await eventually_async(under_way, within_s=5.0)
    left = time.monotonic()
    writer.close()
    await eventually_async(over, within_s=5.0, every_s=0.002)
    return 1e3 * (time.monotonic() - left)


async def kill_tunnels() -> Sequence[Finding]:
    """A backend that a hundred WebSockets go to is killed with -9."""
    codes: Counter[str] = Counter()
    async with System(names=("alpha",)) as system, asyncio.TaskGroup() as tasks:
        open_now = 0

        async def hold() -> None:
            nonlocal open_now
            async with connect(f"ws://127.0.0.1:{system.port}/ws", ping_interval=None) as socket:
                open_now += 1
                try:
                    while True:
                        await socket.recv()
                except ConnectionClosed as closed:
                    codes[str(closed.rcvd.code) if closed.rcvd else "aborted"] += 1

        for _ in range(TUNNELS):
            tasks.create_task(hold())
        await eventually(lambda: open_now == TUNNELS, within_s=10.0)
        killed = time.monotonic()
        system.backends["alpha"].kill()
        await eventually(lambda: codes.total() == TUNNELS, within_s=10.0)
        took_s = time.monotonic() - killed
        left = await system.metric("sidebeat_inflight")
    return [
        at_most(f"until all {TUNNELS} clients know", took_s, CLOSED_S, "s"),
        at_most("told that all was well", codes["1000"], 0),
        at_most("still counted as under way", left, 0),
        told("how they ended", str(dict(codes))),
    ]
