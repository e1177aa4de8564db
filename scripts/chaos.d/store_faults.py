"""A store that dies, sleeps, forgets, or holds rubbish."""

import asyncio
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from redis.exceptions import RedisError

from findings import Finding, at_most, holds, told
from openload import Load
from system import WORKERS, System, eventually_async

QUIET_S = 4.0
SLEEP_S = 20.0

Fault = Callable[[System], Awaitable[None]]


async def _kill(system: System) -> None:
    os.kill(system.pid_of("store"), signal.SIGKILL)


async def _stop(system: System) -> None:
    store = system.pid_of("store")
    os.kill(store, signal.SIGSTOP)
    await asyncio.sleep(SLEEP_S)
    os.kill(store, signal.SIGCONT)


async def _flush(system: System) -> None:
    await system.redis.flushall()


async def _rubbish(system: System) -> None:
    keys = system.keys
    for key in (keys.view, keys.beat, keys.leader, keys.workers, keys.events, keys.admin, keys.backend("alpha")):
        await system.redis.delete(key)
        await system.redis.rpush(key, "of another product")


async def _garbage(system: System) -> None:
    """Half JSON, a schema of tomorrow, and an epoch from next year, each for as long as the monitor leaves it there."""
    view = str(await system.redis.get(system.keys.view))
    for raw in (
        view[: len(view) // 2],
        view.replace('"schema":1', '"schema":9'),
        '{"epoch":99999999999999,' + view[1:],
    ):
        await system.redis.set(system.keys.view, raw)
        await system.redis.publish(system.keys.push, "1")
        await asyncio.sleep(0.5)


FAULTS: dict[str, Fault] = {
    "SIGKILL": _kill,
    "SIGSTOP 20 s": _stop,
    "FLUSHALL": _flush,
    "wrong types": _rubbish,
    "garbage": _garbage,
}


def store_fault(rounds: int) -> Callable[[], Awaitable[Sequence[Finding]]]:
    """All of them in one system, one after the other; latencies as the median of so many rounds."""

    async def run() -> Sequence[Finding]:
        """The store is killed, stopped for 20 s, emptied, filled with wrong types."""
        async with System() as system, Load(system.port) as load:
            status, said = await system.command("drain", "api/delta", "-c", str(system.config))
            if status:
                return [holds("an intent can be given", met=False, measured=said.strip()[-80:])]
            await asyncio.sleep(2.0)
            found: list[Finding] = []
            for name, fault in FAULTS.items():
                found += await _measure(system, load, name, fault, rounds)
            return found

    return run


async def _measure(system: System, load: Load, name: str, fault: Fault, rounds: int) -> list[Finding]:
    quiet, sick, back, kept, reports = [], [], [], True, True
    errors: Counter[str] = Counter()
    for _ in range(rounds):
        began = time.monotonic()
        await asyncio.sleep(QUIET_S)
        broken = time.monotonic()
        await fault(system)
        mended = time.monotonic()
        await eventually_async(lambda: _advances(system), within_s=30.0)
        back.append(time.monotonic() - mended)
        await asyncio.sleep(max(0.0, QUIET_S - (time.monotonic() - broken)))
        kept = kept and await _is_kept(system, load)
        reports = reports and await _all_report(system)
        quiet.append(load.p99_ms(began, broken))
        sick.append(load.p99_ms(broken, time.monotonic() - 1.0))
        errors.update(load.errors(began))
    before, during = statistics.median(quiet), statistics.median(sick)
    return [
        at_most(f"{name}: client errors{_words(errors)}", errors.total(), 0),
        at_most(f"{name}: p99 (quiet {before:.1f} ms)", during, max(1.25 * before, before + 3.0), "ms"),
        at_most(f"{name}: the view advances again after", statistics.median(back), 3, "s"),
        holds(f"{name}: the operator's drain is kept", met=kept),
        holds(f"{name}: all workers report again", met=reports),
    ]


async def _all_report(system: System) -> bool:
    """Whether every worker is heard of, at last."""
    with suppress(TimeoutError):
        await eventually_async(lambda: _are_listed(system), within_s=5.0)
        return True
    return False


async def _are_listed(system: System) -> bool:
    with suppress(RedisError, OSError):
        members = await system.redis.zrange(system.keys.workers, 0, -1)
        alive = [await system.redis.exists(system.keys.worker(str(member))) for member in members]
        return sum(alive) >= WORKERS
    return False


def _words(errors: Counter[str]) -> str:
    return " (" + ", ".join(f"{count} x {error}" for error, count in errors.items()) + ")" if errors else ""


async def _advances(system: System) -> bool:
    """Whether a heartbeat was written in the last 1.2 s by the store's own clock."""
    with suppress(RedisError, OSError):
        seconds, micros = await system.redis.time()
        written = await system.redis.hget(system.keys.beat, "redis_ms")
        return bool(written) and seconds * 1000 + micros // 1000 - int(str(written)) < 1200
    return False


async def _is_kept(system: System, load: Load) -> bool:
    """Whether the drained backend gets nothing, and the store says why."""
    since = time.monotonic() - 1.0
    admin = await system.redis.hget(system.keys.backend("delta"), "admin")
    return admin == "drain" and not load.shares(since)["delta"]


async def quiet() -> Sequence[Finding]:
    """Nothing is broken: what this machine can do."""
    async with System() as system, Load(system.port) as load:
        await asyncio.sleep(6.0)
        return [
            at_most("client errors", load.errors().total(), 0),
            told("GETs answered a second", f"{len(load.seen) / 6:.0f}"),
            told("p99", f"{load.p99_ms():.1f} ms"),
        ]
