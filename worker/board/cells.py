"""What can be read from a board: sums over the slots that were ever handed out. Nothing here writes."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import exp
from operator import add
from typing import Final

from sidecar.contract.model import Tally
from worker.board import layout
from worker.board.layout import BUCKET_WORDS, COUNTER_WORDS, Layout
from worker.board.limits import LimitArea
from worker.board.memory import Memory
from worker.failure import REFUSALS, RETRY_REASONS

HUNG_S: Final = 3.0
"""A worker whose loop has not turned for so long is no longer relied upon; it says each second that it does."""
_STORE_UP = {0: None, layout.STORE_DOWN: False, layout.STORE_UP: True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that the workers of this host ever counted of a backend, and what is under way to it now.

    ``statuses`` are responses by class, 1xx to 5xx; ``retries`` attempts that were followed by another, by
    ``failure.RETRY_REASONS``. ``first_bytes`` and ``durations`` are as ``Cells.first_bytes`` has them, the first to the
    head of a response, the second to its last byte, however it ended; those that last are in none.
    """

    inflight: int
    tunnels: int
    messages: int
    hedges: int
    failures: int
    statuses: tuple[int, ...]
    retries: tuple[int, ...]
    first_bytes: tuple[int, ...]
    first_byte_s: float
    durations: tuple[int, ...]
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """A live worker as its siblings see it. ``heartbeat_s`` is monotonic, 0.0 before the first; ``pid`` 0 likewise.

    ``config`` is the number of the config that it has applied. ``store_up``: None before it has said.
    """

    slot: int
    pid: int
    booted: bool
    draining: bool
    heartbeat_s: float
    config: int = 0
    store_up: bool | None = None


