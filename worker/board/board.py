"""The board itself: made in the master, its slots handed out and taken back."""

import time
from collections.abc import Sequence

from sidecar.contract.config import Config
from worker.board import layout
from worker.board.cells import Cells
from worker.board.directory import Directory, keys_of
from worker.board.host import NO_SLOT, HostArea
from worker.board.layout import Layout
from worker.board.memory import Memory
from worker.board.writer import Writer


def board_slots(workers: int) -> int:
    """How many slots to make: enough for a rolling replacement of all workers, and for ``TTIN`` by hand."""
    return max(64, 4 * workers)


def board_for(config: Config) -> "Board":
    """The board of a master, with room for other configs to come; this one's rows are given out beforehand.

    Called before the fork.
    """
    board = Board.create(config.listen.max_backends, board_slots(config.listen.workers), used=0)
    for name, pool in config.pools.items():
        board.directory.reserve(keys_of(name, pool))
    return board


class Board(Cells):
    """Memory shared by the workers of one master; ``rows`` backends by ``slots`` workers.

    ``claim`` and ``release`` are the master's alone; ``host`` is written by whichever worker decides; ``directory``
    knows whose row is whose.
    """

    __slots__ = ("directory", "host")

    def __init__(self, memory: Memory, rows: int, slots: int, decay_s: Sequence[float]) -> None:
        super().__init__(memory, rows, slots, decay_s)
        self.host = HostArea(memory, self._layout)
        self.directory = Directory(self)

    @classmethod
    def create(
        cls, rows: int, slots: int, *, decay_s: float | Sequence[float] = 1.0, used: int | None = None
    ) -> "Board":
        """Make an empty board that children of this process will share.

        Args:
            rows: how many backends, over all pools.
            slots: how many workers at most.
            decay_s: time constant of the latency sums, for all rows or one for each (``balancing.decay_s``).
            used: how many of the rows their users number themselves, the others being the directory's to give out;
                None for all of them.
        """
        each = [decay_s] * rows if isinstance(decay_s, float) else decay_s
        board = cls(Memory(Layout(rows, slots).size), rows, slots, each)
        board._words[layout.ROWS] = rows if used is None else used
        return board

    def claim(self) -> int | None:
        """Hand out the lowest free slot; None when all are taken. Never raises: it runs in ``pre_fork``."""
        words = self._words
        for slot in range(self.slots):
            owner = self._layout.owner(slot)
            if not words[owner + layout.CLAIMED]:
                words[owner + layout.CLAIMED] = 1
                words[layout.HIGH_WATER] = max(words[layout.HIGH_WATER], slot + 1)
                return slot
        words[layout.HOMELESS] += 1
        return None

    def release(self, slot: int | None) -> None:
        """Forget what was true only while the slot's worker lived; only after its process is gone.

        With the pid goes any canary of the worker's, for which the others look at once. What it saw of failures stays,
        and so does what it decided. None is a worker that had no slot: with the last of them go the rows they held.
        """
        words = self._words
        if slot is None:
            words[layout.HOMELESS] = max(words[layout.HOMELESS] - 1, 0)
            if not words[layout.HOMELESS]:
                self.directory.forget(None)
            return
        for row in range(words[layout.ROWS]):
            words[self._layout.in_flight(row, slot)] = 0
            cell = self._layout.counter(row, slot)
            words[cell + layout.TUNNELS] = words[cell + layout.VIEW_EPOCH] = words[cell + layout.VIEW_AT] = 0
        self.limits.release(slot, words[layout.ROWS])
        self.directory.forget(slot)
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
            alone = Board.create(self.rows, 1, decay_s=self._decay_s, used=self._words[layout.ROWS])
            writer = alone.writer(alone.claim())
            writer.identity |= NO_SLOT
            return writer
        return Writer(self, slot, self._decay_s)
