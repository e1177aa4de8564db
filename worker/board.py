"""The board: what the workers of one gunicorn master know together, at the speed of memory.

Made in the master before it forks; every worker inherits the mapping. Each slot belongs to one worker at a time and
each cell has one writer, so there are no locks: writers add to their own cells, readers sum over the slots that were
ever handed out.

A slot's counters are never reset: whoever gets the slot next goes on counting where the dead worker stopped, and so
totals cannot fall, not even for the moment that copying them elsewhere would take. What is true only while a worker
lives (in-flight counts, readiness) is zeroed when it is gone.

Cells are written through ``memoryview.cast`` and in no other way: ``struct.pack_into`` zeroes the bytes first, and a
reader in another process sees it (8 % of reads in a tight loop, measured 2026-11).
"""

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Final

from sidecar.contract.config import Config
from sidecar.contract.model import Tally

FAILURE_S = 1.0
"""What a failure costs at least in the decayed sums: a backend that fails fast must not look fast (design §7)."""

_WORD: Final = 8
_HEADER: Final = 8
"""Words before the first table: one cache line, of which the first word is the high water."""
_HIGH_WATER: Final = 0

# Words of a slot's own state.
_OWNER_WORDS: Final = 8
_CLAIMED, _PID, _BOOTED, _DRAINING, _HEARTBEAT = range(5)