class Cells:
    """The readers of a board of ``rows`` backends by ``slots`` workers.

    ``generation`` is one cell, whose number is another one whenever who is eligible may have changed.
    """

    __slots__ = (
        "_decay_s", "_high_water", "_inflight", "_layout", "_reals", "_words", "generation", "limits", "memory", "rows",
        "slots",
    )  # fmt: skip

    def __init__(self, memory: Memory, rows: int, slots: int, decay_s: Sequence[float]) -> None:
        self.memory = memory
        self.rows = rows
        self.slots = slots
        self.limits = LimitArea(rows, slots)
        self._layout = Layout(rows, slots)
        self._decay_s = list(decay_s)
        self._words = memory.words
        self._reals = memory.reals
        self.generation = memory.words[layout.GENERATION : layout.GENERATION + 1]
        self._high_water = 0
        self._inflight: dict[int, memoryview] = {}  # a row's slots below the high water: slicing costs a third

    def pace(self, row: int, decay_s: float) -> None:
        """Have a row's latency sums fade at this pace, as this process reads and writes them."""
        self._decay_s[row] = decay_s

    def in_flight(self, row: int) -> int:
        """Requests under way to a backend, over all live workers of this host."""
        return sum(self.under_way(row))

    def under_way(self, row: int) -> Sequence[int]:
        """The same, a number for each slot handed out so far, which change as they are looked at."""
        if self._words[layout.HIGH_WATER] != self._high_water:
            self._high_water = self._words[layout.HIGH_WATER]
            self._inflight.clear()
        try:
            return self._inflight[row]
        except KeyError:
            first = self._layout.in_flight(row, 0)
            return self._inflight.setdefault(row, self._words[first : first + self._high_water])

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
            responses=sum(self._responses(cell) for cell in cells),
            failures=self._sum(cells, layout.FAILURES),
            retries=self._sum(cells, layout.RETRIES),
            latency_s=self._seconds(cells, layout.WHOLE_S, layout.PARTED_S),
        )

    def attempts(self, rows: Iterable[int]) -> tuple[int, int, int]:
        """Of some backends, all attempts ever begun; how many were followed by another; how many were hedges."""
        words = self._words
        begun = retries = hedges = 0
        for row in rows:
            for cell in self._counters_of(row):
                begun += words[cell + layout.REQUESTS]
                retries += words[cell + layout.RETRIES]
                hedges += words[cell + layout.HEDGES]
        return begun, retries, hedges

    def figures(self, row: int) -> Figures:
        """Everything that is told of a backend, in one reading: a scrape asks for that of a thousand of them."""
        words, cells = self._words, self._counters_of(row)
        counts = [0] * COUNTER_WORDS
        for cell in cells:
            counts = list(map(add, counts, words[cell : cell + COUNTER_WORDS]))
        whole = counts[layout.WHOLE : layout.PARTED]
        whole_s = self._seconds(cells, layout.WHOLE_S)
        return Figures(
            inflight=self.in_flight(row),
            tunnels=counts[layout.TUNNELS],
            messages=counts[layout.MESSAGES],
            hedges=counts[layout.HEDGES],
            failures=counts[layout.FAILURES],
            statuses=tuple(counts[layout.STATUS : layout.STATUS + 5]),
            retries=tuple(counts[layout.RETRIED : layout.RETRIED + len(RETRY_REASONS)]),
            first_bytes=tuple(map(add, whole, counts[layout.PARTED : layout.ENDED])),
            first_byte_s=whole_s + self._seconds(cells, layout.PARTED_S),
            durations=tuple(map(add, whole, counts[layout.ENDED : layout.RETRIED])),
            duration_s=whole_s + self._seconds(cells, layout.ENDED_S),
        )

    def refusals(self) -> tuple[int, ...]:
        """How many requests were answered by ourselves, by ``failure.REFUSALS``."""
        words, counts = self._words, [0] * len(REFUSALS)
        for slot in range(words[layout.HIGH_WATER]):
            first = self._layout.refusal(slot)
            counts = list(map(add, counts, words[first : first + len(counts)]))
        return tuple(counts)

    def views(self, row: int) -> list[tuple[int, float]]:
        """Which view each live worker follows for the pool whose first backend this is; see ``Writer.routes_on``."""
        words, reals = self._words, self._reals
        return [
            (words[cell + layout.VIEW_EPOCH] - 1, reals[cell + layout.VIEW_AT])
            for cell in self._counters_of(row)
            if words[cell + layout.VIEW_EPOCH]
        ]

    def first_bytes(self, rows: Iterable[int]) -> tuple[int, ...]:
        """How many responses of some backends ever took how long to their head.

        A number for each of ``BUCKETS``, and one for all that took longer; what is new since is a difference.
        """
        return self._histogram(rows, layout.WHOLE, layout.PARTED)

    def good(self, row: int) -> int:
        """How many good responses a backend ever gave; never falls but when one is cut short after it was counted."""
        words = self._words
        cells = self._counters_of(row)
        return max(sum(self._responses(cell) - words[cell + layout.BAD_ANSWERS] for cell in cells), 0)

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
                config=words[owner + layout.CONFIG],
                store_up=_STORE_UP[words[owner + layout.STORE]],
            )
            for slot, owner in owners
            if words[owner + layout.CLAIMED]
        ]

    @property
    def homeless(self) -> int:
        """How many live workers have no slot, and so are not in anything that is read here."""
        return self._words[layout.HOMELESS]

    def scribe(self, now: float, among: Collection[int] | None = None) -> int | None:
        """Whose worker does what one does for all of them: the lowest slot whose loop turns, else the lowest.

        ``among`` are the slots that it may be; None: any. None where nobody lives there.
        """
        living = [state for state in self.states() if state.pid and (among is None or state.slot in among)]
        turning = [state.slot for state in living if now - state.heartbeat_s < HUNG_S]
        return min(turning or [state.slot for state in living], default=None)

    def _counters_of(self, row: int) -> range:
        """Where a row's counters begin, one place for each slot ever handed out."""
        stride = self.rows * COUNTER_WORDS
        first = self._layout.counter(row, 0)
        return range(first, first + self._words[layout.HIGH_WATER] * stride, stride)

    def _responses(self, cell: int) -> int:
        """Each has its place in one of two histograms, which lie side by side."""
        return sum(self._words[cell + layout.WHOLE : cell + layout.ENDED])

    def _histogram(self, rows: Iterable[int], *kinds: int) -> tuple[int, ...]:
        words, counts = self._words, [0] * BUCKET_WORDS
        for cell in (cell for row in rows for cell in self._counters_of(row)):
            for kind in kinds:
                counts = list(map(add, counts, words[cell + kind : cell + kind + BUCKET_WORDS]))
        return tuple(counts)

    def _seconds(self, cells: Sequence[int], *kinds: int) -> float:
        return sum(self._reals[cell + kind] for cell in cells for kind in kinds)

    def _sum(self, cells: Sequence[int], word: int) -> int:
        return sum(self._words[cell + word] for cell in cells)
