"""The board itself: made in the master, its slots handed out and taken back."""

import time
from collections.abc import Sequence

from sidecar.contract.config import Config
from worker.board import layout
from worker.board.cells import Cells
from worker.board.host import NO_SLOT, HostArea
from worker.board.layout import Layout
from worker.board.memory import Memory
from worker.board.writer import Writer


def rows_of(config: Config) -> dict[tuple[str, str], int]:
    """The board's row of each backend, by pool and id: in the order of the file."""
    names = [(name, backend.id) for name, pool in config.pools.items() for backend in pool.members]
    return {name: row for row, name in enumerate(names)}


def board_slots(workers: int) -> int:
    """How many slots to make: enough for a rolling replacement of all workers, and for ``TTIN`` by hand."""
    return max(64, 4 * workers)


def board_for(config: Config) -> "Board":
    """The board that a config needs; called in the master, before the fork."""
    decay_s = [pool.balancing.decay_s for pool in config.pools.values() for _ in pool.members]
    return Board.create(len(decay_s), board_slots(config.listen.workers), decay_s=decay_s)


class Board(Cells):
    """Memory shared by the workers of one master; ``rows`` backends by ``slots`` workers.

    ``claim`` and ``release`` are the master's alone; ``host`` is written by whichever worker decides.
    """

    __slots__ = ("host",)

    def __init__(self, memory: Memory, rows: int, slots: int, decay_s: Sequence[float]) -> None:
        super().__init__(memory, rows, slots, decay_s)
        self.host = HostArea(memory, self._layout)

    @classmethod
    def create(cls, rows: int, slots: int, *, decay_s: float | Sequence[float] = 3.0) -> "Board":
        """Make an empty board that children of this process will share.

        Args:
            rows: how many backends, over all pools.
            slots: how many workers at most.
            decay_s: time constant of the latency sums, for all rows or one for each (``balancing.decay_s``).
        """
        each = [decay_s] * rows if isinstance(decay_s, float) else decay_s
        return cls(Memory(Layout(rows, slots).size), rows, slots, each)

    def claim(self) -> int | None:
        """Hand out the lowest free slot; None when all are taken. Never raises: it runs in ``pre_fork``."""
        words = self._words
        for slot in range(self.slots):
            owner = self._layout.owner(slot)
            if not words[owner + layout.CLAIMED]:
                words[owner + layout.CLAIMED] = 1
                words[layout.HIGH_WATER] = max(words[layout.HIGH_WATER], slot + 1)
                return slot
        return None

    def release(self, slot: int | None) -> None:
        """Forget what was true only while the slot's worker lived; only after its process is gone.

        With the pid goes any canary of the worker's, for which the others look at once. What it saw of failures stays,
        and so does what it decided. None is a worker that had no slot: nothing to forget.
        """
        if slot is None:
            return
        words = self._words
        for row in range(self.rows):
            words[self._layout.in_flight(row, slot)] = 0
        owner = self._layout.owner(slot)
        for word in range(layout.OWNER_WORDS - 1, -1, -1):  # CLAIMED last: a free slot is a clean one
            words[owner + word] = 0
        self.announce(slot)

    def announce(self, slot: int) -> None:
        """Have all workers look anew who is eligible, at their next pick; called after what changed was written.

        Any other number would do for a generation: no two of these are the same, whoever's slot they come from.
        """
        self._words[layout.GENERATION] = (time.monotonic_ns() << 10 | slot & 1023) & 0xFFFF_FFFF_FFFF_FFFF

    def writer(self, slot: int | None) -> Writer:
        """The one writer of a slot, made in the worker that owns it.

        None is a worker past the last slot: it counts in memory of its own, which its siblings do not see.
        """
        if slot is None:
            alone = Board.create(self.rows, 1, decay_s=self._decay_s)
            writer = alone.writer(alone.claim())
            writer.identity |= NO_SLOT
            return writer
        return Writer(self, slot, self._decay_s)
