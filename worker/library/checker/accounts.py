"""What an app owes the store of the view it follows: reports of what it saw, and leases of what it may ask."""

import asyncio
import os
import time

from sidecar.contract.events import Event
from sidecar.contract.keys import PoolKeys
from worker.board import Board, Seats, Writer
from worker.board.membership import membership
from worker.library.checker.source import Source
from worker.limits import Leaser, LimitedPool
from worker.pool import Pool
from worker.report import Reporter, identity
from worker.server.crew import new_instance
from worker.view import Knowledge


class Accounts:
    """Of the pools through which an app's requests go to the backends of one view; all on one board.

    With the first of them this process is one more worker to the monitor.
    """

    def __init__(self, source: Source, board: Board, writer: Writer) -> None:
        known = membership()
        slot = writer.slot if writer.cells is board else None
        instance = new_instance() if known is None else known.instance
        self._source = source
        self._board = board
        self._slot = slot
        self._keys: dict[str, PoolKeys] = {}
        self._knowledge: dict[str, Knowledge] = {}
        self._seats: dict[str, Seats] = {}
        self._limited: dict[str, LimitedPool] = {}
        self._reporter = Reporter(
            identity(source.host, instance, slot),
            self._keys,
            self._knowledge,
            lambda: source.url,
            writer=writer,
            seats=self._seats,
        )
        member = f"{source.host}:{instance}"
        self._leaser = Leaser(
            self._limited,
            self._keys,
            lambda: source.url,
            member=member,
            alone=f"{member}:{os.getpid()}",
            is_scribe=self._is_scribe,
            is_last=lambda: self._board.scribe(time.monotonic(), self._holders() - {slot}) is None,
        )

    async def run(self) -> None:
        """Keep them for ever; signs off in the end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reporter.run(), name="report")
            tasks.create_task(self._leaser.run(), name="limits")

    def open(self, pool: Pool) -> None:
        """This one's, too, from now on; nothing changes where they are kept already."""
        if self._seats.get(pool.name) is pool.seats:
            return
        self._keys[pool.name] = self._source.keys
        self._knowledge[pool.name], self._seats[pool.name] = pool.knowledge, pool.seats
        if isinstance(pool, LimitedPool):
            self._limited[pool.name] = pool
        self._renew()

    def close(self, pool: Pool) -> None:
        """This one's no more."""
        if self._seats.get(pool.name) is pool.seats:
            for kept in (self._keys, self._knowledge, self._seats, self._limited):
                kept.pop(pool.name, None)
            self._renew()

    def _renew(self) -> None:
        self._leaser.use(self._limited)
        self._reporter.hurry()

    def suspect(self, pool: str, backend: str) -> None:
        """Have the monitor look at a backend now."""
        if pool in self._keys:
            self._reporter.suspect(pool, backend)

    def tell(self, pool: str, backend: str, event: Event, reason: str) -> None:
        """Have an event of this host written."""
        if pool in self._keys:
            self._reporter.tell(pool, backend, event, reason)

    def _is_scribe(self) -> bool:
        """Whether it is for this worker to lease for all."""
        return self._slot is not None and self._slot == self._board.scribe(time.monotonic(), self._holders())

    def _holders(self) -> set[int]:
        """The slots whose workers have such a pool: no other could lease for it."""
        rows = {row for pool in self._limited.values() for row in pool.limits}
        return {slot for row in rows for slot in self._board.directory.holders(row)}
