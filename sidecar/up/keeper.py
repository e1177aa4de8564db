"""What `up` does when the store or the monitor ends: start it again, each time a little later. Traffic goes on."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from sidecar.child import how_it_ended
from sidecar.contract.events import Event, line
from sidecar.store import StoreError

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
FORGIVEN_AFTER_S = 10.0
"""What lived that long was up; its next end is a first one."""
WRONG_USE = 2
"""The exit status of a program that does not accept its config: at the start, another try would end the same way."""

log = logging.getLogger("sidebeat.up")


class Program(Protocol):
    """What can be kept running."""

    @property
    def pid(self) -> int | None:
        """The process of the moment."""

    async def start(self) -> None:
        """Start it."""

    async def wait(self) -> int:
        """Its exit status, once it ended."""


class Backoff:
    """How long to wait before the next start: doubling, forgotten once a program has lived."""

    def __init__(self) -> None:
        self._delay_s = FIRST_DELAY_S

    def after(self, lived_s: float) -> float:
        """Seconds to wait after an end."""
        if lived_s >= FORGIVEN_AFTER_S:
            self._delay_s = FIRST_DELAY_S
        delay_s = self._delay_s
        self._delay_s = min(LONGEST_DELAY_S, 2 * delay_s)
        return delay_s


async def keep(name: str, program: Program, give_up: Callable[[str], None]) -> None:
    """Start a running program again whenever it ends, until cancelled.

    Args:
        give_up: called with the reason when the first one ends with status 2; the keeping ends with it. A later one
            found that the file was changed meanwhile, and may yet be changed back: traffic goes on by the old one.
    """
    backoff, first = Backoff(), program.pid
    while True:
        started = time.monotonic()
        status = await program.wait()
        if status == WRONG_USE and program.pid == first:
            give_up(f"the {name} does not accept its config; its reason is above")
            return
        delay_s = backoff.after(time.monotonic() - started)
        log.warning(line(Event.CHILD_DIED, child=name, how=how_it_ended(status), restart_in_s=delay_s))
        await asyncio.sleep(delay_s)
        try:
            await program.start()
        except (OSError, StoreError) as error:
            log.warning(line(Event.CHILD_DIED, child=name, how=str(error)))
        else:
            log.warning(line(Event.RESTARTING, child=name, pid=program.pid))
