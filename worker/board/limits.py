"""The limits' part of the board: what this master may use of each backend that has limits, and who waits for it.

Memory and locks of its own, so that admissions never keep others from deciding on an ejection. Whoever admits, or
changes what may be used, holds the row's lock; who waits, and since when, each slot writes for itself.

What the fleet has granted comes from the leases of one worker. Times are monotonic. A lease that nobody renewed grants
nothing while the store answers, since others may have it by now; where the store is gone, ``Rule`` says what holds.
"""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from worker.board.memory import Memory

LIMIT_WORDS: Final = 20
TAG, STORE, PLACES, STAMP, MASTERS, RANK, SPENT = range(7)
"""Whose limits these are; what is known of the store; places granted, and at which time of the store's (µs); how many
masters there are and which of them we are; requests ever admitted."""
LEASED_UNTIL = 7
ALONE_WINDOW, ALONE_USED, ALONE_BEFORE = range(8, 11)
"""Requests admitted without the store, in the latest window and in the one before it."""
WINDOWS: Final = (12, 16)
"""This window and the next take turns, by odd and even numbers."""
WINDOW, LEFT, FROM, UNTIL = range(4)

OVERLAP_S: Final = 2.0
"""A question to the store is given up after so long: who asks later than that asks after the answer."""
FIRST_ALONE: Final = 1 << 32

UNASKED, ANSWERS, GONE = range(3)
"""Of ``STORE``; in the beginning nobody knows whether it answers, and nothing is granted for that moment."""

TRIES: Final = 50
TRY_S: Final = 0.001
"""How often the lock is tried by who must have it, and how long after the last time; its holders need microseconds."""

Rule = Literal["share", "open", "closed"]
"""``limits.without_store`` of the config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a backend may be asked at a time and per window, by the whole fleet; None: no limit."""

    row: int
    backend: str
    places: int | None
    requests: int | None
    window_s: float
    rule: Rule


def share_of(total: int, masters: int, rank: int) -> int:
    """An equal part of ``total``, the odd ones to those of lowest rank; all of it where nobody else was ever seen."""
    masters = max(masters, 1)
    return total // masters + (rank < total % masters)


