"""What a worker has under way, by kind, and how it asks that to end when it drains itself.

Requests that wait for an answer get it; streams and tunnels may last for days and have to be told. Not all at once:
their clients come back at once, to whoever is left.
"""

import asyncio
import logging
from collections.abc import Callable, Collection

from sidecar.contract.events import Event, line
from sidecar.contract.model import UnderWay
from worker.lane import Client, Ongoing

logger = logging.getLogger(__name__)

LOOK_S = 0.05
"""How often those are looked for whose time it is."""


def under_way(active: Collection[Ongoing], clients: Collection[Client]) -> UnderWay:
    """How much of each kind."""
    responded = [one for one in active if one.responded]
    tunnels = sum(one.is_tunnel for one in responded)
    return UnderWay(
        requests=len(active) - len(responded),
        streams=len(responded) - tunnels,
        tunnels=tunnels,
        idle=max(len(clients) - len(active), 0),
    )


async def drain_streams(active: Collection[Ongoing], spread_s: float, clock: Callable[[], float]) -> None:
    """Ask each exchange whose response has begun to end, once: those of now over ``spread_s``, others as they come.

    Until cancelled.
    """
    begun = clock()
    first = [one for one in active if one.responded]
    asked: set[Ongoing] = set()
    while True:
        now = clock()
        part = min((now - begun) / spread_s, 1.0) if spread_s > 0 else 1.0
        due = first[: int(part * len(first)) + 1] if part < 1.0 else [one for one in active if one.responded]
        for one in due:
            if one not in asked and one in active:
                _ask(one, now)
        asked.update(due)
        await asyncio.sleep(LOOK_S)


def _ask(one: Ongoing, now: float) -> None:
    """What goes wrong with one of them must not keep the others from their end."""
    try:
        one.drain(now)
    except Exception:
        logger.exception(line(Event.DRAINING, of=type(one).__name__))
