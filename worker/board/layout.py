"""Where on the board each cell lies, in words.

In this order: a header · in-flight counts, a line of slots for each row · who holds each row, the same · each slot's
own state · each slot's counters, a block for each row · the directory, an entry for each row · the host area, a block
for each row · each slot's refusals. The kernel gives a page its memory when it is first touched, by a reader too:
nobody looks at rows that were never given out, so that room for many backends costs nothing until they come.
"""

from dataclasses import dataclass
from typing import Final

from sidecar.contract.latency import BUCKETS

HEADER_WORDS: Final = 8
"""Words before the first table: one cache line."""
HIGH_WATER, GENERATION, ROWS, HOMELESS, TOLD = range(5)
"""Slots ever handed out; what moves with eligibility; rows ever given out; live workers without a slot; a bit for each
pool that was said to have no room."""

OWNER_WORDS: Final = 8
CLAIMED, PID, BOOTED, DRAINING, HEARTBEAT, CONFIG, STORE = range(7)
"""Words of a slot's own state; ``CONFIG`` is the number of the config that its worker has applied, ``STORE`` one of
those that follow."""
STORE_DOWN, STORE_UP = 1, 2
"""Whether the store answered the worker last time; 0: it has not said."""

BUCKET_WORDS: Final = len(BUCKETS) + 1

COUNTER_WORDS: Final = 72
"""Words of one slot's counters for one row: nine cache lines, shared with no other slot."""
REQUESTS, FAILURES, RETRIES, STATUS = range(4)
"""``STATUS`` is the first of five: 1xx to 5xx."""
SUM, WEIGHT, STAMP = range(8, 11)
"""Of times to headers, as doubles: decayed sum in seconds; decayed number; when they were last decayed."""
OK_STARTED = 12
"""When the attempt began that was last answered well (monotonic, a double)."""
BAD, BAD_ANSWERS, STREAK, STREAK_SEEN = range(13, 17)
"""Evidence: failures that count as such; those of them that were counted as responses, too; failures since the host's
last good response, and how many good responses the host had counted when the last of them came."""
SKIP_UNTIL = 17
"""After a hard failure, a double."""
WHOLE_S, PARTED_S, ENDED_S = range(18, 21)
"""Seconds, as doubles: all that was ever noted in ``WHOLE``, ``PARTED`` and ``ENDED``. Each only grows: a total that
falls, if only for a moment, looks to who reads it like a new beginning."""
TUNNELS, MESSAGES, HEDGES = range(21, 24)
"""Tunnels open now, true only while the worker lives; WebSocket messages that ever passed, either way; attempts that
were the second one of a hedged request."""
WHOLE, PARTED, ENDED = range(24, 24 + 3 * BUCKET_WORDS, BUCKET_WORDS)
"""Where three histograms begin. A response that comes whole has one time, to its head and to its end: one cell to write
for most requests, where two histograms of all would be two. Of those in parts, ``PARTED`` has the times to the head and
``ENDED`` those to the end. Each response is in one of the first two, so they need no count of their own."""
RETRIED = ENDED + BUCKET_WORDS
"""``RETRIES`` again by their reasons, one word for each of ``failure.RETRY_REASONS``."""
VIEW_EPOCH, VIEW_AT = range(70, 72)
"""Of the first backend of a pool: the epoch of the view that the worker routes on, plus one, 0 where it has no such
pool; and when that was last known to hold (monotonic, a double; 0.0: never). True only while the worker lives."""

KEY_WORDS: Final = 2
"""Words of a directory entry: whose row it is, zero for nobody's."""

HOST_WORDS: Final = 8
EJECTIONS, CANARY = range(2)
EJECTED_AT, EJECTED_UNTIL, READMITTED_AT, CANARY_DEADLINE = range(2, 6)
"""The host area's times are monotonic, doubles; 0.0 means never, and ``EJECTED_UNTIL`` 0.0 that it is not out."""

REFUSAL_WORDS: Final = 32
"""One for each of ``failure.REFUSALS``, and room for more."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A board of so many rows and slots."""

    rows: int
    slots: int

    @property
    def owners(self) -> int:
        """Where the slots' own state begins."""
        return self.held(self.rows, 0)

    @property
    def counters(self) -> int:
        """Where the counters begin."""
        return self.owners + self.slots * OWNER_WORDS

    @property
    def keys(self) -> int:
        """Where the directory begins."""
        return self.counters + self.slots * self.rows * COUNTER_WORDS

    @property
    def host(self) -> int:
        """Where the host area begins."""
        return self.keys + self.rows * KEY_WORDS

    @property
    def refusals(self) -> int:
        """Where the slots' refusals begin."""
        return self.host + self.rows * HOST_WORDS

    @property
    def size(self) -> int:
        """All of it, in words."""
        return self.refusals + self.slots * REFUSAL_WORDS

    def in_flight(self, row: int, slot: int) -> int:
        """One slot's requests under way to one backend."""
        return HEADER_WORDS + row * self.slots + slot

    def held(self, row: int, slot: int) -> int:
        """Whether a slot's worker has a pool with this row; past the last slot, whether any worker without one has."""
        return self.in_flight(self.rows, 0) + row * (self.slots + 1) + slot

    def owner(self, slot: int) -> int:
        """A slot's own state."""
        return self.owners + slot * OWNER_WORDS

    def counter(self, row: int, slot: int) -> int:
        """What one slot has counted of one backend."""
        return self.counters + (slot * self.rows + row) * COUNTER_WORDS

    def refusal(self, slot: int) -> int:
        """What one slot has refused."""
        return self.refusals + slot * REFUSAL_WORDS

    def key(self, row: int) -> int:
        """Whose row it is."""
        return self.keys + row * KEY_WORDS

    def host_row(self, row: int) -> int:
        """What is decided of a backend for the whole host."""
        return self.host + row * HOST_WORDS