class LimitArea:
    """The cells of all rows, as one worker of the master uses them."""

    __slots__ = ("_memory", "_reals", "_rows", "_slots", "_words")

    def __init__(self, rows: int, slots: int) -> None:
        self._rows = rows
        self._slots = slots
        self._memory = memory = Memory(rows * (LIMIT_WORDS + 2 * slots))
        self._words = memory.words
        self._reals = memory.reals

    def lock(self, row: int) -> AbstractContextManager[bool]:
        """Try for the right to admit to a backend; see ``Memory.lock``."""
        return self._memory.lock(row)

    def adopt(self, row: int, tag: int) -> None:
        """Begin anew where these are another backend's limits, or others than before.

        Waits a little while the lock is not had, as does whoever gives the rows out; then its holder was stopped.
        """
        cell = row * LIMIT_WORDS
        for _ in range(TRIES):
            with self.lock(row) as had:
                if had or self._words[cell + TAG] == tag:
                    break
            time.sleep(TRY_S)
        with self.lock(row):
            if self._words[cell + TAG] != tag:
                for word in range(cell, cell + LIMIT_WORDS):
                    self._words[word] = 0
                self._words[cell + TAG] = tag

    def places(self, limit: Limit, now: float) -> float:
        """How many requests of this master may be under way to a backend just now."""
        if limit.places is None:
            return inf
        cell = limit.row * LIMIT_WORDS
        words = self._words
        if now < self._reals[cell + LEASED_UNTIL]:
            return min(words[cell + PLACES], limit.places)
        if words[cell + STORE] != GONE:
            return 0
        return self._alone(limit, limit.places)

    def _alone(self, limit: Limit, total: int) -> float:
        """What holds of a limit without the store."""
        if limit.rule == "closed":
            return 0
        cell = limit.row * LIMIT_WORDS
        masters = self._words[cell + MASTERS] if limit.rule == "share" else 1
        return share_of(total, masters, self._words[cell + RANK] if masters > 1 else 0)

    def requests_left(self, limit: Limit, now: float) -> float:
        """How many more requests of this master a backend may be sent in this window, as far as is leased."""
        if limit.requests is None:
            return inf
        if (window := self._window(limit.row, now)) is not None:
            return self._words[window + LEFT]
        if self._words[limit.row * LIMIT_WORDS + STORE] != GONE:
            return 0
        if limit.rule == "open":
            return inf
        number, cell = self._number_alone(limit, now), limit.row * LIMIT_WORDS
        if number <= FIRST_ALONE:
            return 0
        used = self._words[cell + ALONE_USED] if self._words[cell + ALONE_WINDOW] == number else 0
        return max(self._alone(limit, limit.requests) - used, 0)

    def spend(self, limit: Limit, now: float) -> None:
        """One request is admitted. Under the lock, and only where one was left."""
        words, cell = self._words, limit.row * LIMIT_WORDS
        words[cell + SPENT] += 1
        if limit.requests is None:
            return
        if (window := self._window(limit.row, now)) is not None:
            words[window + LEFT] -= 1
            return
        number = self._number_alone(limit, now)
        if words[cell + ALONE_WINDOW] != number:
            is_next = words[cell + ALONE_WINDOW] == number - 1
            words[cell + ALONE_BEFORE] = words[cell + ALONE_USED] if is_next else 0
            words[cell + ALONE_USED] = 0
            words[cell + ALONE_WINDOW] = number
        words[cell + ALONE_USED] += 1

    def _number_alone(self, limit: Limit, now: float) -> int:
        """A number for the window of this moment, as far as we can tell without the store.

        They go on from the last one that was leased, which has ``FIRST_ALONE`` and is not for us to hand out. Where
        none was, they are the clock's own, the first of which began with the machine.
        """
        cell = limit.row * LIMIT_WORDS
        begins = max(self._reals[cell + window + FROM] for window in WINDOWS)
        return int((now - begins) // limit.window_s) + FIRST_ALONE + (begins == 0.0)

    def masters(self, row: int) -> int:
        """How many masters shared a backend when the store last said so; 0: it never did."""
        return self._words[row * LIMIT_WORDS + MASTERS]

    def spent(self, row: int) -> int:
        """Requests ever admitted to a backend with limits."""
        return self._words[row * LIMIT_WORDS + SPENT]

    def window_until(self, row: int, now: float) -> float:
        """When the window ends that we have a lease of; ``inf`` where we have none."""
        window = self._window(row, now)
        return inf if window is None else self._reals[window + UNTIL]

    def lease_of(self, row: int, number: int) -> int | None:
        """What is left of the lease of a window by its number; None: there is none."""
        window = row * LIMIT_WORDS + WINDOWS[number % 2]
        is_it = self._reals[window + UNTIL] > 0.0 and self._words[window + WINDOW] == number
        return self._words[window + LEFT] if is_it else None

    def _window(self, row: int, now: float) -> int | None:
        """Where the window of this moment lies; None: there is no lease of it."""
        reals = self._reals
        for offset in WINDOWS:
            window = row * LIMIT_WORDS + offset
            if reals[window + FROM] <= now < reals[window + UNTIL]:
                return window
        return None

    def grant(self, row: int, places: int, *, stamp: int, masters: int, rank: int, until: float) -> None:
        """Take over what the store says of our share, unless it is older than what is known. Under the lock.

        Two workers may ask at once where one takes over from the other, and hear the answers in the wrong order.
        """
        words, cell = self._words, row * LIMIT_WORDS
        words[cell + STORE] = ANSWERS
        is_later = until > self._reals[cell + LEASED_UNTIL] + OVERLAP_S  # whatever became of the store's clock
        if is_later or words[cell + STAMP] < stamp:
            words[cell + STAMP] = stamp
            words[cell + PLACES] = places
            words[cell + MASTERS] = masters
            words[cell + RANK] = rank
            self._reals[cell + LEASED_UNTIL] = until

    def lease(self, row: int, number: int, count: int, *, begins: float, ends: float) -> None:
        """Take over so many requests of a window, by its number. Under the lock.

        Not of one that is over, and that a later one has taken the place of: whoever asked was stopped in between.
        """
        window = row * LIMIT_WORDS + WINDOWS[number % 2]
        known = self.lease_of(row, number)
        if known is None:
            if ends < self._reals[window + FROM]:
                return
            self._reals[window + FROM] = self._reals[window + UNTIL] = 0.0
            self._words[window + WINDOW] = number
            self._reals[window + FROM] = begins
        self._words[window + LEFT] = count + (known or 0)
        self._reals[window + UNTIL] = ends

    def debt(self, limit: Limit, now: float) -> int:
        """Requests admitted without the store that may belong to its window of this moment."""
        cell = limit.row * LIMIT_WORDS
        is_late = limit.requests is None or self._number_alone(limit, now) - self._words[cell + ALONE_WINDOW] > 1
        return 0 if is_late else self._words[cell + ALONE_USED] + self._words[cell + ALONE_BEFORE]

    def settle(self, row: int) -> None:
        """The store has counted them. Under the lock."""
        cell = row * LIMIT_WORDS
        self._words[cell + ALONE_USED] = self._words[cell + ALONE_BEFORE] = 0

    def lose_store(self, row: int) -> None:
        """The store does not answer; what is leased holds to its end."""
        self._words[row * LIMIT_WORDS + STORE] = GONE

    def wait(self, row: int, slot: int, count: int, since: float) -> None:
        """So many requests of a worker wait for a place in the pool of this row, the first of them since then."""
        self._words[self._waits(row) + slot] = count
        self._reals[self._waits(row) + self._slots + slot] = since if count else 0.0

    def waiting(self, row: int) -> int:
        """How many requests wait, over all workers of this master."""
        first = self._waits(row)
        return sum(self._words[first : first + self._slots])

    def first_since(self, row: int, oldest: float) -> float:
        """Since when the one has waited that waits longest, in whichever worker; ``inf``: nobody waits.

        Nobody has waited since before ``oldest``: a worker that says so has been stopped.
        """
        first = self._waits(row) + self._slots
        return min(filter(max(oldest, 0.0).__lt__, self._reals[first : first + self._slots]), default=inf)

    def release(self, slot: int, rows: int) -> None:
        """A worker is gone, and nobody waits in it any more; ``rows`` were ever given out."""
        for row in range(rows):
            self.wait(row, slot, 0, 0.0)

    def _waits(self, row: int) -> int:
        return self._rows * LIMIT_WORDS + row * 2 * self._slots