# Words of one slot's counters for one row: two cache lines, shared with no other slot.
_COUNTER_WORDS: Final = 16
_REQUESTS, _RESPONSES, _FAILURES, _RETRIES, _STATUS = range(5)
"""``_STATUS`` is the first of five: 1xx to 5xx."""
_LATENCY, _SUM, _WEIGHT, _STAMP = range(9, 13)
"""Seconds, as doubles: all times to headers ever; decayed sum; decayed number of samples; when it was last decayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """A live worker as its siblings see it. ``heartbeat_s`` is monotonic, 0.0 before the first; ``pid`` 0 likewise."""

    slot: int
    pid: int
    booted: bool
    draining: bool
    heartbeat_s: float


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


class Board:
    """Memory shared by the workers of one master; ``rows`` backends by ``slots`` workers.

    Everything here reads, but for ``claim`` and ``release``, the master's alone.
    """

    __slots__ = ("_counters", "_decay_s", "_high_water", "_inflight", "_owners", "_reals", "_words", "rows", "slots")

    def __init__(self, memory: mmap.mmap, rows: int, slots: int, decay_s: Sequence[float]) -> None:
        self.rows = rows
        self.slots = slots
        self._decay_s = tuple(decay_s)
        self._words = memoryview(memory).cast("Q")
        self._reals = memoryview(memory).cast("d")
        self._owners = _HEADER + rows * slots
        self._counters = self._owners + slots * _OWNER_WORDS
        self._high_water = 0
        self._inflight: list[memoryview] = []  # of each row, the slots below the high water: slicing costs a third
        self._slice()

    @classmethod
    def create(cls, rows: int, slots: int, *, decay_s: float | Sequence[float] = 3.0) -> "Board":
        """Make an empty board that children of this process will share.

        Args:
            rows: how many backends, over all pools.
            slots: how many workers at most.
            decay_s: time constant of the latency sums, for all rows or one for each (``balancing.decay_s``).
        """
        words = _HEADER + rows * slots + slots * _OWNER_WORDS + slots * rows * _COUNTER_WORDS
        each = [decay_s] * rows if isinstance(decay_s, float) else decay_s
        return cls(_shared_memory(words * _WORD), rows, slots, each)

    def claim(self) -> int | None:
        """Hand out the lowest free slot; None when all are taken. Never raises: it runs in ``pre_fork``."""
        words = self._words
        for slot in range(self.slots):
            owner = self._owners + slot * _OWNER_WORDS
            if not words[owner + _CLAIMED]:
                words[owner + _CLAIMED] = 1
                words[_HIGH_WATER] = max(words[_HIGH_WATER], slot + 1)
                return slot
        return None

    def release(self, slot: int | None) -> None:
        """Forget what was true only while the slot's worker lived; only after its process is gone.

        None is a worker that had no slot: nothing to forget.
        """
        if slot is None:
            return
        words = self._words
        for row in range(self.rows):
            words[_HEADER + row * self.slots + slot] = 0
        owner = self._owners + slot * _OWNER_WORDS
        for word in range(_OWNER_WORDS - 1, -1, -1):  # _CLAIMED last: a free slot is a clean one
            words[owner + word] = 0

    def writer(self, slot: int | None) -> "Writer":
        """The one writer of a slot, made in the worker that owns it.

        None is a worker past the last slot: it counts in memory of its own, which its siblings do not see.
        """
        if slot is None:
            return Board.create(self.rows, 1, decay_s=self._decay_s).writer(0)
        base = self._counters + slot * self.rows * _COUNTER_WORDS
        return Writer(
            self._words,
            self._reals,
            owner=self._owners + slot * _OWNER_WORDS,
            inflight=[_HEADER + row * self.slots + slot for row in range(self.rows)],
            counters=[base + row * _COUNTER_WORDS for row in range(self.rows)],
            decay_s=self._decay_s,
        )

    def in_flight(self, row: int) -> int:
        """Requests under way to a backend, over all live workers of this host."""
        return sum(self.under_way(row))

    def under_way(self, row: int) -> Sequence[int]:
        """The same, a number for each slot handed out so far, which change as they are looked at."""
        if self._words[_HIGH_WATER] != self._high_water:
            self._slice()
        return self._inflight[row]

    def latency(self, row: int, now: float) -> tuple[float, float]:
        """Decayed sum of seconds to headers and decayed number of samples, as of ``now``; both 0.0 with no samples.

        The sums of a dead worker fade with the rest. A slot caught between two writes is one sample off, once.
        """
        reals = self._reals
        total = weight = 0.0
        for cell in self._counters_of(row):
            if samples := reals[cell + _WEIGHT]:
                faded = exp(-max(now - reals[cell + _STAMP], 0.0) / self._decay_s[row])
                total += reals[cell + _SUM] * faded
                weight += samples * faded
        return total, weight

    def tally(self, row: int) -> Tally:
        """All that was ever counted of a backend while this board lived, and what is in flight now."""
        cells = list(self._counters_of(row))
        return Tally(
            inflight=self.in_flight(row),
            requests=self._sum(cells, _REQUESTS),
            responses=self._sum(cells, _RESPONSES),
            failures=self._sum(cells, _FAILURES),
            retries=self._sum(cells, _RETRIES),
            latency_s=sum(self._reals[cell + _LATENCY] for cell in cells),
        )

    def statuses(self, row: int) -> tuple[int, ...]:
        """How many responses of each class, 1xx to 5xx, a backend ever gave."""
        cells = list(self._counters_of(row))
        return tuple(self._sum(cells, _STATUS + kind) for kind in range(5))

    def states(self) -> list[SlotState]:
        """The live workers; one that was claimed but has not come up yet has pid 0."""
        words = self._words
        owners = [(slot, self._owners + slot * _OWNER_WORDS) for slot in range(words[_HIGH_WATER])]
        return [
            SlotState(
                slot=slot,
                pid=words[owner + _PID],
                booted=bool(words[owner + _BOOTED]),
                draining=bool(words[owner + _DRAINING]),
                heartbeat_s=self._reals[owner + _HEARTBEAT],
            )
            for slot, owner in owners
            if words[owner + _CLAIMED]
        ]

    def _slice(self) -> None:
        self._high_water = self._words[_HIGH_WATER]
        firsts = range(_HEADER, self._owners, self.slots)
        self._inflight = [self._words[first : first + self._high_water] for first in firsts]

    def _counters_of(self, row: int) -> range:
        """Where a row's counters begin, one place for each slot ever handed out."""
        stride = self.rows * _COUNTER_WORDS
        first = self._counters + row * _COUNTER_WORDS
        return range(first, first + self._words[_HIGH_WATER] * stride, stride)

    def _sum(self, cells: Sequence[int], word: int) -> int:
        return sum(self._words[cell + word] for cell in cells)


