"""python scripts/limits.d/prove.py [places|shares|requests|all]: saturate backends with limits; did they hold?"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from closed_loop import saturate
from counting_origin import Origin
from findings import Finding, holds, table, told
from limited_fleet import Fleet, FleetError

PLACES, WORKERS, SERVICE_S = 5, 8, 0.02
LIMIT, WINDOW_S, MASTERS = 1_000, 10.0, 2
USED = 0.8
"""Of what the places can serve, how much must be used; of the requests of a window 0.95."""
LEASED = 0.95
KEPT = Path(__file__).resolve().parents[2] / ".bench"

Proof = Callable[[float], Coroutine[None, None, Sequence[Finding]]]


async def places(seconds: float) -> Sequence[Finding]:
    """Eight workers of one master, a backend that takes five at a time."""
    return await _places(seconds, masters=1)


async def shares(seconds: float) -> Sequence[Finding]:
    """The same with two masters of four workers, who share the five."""
    return await _places(seconds, masters=2)


async def _places(seconds: float, *, masters: int) -> Sequence[Finding]:
    limits = f"max_inflight = {PLACES}"
    async with (
        Origin(service_s=SERVICE_S) as origin,
        Fleet(masters=masters, workers=WORKERS // masters, backend=origin.port, limits=limits) as fleet,
    ):
        await _saturate_all(fleet, 2.0)  # which they have come to share by then
        origin.reset()
        began = time.monotonic()
        statuses = await _saturate_all(fleet, seconds)
        lasted_s = time.monotonic() - began
    used = origin.busy_s / (PLACES * lasted_s)
    return [
        Finding(what="most at a time", measured=str(origin.most), bar=f"<= {PLACES}", met=origin.most <= PLACES),
        Finding(what="of its places in use", measured=f"{used:.1%}", bar=f">= {USED:.0%}", met=used >= USED),
        told("answered", ", ".join(f"{count} with {status}" for status, count in sorted(statuses.items()))),
    ]


async def _saturate_all(fleet: Fleet, seconds: float) -> Counter[str]:
    """Forty clients, as many at each master; how they were answered."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(saturate(port, 40 // len(fleet.ports), seconds)) for port in fleet.ports]
    return sum((task.result() for task in running), Counter())


async def requests(seconds: float) -> Sequence[Finding]:
    """Two masters of four workers each, a backend that takes a thousand in ten seconds."""
    async with (
        Origin(window_s=WINDOW_S) as origin,
        Fleet(
            masters=MASTERS, workers=4, backend=origin.port, limits=f"max_requests = {LIMIT}", window_s=WINDOW_S
        ) as fleet,
        asyncio.TaskGroup() as tasks,
    ):
        for port in fleet.ports:
            tasks.create_task(saturate(port, 16, max(seconds, 3 * WINDOW_S)))
    counts = [origin.windows[number] for number in sorted(origin.windows)]
    whole, least = counts[1:-1], min(counts[1:-1], default=0)
    return [
        Finding(what="most in a window", measured=str(max(counts)), bar=f"<= {LIMIT}", met=max(counts) <= LIMIT),
        Finding(
            what="least in a whole one",
            measured=str(least),
            bar=f">= {LEASED * LIMIT:.0f}",
            met=least >= LEASED * LIMIT,
        ),
        holds("windows were whole", met=len(whole) >= 1, measured=str(len(whole))),
    ]


PROOFS: dict[str, Proof] = {"places": places, "shares": shares, "requests": requests}


def main() -> int:
    """0: everything held."""
    parser = argparse.ArgumentParser(prog="limits", description=__doc__)
    parser.add_argument("what", nargs="?", choices=[*PROOFS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each lasts")
    options = parser.parse_args()
    found: list[tuple[str, Finding]] = []
    for name in PROOFS if options.what == "all" else [options.what]:
        sys.stderr.write(f"limits: {name}\n")
        try:
            found += [(name, finding) for finding in asyncio.run(PROOFS[name](options.seconds))]
        except FleetError as error:
            found.append((name, holds("measured", met=False, measured=f"no: {error}")))
    text = table(found)
    KEPT.mkdir(exist_ok=True)
    (KEPT / "limits.md").write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return int(any(finding.met is False for _, finding in found))


if __name__ == "__main__":
    sys.exit(main())
