"""What can be read from a board: sums over the slots that were ever handed out. Nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from sidecar.contract.model import Tally
from worker.board import layout
from worker.board.layout import COUNTER_WORDS, Layout
from worker.board.memory import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """A live worker as its siblings see it. ``heartbeat_s`` is monotonic, 0.0 before the first; ``pid`` 0 likewise."""

    slot: int
    pid: int
    booted: bool
    draining: bool
    heartbeat_s: float


class Cells:
    """The readers of a board of ``rows`` backends by ``slots`` workers.

    ``generation`` is one cell, whose number is another one whenever who is eligible may have changed.
    """

    __slots__ = (
        "_decay_s",
        "_high_water",
        "_inflight",
        "_layout",
        "_reals",
        "_words",
        "generation",
        "memory",
        "rows",
        "slots",
    )

    def __init__(self, memory: Memory, rows: int, slots: int, decay_s: Sequence[float]) -> None:
        self.memory = memory
        self.rows = rows
        self.slots = slots
        self._layout = Layout(rows, slots)
        self._decay_s = tuple(decay_s)
        self._words = memory.words
        self._reals = memory.reals
        self._high_water = 0
        self.generation = memory.words[layout.GENERATION : layout.GENERATION + 1]
        self._inflight: list[memoryview] = []  # of each row, the slots below the high water: slicing costs a third
        self._slice()

    def in_flight(self, row: int) -> int:
        """Requests under way to a backend, over all live workers of this host."""
        return sum(self.under_way(row))

    def under_way(self, row: int) -> Sequence[int]:
        """The same, a number for each slot handed out so far, which change as they are looked at."""
        if self._words[layout.HIGH_WATER] != self._high_water:
            self._slice()
        return self._inflight[row]

    def latency(self, row: int, now: float) -> tuple[float, float]:
        """Decayed sum of seconds to headers and decayed number of samples, as of ``now``; both 0.0 with no samples.

        The sums of a dead worker fade with the rest. A slot caught between two writes is one sample off, once.
        """
        reals = self._reals
        total = weight = 0.0
        for cell in self._counters_of(row):
            if samples := reals[cell + layout.WEIGHT]:
                faded = exp(-max(now - reals[cell + layout.STAMP], 0.0) / self._decay_s[row])
                total += reals[cell + layout.SUM] * faded
                weight += samples * faded
        return total, weight

    def tally(self, row: int) -> Tally:
        """All that was ever counted of a backend while this board lived, and what is in flight now."""
        cells = list(self._counters_of(row))
        return Tally(
            inflight=self.in_flight(row),
            requests=self._sum(cells, layout.REQUESTS),
            responses=self._sum(cells, layout.RESPONSES),
            failures=self._sum(cells, layout.FAILURES),
            retries=self._sum(cells, layout.RETRIES),
            latency_s=sum(self._reals[cell + layout.LATENCY] for cell in cells),
        )

    def statuses(self, row: int) -> tuple[int, ...]:
        """How many responses of each class, 1xx to 5xx, a backend ever gave."""
        cells = list(self._counters_of(row))
        return tuple(self._sum(cells, layout.STATUS + kind) for kind in range(5))

    def good(self, row: int) -> int:
        """How many good responses a backend ever gave; never falls but when one is cut short after it was counted."""
        words = self._words
        cells = self._counters_of(row)
        return max(sum(words[cell + layout.RESPONSES] - words[cell + layout.BAD_ANSWERS] for cell in cells), 0)

    def bad(self, row: int) -> int:
        """How many failures of a backend ever counted as evidence."""
        return self._sum(self._counters_of(row), layout.BAD)

    def streak(self, row: int) -> int:
        """Failures of a backend in a row: those that came after the host's last good response from it."""
        words, good = self._words, self.good(row)
        cells = self._counters_of(row)
        return sum(words[cell + layout.STREAK] for cell in cells if words[cell + layout.STREAK_SEEN] == good)

    def skip_until(self, row: int) -> float:
        """Until when a backend is better left alone after a hard failure that any worker met (monotonic)."""
        return max((self._reals[cell + layout.SKIP_UNTIL] for cell in self._counters_of(row)), default=0.0)

    def states(self) -> list[SlotState]:
        """The live workers; one that was claimed but has not come up yet has pid 0."""
        words = self._words
        owners = [(slot, self._layout.owner(slot)) for slot in range(words[layout.HIGH_WATER])]
        return [
            SlotState(
                slot=slot,
                pid=words[owner + layout.PID],
                booted=bool(words[owner + layout.BOOTED]),
                draining=bool(words[owner + layout.DRAINING]),
                heartbeat_s=self._reals[owner + layout.HEARTBEAT],
            )
            for slot, owner in owners
            if words[owner + layout.CLAIMED]
        ]

    def _slice(self) -> None:
        self._high_water = self._words[layout.HIGH_WATER]
        firsts = [self._layout.in_flight(row, 0) for row in range(self.rows)]
        self._inflight = [self._words[first : first + self._high_water] for first in firsts]

    def _counters_of(self, row: int) -> range:
        """Where a row's counters begin, one place for each slot ever handed out."""
        stride = self.rows * COUNTER_WORDS
        first = self._layout.counter(row, 0)
        return range(first, first + self._words[layout.HIGH_WATER] * stride, stride)

    def _sum(self, cells: Sequence[int], word: int) -> int:
        return sum(self._words[cell + word] for cell in cells)
