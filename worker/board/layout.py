"""Where on the board each cell lies, in words.

In this order: a header · in-flight counts, a line of slots for each row · each slot's own state · each slot's counters,
a block for each row · the host area, a block for each row.
"""

from dataclasses import dataclass
from typing import Final

HEADER_WORDS: Final = 8
"""Words before the first table: one cache line."""
HIGH_WATER, GENERATION = range(2)

OWNER_WORDS: Final = 8
CLAIMED, PID, BOOTED, DRAINING, HEARTBEAT = range(5)
"""Words of a slot's own state."""

COUNTER_WORDS: Final = 24
"""Words of one slot's counters for one row: three cache lines, shared with no other slot."""
REQUESTS, RESPONSES, FAILURES, RETRIES, STATUS = range(5)
"""``STATUS`` is the first of five: 1xx to 5xx."""
LATENCY, SUM, WEIGHT, STAMP = range(9, 13)
"""Seconds, as doubles: all times to headers ever; decayed sum; decayed number of samples; when it was last decayed."""
OK_STARTED = 13
"""When the attempt began that was last answered well (monotonic, a double)."""
BAD, BAD_ANSWERS, STREAK, STREAK_SEEN = range(16, 20)
"""Evidence: failures that count as such; those of them that were counted as responses, too; failures since the host's
last good response, and how many good responses the host had counted when the last of them came."""
SKIP_UNTIL = 20
"""After a hard failure, a double."""

HOST_WORDS: Final = 8
EJECTIONS, CANARY = range(2)
EJECTED_AT, EJECTED_UNTIL, READMITTED_AT, CANARY_DEADLINE = range(2, 6)
"""The host area's times are monotonic, doubles; 0.0 means never, and ``EJECTED_UNTIL`` 0.0 that it is not out."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A board of so many rows and slots."""

    rows: int
    slots: int

    @property
    def owners(self) -> int:
        """Where the slots' own state begins."""
        return HEADER_WORDS + self.rows * self.slots

    @property
    def counters(self) -> int:
        """Where the counters begin."""
        return self.owners + self.slots * OWNER_WORDS

    @property
    def host(self) -> int:
        """Where the host area begins."""
        return self.counters + self.slots * self.rows * COUNTER_WORDS

    @property
    def size(self) -> int:
        """All of it, in words."""
        return self.host + self.rows * HOST_WORDS

    def in_flight(self, row: int, slot: int) -> int:
        """One slot's requests under way to one backend."""
        return HEADER_WORDS + row * self.slots + slot

    def owner(self, slot: int) -> int:
        """A slot's own state."""
        return self.owners + slot * OWNER_WORDS

    def counter(self, row: int, slot: int) -> int:
        """What one slot has counted of one backend."""
        return self.counters + (slot * self.rows + row) * COUNTER_WORDS

    def host_row(self, row: int) -> int:
        """What is decided of a backend for the whole host."""
        return self.host + row * HOST_WORDS
