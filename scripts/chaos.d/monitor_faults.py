"""Monitors that die, sleep, or cannot see what the workers can."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Any, cast

from findings import Finding, at_most, holds
from openload import Load
from system import System, eventually_async


async def kill_monitor() -> Sequence[Finding]:
    """SIGKILL the leading monitor beside a standby."""
    async with System() as system:
        await _with_standby(system)
        async with Load(system.port) as load:
            await asyncio.sleep(1.0)
            leader = str(await system.redis.hget(system.keys.leader, "owner"))
            killed = time.monotonic()
            os.kill(_pid_of(leader), signal.SIGKILL)
            await eventually_async(lambda: _leads_another(system, leader), within_s=15.0)
            led = time.monotonic() - killed
            await asyncio.sleep(1.0)
            return [
                at_most("a standby leads after", led, 4, "s"),
                at_most("client errors", load.errors().total(), 0),
            ]


async def stop_monitor() -> Sequence[Finding]:
    """SIGSTOP the leading monitor for 10 s beside a standby; what it then writes is late."""
    async with System() as system:
        await _with_standby(system)
        async with Load(system.port) as load:
            await asyncio.sleep(1.0)
            leader = str(await system.redis.hget(system.keys.leader, "owner"))
            stopped = time.monotonic()
            os.kill(_pid_of(leader), signal.SIGSTOP)
            await eventually_async(lambda: _leads_another(system, leader), within_s=15.0)
            led = time.monotonic() - stopped
            await asyncio.sleep(max(0.0, 10.0 - led))
            os.kill(_pid_of(leader), signal.SIGCONT)
            await asyncio.sleep(3.0)
            fenced = [event for event in await system.events() if event.get("to") == "FENCED"]
            logs = system.log("up") + system.log("standby")
            return [
                at_most("a standby leads after", led, 4, "s"),
                holds("the late write is in `events` as FENCED", met=bool(fenced)),
                holds("and in the log", met=" fenced " in logs),
                at_most("client errors", load.errors().total(), 0),
            ]


async def blind_monitor() -> Sequence[Finding]:
    """No probe is answered any more while every request is."""
    async with System() as system, Load(system.port) as load:
        await asyncio.sleep(3.0)
        began = time.monotonic()
        before = len(await system.events())
        for backend in system.backends.values():
            await backend.tell(deaf=True)
        shown = False
        verdicts = 0
        while time.monotonic() < began + 7.0:
            shown = shown or "monitor_suspect" in (await system.command("status", "-c", str(system.config)))[1]
            events = (await system.events())[before:]
            verdicts = sum(event.get("to") == "unhealthy" for event in events)
            await asyncio.sleep(0.1)
        for backend in system.backends.values():
            await backend.tell(deaf=False)
        await asyncio.sleep(2.0)
        return [
            holds("monitor_suspect is shown", met=shown),
            at_most("verdicts against backends while it lasts (7 s)", verdicts, 0),
            at_most("client errors", load.errors(began).total(), 0),
        ]


async def lost_pushes() -> Sequence[Finding]:
    """No push message arrives."""
    async with System() as system:
        await cast("Any", system.redis).execute_command("ACL", "SETUSER", "default", "resetchannels")
        await system.redis.client_kill_filter(_type="pubsub")
        async with Load(system.port) as load:
            await asyncio.sleep(3.0)
            backend, slowest = system.backends["alpha"], 0.0
            for _ in range(3):
                await backend.tell(probe_status=503)
                out = await system.until_verdict("alpha", "unhealthy")
                await asyncio.sleep(3.0)
                slowest = max([slowest, *(arrival - out for arrival in (await backend.tell()).since(out))])
                await backend.tell(probe_status=200)
                await system.until_verdict("alpha", "healthy")
                await asyncio.sleep(2.0)
            return [
                at_most("last request to a backend after its verdict, of 3", slowest, 1.5, "s"),
                at_most("client errors", load.errors().total(), 0),
            ]


async def _with_standby(system: System) -> None:
    system.run("standby", "monitor", "-c", str(system.config))
    await system.wait_for_log("standby", "started")
    await asyncio.sleep(1.0)


def _pid_of(owner: str) -> int:
    """A leader's name is host:pid:random."""
    return int(owner.split(":")[1])


async def _leads_another(system: System, leader: str) -> bool:
    owner = await system.redis.hget(system.keys.leader, "owner")
    return bool(owner) and owner != leader
