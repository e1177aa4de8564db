"""Workers that are killed, asked to end, or older than the monitor."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from findings import Finding, at_most, holds, told
from openload import Load
from system import WORKERS, System, eventually

STREAMS = 50
SHORT_ONES = 12
"""So many GETs may be under way beside the streams, more or less, whenever one looks."""
NEWER_MONITOR = """
import sys, json
import sidecar.contract.codec as codec
import sidecar.publish as publish
old = codec.view_body
def newer(view):
    content = json.loads("{" + old(view))
    content["of_tomorrow"] = {"a": [1, 2]}
    for backend in content["backends"].values():
        backend["mood"] = "sunny"
    return json.dumps(content, separators=(",", ":"))[1:]
publish.view_body = newer
from sidecar.cli import main
sys.argv = ["sidebeat", *sys.argv[1:]]
main()
"""


async def kill_worker() -> Sequence[Finding]:
    """A worker that has open streams is killed with -9."""
    async with System() as system:
        async with Load(system.port) as load:
            streams = [await _stream(system.port) for _ in range(STREAMS)]
            await asyncio.sleep(1.0)
            victim = system.worker_pids()[0]
            theirs = _streams_of(victim, streams)
            before = await system.metric("sidebeat_inflight")
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            gone = await _until_in_flight(system, before - theirs + SHORT_ONES, killed)
            await eventually(lambda: len(system.worker_pids()) == WORKERS, within_s=15.0)
            await asyncio.sleep(2.0)
        for _, writer in streams:
            writer.transport.abort()
        await asyncio.sleep(0.5)
        return [
            told("streams of the killed worker", f"{theirs} of {STREAMS}"),
            at_most("its in-flight counts gone", 1e3 * (gone - killed), 50, "ms"),
            at_most("in flight once all is over", await system.metric("sidebeat_inflight"), 0),
            at_most("client errors from 0.5 s after the kill", load.errors(killed + 0.5).total(), 0),
        ]


async def _stream(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /stream HTTP/1.1\r\nHost: chaos.test\r\n\r\n")
    await reader.readuntil(b"hi")
    return reader, writer


def _streams_of(pid: int, streams: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> int:
    """How many of our connections end in that process, by the inodes of its sockets."""
    inodes = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            inodes.add(os.readlink(entry.path))
    ours = {writer.get_extra_info("sockname")[1] for _, writer in streams}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(f"socket:[{row[9]}]" in inodes and int(row[2].rpartition(":")[2], 16) in ours for row in rows)


async def _until_in_flight(system: System, at_most_: float, since: float) -> float:
    while time.monotonic() < since + 5.0:
        asked = time.monotonic()
        with suppress(OSError, TimeoutError):
            if await system.metric("sidebeat_inflight") <= at_most_:
                return asked
    return time.monotonic()


async def ejection_outlives_workers() -> Sequence[Finding]:
    """Every worker in turn is asked to end or killed while a black hole is ejected."""
    retry = {"retry_on": ["connect_failure", "reset", "timeout"]}
    outlier = {"base_ejection_s": 60.0, "max_ejection_s": 120.0}
    async with System(retry=retry, outlier_detection=outlier) as system, Load(system.port) as load:
        await asyncio.sleep(2.0)
        await system.backends["alpha"].tell(status=500)
        await asyncio.sleep(3.0)
        ejected = time.monotonic()
        broken = 0
        for number, worker in enumerate(system.worker_pids()):
            os.kill(worker, signal.SIGTERM if number % 2 else signal.SIGKILL)
            await eventually(partial(_is_gone, system, worker), within_s=20.0)
            await eventually(lambda: len(system.worker_pids()) == WORKERS, within_s=20.0)
            await asyncio.sleep(2.0)
        errors = load.errors(ejected)
        broken = sum(count for error, count in errors.items() if error.startswith("500"))
        arrivals = (await system.backends["alpha"].tell()).since(ejected)
        return [
            at_most("500s that clients saw", broken, 0),
            at_most("requests that reached the ejected backend", len(arrivals), 0),
            told("connections cut by kill -9", str(errors.total() - broken)),
        ]


def _is_gone(system: System, worker: int) -> bool:
    return worker not in system.worker_pids()


async def newer_monitor() -> Sequence[Finding]:
    """The monitor is of a later version: its view has fields that the workers do not know."""
    async with System() as system:
        system.run("newer", "monitor", "-c", str(system.config), code=NEWER_MONITOR)
        await system.wait_for_log("newer", "started")
        older = system.pid_of("monitor")
        os.kill(older, signal.SIGSTOP)
        await system.wait_for_log("newer", "lease-won")
        async with Load(system.port) as load:
            await asyncio.sleep(2.0)
            system.backends["alpha"].kill()
            await system.until_verdict("alpha", "unhealthy")
            await asyncio.sleep(1.0)
            before = await system.metric("sidebeat_upstream_failures_total", backend="alpha")
            await asyncio.sleep(2.0)
            after = await system.metric("sidebeat_upstream_failures_total", backend="alpha")
            view = str(await system.redis.get(system.keys.view))
            os.kill(older, signal.SIGCONT)
            return [
                holds("the view has what the workers do not know", met="of_tomorrow" in view),
                at_most("client errors", load.errors().total(), 0),
                at_most("attempts at the dead backend from 1 s after its verdict", after - before, 0),
            ]