class Writer:
    """One worker's pen. Everything but ``tally`` is on the request path and well below a microsecond.

    ``latency_s`` and ``elapsed_s`` are seconds; ``now`` is monotonic, the same clock in all workers.
    """

    __slots__ = ("_base", "_counters", "_decay_s", "_inflight", "_owner", "_reals", "_words")

    def __init__(
        self,
        words: memoryview,
        reals: "memoryview[float]",
        *,
        owner: int,
        inflight: Sequence[int],
        counters: Sequence[int],
        decay_s: Sequence[float],
    ) -> None:
        self._words = words
        self._reals = reals
        self._owner = owner
        self._inflight = inflight
        self._counters = counters
        self._decay_s = decay_s
        self._base = [self._counted(row) for row in range(len(counters))]
        words[owner + _PID] = os.getpid()

    def begin(self, row: int) -> None:
        """An attempt is on its way to the backend."""
        words = self._words
        words[self._inflight[row]] += 1
        words[self._counters[row]] += 1  # + _REQUESTS, which is 0

    def end(self, row: int) -> None:
        """The attempt is over: answered to its last byte, failed or given up. Exactly once for each ``begin``."""
        self._words[self._inflight[row]] -= 1

    def answer(self, row: int, code: int, latency_s: float, now: float) -> None:
        """Response headers came ``latency_s`` after the attempt began, and the backend is not to blame for them."""
        cell = self._counters[row]
        words = self._words
        words[cell + _RESPONSES] += 1
        words[cell + _STATUS - 1 + (code // 100 if 100 <= code < 600 else 5)] += 1
        self._reals[cell + _LATENCY] += latency_s
        self._sample(row, cell, latency_s, now)

    def fail(self, row: int, elapsed_s: float, now: float) -> None:
        """The attempt failed after ``elapsed_s``, and the backend is to blame."""
        cell = self._counters[row]
        self._words[cell + _FAILURES] += 1
        self._sample(row, cell, max(elapsed_s, FAILURE_S), now)

    def forget(self, row: int) -> None:
        """Drop what this worker knows of a backend's latency: it came back, and its failures are of another life."""
        cell = self._counters[row]
        self._reals[cell + _SUM] = 0.0
        self._reals[cell + _WEIGHT] = 0.0

    def retry(self, row: int) -> None:
        """An attempt at this backend is followed by another one."""
        self._words[self._counters[row] + _RETRIES] += 1

    def status(self, row: int, code: int) -> None:
        """Count a response by its class; a code outside 100 to 599 counts as 5xx (RFC 9110 §15)."""
        kind = code // 100 if 100 <= code < 600 else 5
        self._words[self._counters[row] + _STATUS - 1 + kind] += 1

    def mark(self, *, booted: bool | None = None, draining: bool | None = None) -> None:
        """Tell the siblings how far this worker is; None leaves a mark as it is."""
        if booted is not None:
            self._words[self._owner + _BOOTED] = booted
        if draining is not None:
            self._words[self._owner + _DRAINING] = draining

    @property
    def is_draining(self) -> bool:
        """Whether this worker was marked as taking no more work."""
        return bool(self._words[self._owner + _DRAINING])

    def beat(self, now: float) -> None:
        """Say that this worker's loop turns."""
        self._reals[self._owner + _HEARTBEAT] = now

    def tally(self, row: int) -> Tally:
        """What this worker has seen of a backend since it started."""
        counted, before = self._counted(row), self._base[row]
        return Tally(
            inflight=self._words[self._inflight[row]],
            requests=counted.requests - before.requests,
            responses=counted.responses - before.responses,
            failures=counted.failures - before.failures,
            retries=counted.retries - before.retries,
            latency_s=max(counted.latency_s - before.latency_s, 0.0),
        )

    def _counted(self, row: int) -> Tally:
        """All that workers of this slot, this one included, ever counted."""
        words, cell = self._words, self._counters[row]
        return Tally(
            requests=words[cell + _REQUESTS],
            responses=words[cell + _RESPONSES],
            failures=words[cell + _FAILURES],
            retries=words[cell + _RETRIES],
            latency_s=self._reals[cell + _LATENCY],
        )

    def _sample(self, row: int, cell: int, seconds: float, now: float) -> None:
        reals = self._reals
        elapsed = now - reals[cell + _STAMP]
        faded = exp(-elapsed / self._decay_s[row]) if elapsed > 0.0 else 1.0
        reals[cell + _SUM] = reals[cell + _SUM] * faded + seconds
        reals[cell + _WEIGHT] = reals[cell + _WEIGHT] * faded + 1.0
        reals[cell + _STAMP] = now


def _shared_memory(size: int) -> mmap.mmap:
    """Zeroed memory that a fork shares, without a name that could outlive us."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sidebeat-board")
        try:
            os.ftruncate(descriptor, size)
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
    with tempfile.TemporaryFile(prefix="sidebeat-board-") as file:
        file.truncate(size)
        return mmap.mmap(file.fileno(), size)
