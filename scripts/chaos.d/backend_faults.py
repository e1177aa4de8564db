"""Backends that die, hang, lie, flap or leave."""

import asyncio
import signal
import time
from collections.abc import Sequence

from findings import Finding, at_most, holds, told
from openload import Load
from system import System, eventually

QUIET_S = 2.0
PERSISTENT = ("connect_failure", "reset", "timeout")
"""Retries but for gateway errors."""


async def kill_backend() -> Sequence[Finding]:
    """A backend is killed with -9."""
    async with System() as system, Load(system.port) as load:
        await asyncio.sleep(QUIET_S)
        attempts = await _attempts(system, "alpha")
        killed = time.monotonic()
        system.backends["alpha"].kill()
        last = await _last_attempt(system, attempts[1], killed)
        verdict_at = await system.until_verdict("alpha", "unhealthy")
        await asyncio.sleep(1.0)
        reached = (await _attempts(system, "alpha"))[1] - attempts[1]
        under_way = sum(1 for seen in load.between(killed - 0.05, killed))
        return [
            at_most("client errors", load.errors().total(), 0),
            at_most("GETs without an answer a second after", load.lag(), 60),
            at_most("attempts that failed there, over all workers", reached, 4),
            at_most("last of them, after the kill", 1e3 * (last - killed), 50, "ms"),
            at_most("verdict in Redis", verdict_at - killed, 2, "s"),
            told("GETs of the 50 ms before the kill", str(under_way)),
        ]


async def _attempts(system: System, backend: str) -> tuple[float, float]:
    """Answers and failures of a backend, over all workers."""
    asked = await system.metric("sidebeat_requests_total", backend=backend)
    return asked, await system.metric("sidebeat_upstream_failures_total", backend=backend)


async def _last_attempt(system: System, before: float, since: float) -> float:
    """When the last failed attempt was counted, looked at as often as the page can be read for half a second."""
    last, count = since, before
    while time.monotonic() < since + 0.5:
        failed = (await _attempts(system, "alpha"))[1]
        if failed > count:
            last, count = time.monotonic(), failed
    return last


async def hang() -> Sequence[Finding]:
    """SIGSTOP a backend, later SIGCONT."""
    timeouts = {"response_headers_s": 0.3}
    async with System(timeouts=timeouts) as system, Load(system.port) as load:
        await asyncio.sleep(QUIET_S)
        before = (await _attempts(system, "alpha"))[1]
        stopped = time.monotonic()
        system.backends["alpha"].send(signal.SIGSTOP)
        await asyncio.sleep(1.5)
        waited = (await _attempts(system, "alpha"))[1] - before
        await asyncio.sleep(10.0)
        later = (await _attempts(system, "alpha"))[1] - before - waited
        system.backends["alpha"].send(signal.SIGCONT)
        resumed = time.monotonic()
        await eventually(lambda: load.shares(resumed)["alpha"] > 0, within_s=30.0)
        back = time.monotonic()
        await asyncio.sleep(2.0)
        share = load.shares(back)["alpha"] / max(load.shares(back).total(), 1)
        await asyncio.sleep(12.0)
        grown = load.shares(time.monotonic() - 2.0)
        return [
            at_most("client errors", load.errors(stopped).total(), 0),
            at_most("requests that waited for it before all had ejected it", waited, 40),
            at_most("canaries in the 10 s after", later, 2),
            told("back after", f"{back - resumed:.1f} s"),
            holds("slow start: share in its first 2 s below its fair share", met=share < 0.2, measured=f"{share:.0%}"),
            told("share 14 s later", f"{grown['alpha'] / max(grown.total(), 1):.0%}"),
        ]


async def black_hole() -> Sequence[Finding]:
    """A backend answers 500 or 503 in 1 ms while its probe passes."""
    found: list[Finding] = []
    for status, retried in ((500, False), (503, False), (503, True)):
        async with System(retry={} if retried else {"retry_on": list(PERSISTENT)}) as system, Load(system.port) as load:
            await asyncio.sleep(QUIET_S)
            began = time.monotonic()
            await system.backends["alpha"].tell(status=status)
            await asyncio.sleep(20.0)
            errors, all_ = load.errors(began).total(), len(load.between(began))
            what = f"{status}, {'with' if retried else 'without'} retries: errors"
            share = at_most(what, 100 * errors / all_, 0 if retried else 0.5, "%")
            found += [share, told("  probes say", await system.verdict("alpha"))]
    return found


async def flapping() -> Sequence[Finding]:
    """A backend refuses connections for 400 ms, serves for 400 ms, for 30 s."""
    async with System() as system, Load(system.port) as load:
        await asyncio.sleep(QUIET_S)
        began = time.monotonic()
        before = len(await system.events())
        await system.backends["alpha"].tell(flap_s=0.4)
        await asyncio.sleep(30.0)
        await system.backends["alpha"].tell(flap_s=0.0)
        changes = [event for event in (await system.events())[before:] if event.get("backend") == "alpha"]
        verdicts = [event for event in changes if event.get("to") in ("healthy", "unhealthy")]
        ended = time.monotonic()
        await eventually(lambda: load.shares(ended)["alpha"] > 5, within_s=30.0)
        back = next(seen.due for seen in load.between(ended) if seen.backend == "alpha")
        await asyncio.sleep(1.0)
        herd = load.shares(back, back + 1.0)
        share = herd["alpha"] / max(herd.total(), 1)
        return [
            at_most("client errors", load.errors(began).total(), 0),
            at_most("verdict changes", len(verdicts), 6),
            holds("no herd on its return: share of the first second", met=share <= 0.35, measured=f"{share:.0%}"),
        ]


async def one_failed_probe() -> Sequence[Finding]:
    """One probe of a healthy backend fails."""
    async with System() as system, Load(system.port) as load:
        await asyncio.sleep(4.0)
        before = len(await system.events())
        middle = time.monotonic()
        await system.backends["alpha"].tell(failing_probes=1)
        await asyncio.sleep(4.0)
        share, earlier = (load.shares(a, b) for a, b in ((middle, middle + 4.0), (middle - 2.0, middle)))
        moved = abs(share["alpha"] / share.total() - earlier["alpha"] / earlier.total())
        return [
            at_most("client errors", load.errors().total(), 0),
            at_most("verdict changes", len(await system.events()) - before, 0),
            holds("its share of the traffic stays", met=moved < 0.08, measured=f"moved by {100 * moved:.0f} points"),
        ]


async def rolling_restart() -> Sequence[Finding]:
    """Two backends are replaced one after the other; readiness says 503 first, then the process ends."""
    async with System(names=("alpha", "bravo")) as system, Load(system.port) as load:
        await asyncio.sleep(QUIET_S)
        began, late = time.monotonic(), 0
        for name in ("alpha", "bravo"):
            backend = system.backends[name]
            await backend.tell(probe_status=503)
            out = await system.until_verdict(name, "unhealthy")
            await asyncio.sleep(1.5)
            late += len((await backend.tell()).since(out + 0.05))
            backend.kill()
            await backend.start()
            await system.until_verdict(name, "healthy")
        return [
            at_most("client errors", load.errors(began).total(), 0),
            at_most("requests to it from 50 ms after its verdict", late, 0),
        ]
