"""One worker's pen: it writes to the cells of its own slot, and to no others."""

import os
from bisect import bisect_left
from math import exp
from operator import add, sub
from typing import Final

from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Tally
from worker.board import layout
from worker.board.cells import Cells
from worker.board.layout import Layout
from worker.failure import REFUSALS, RETRY_CONDITION, RETRY_REASONS, Failure

FAILURE_S: Final = 1.0
"""What a failure costs at least in the decayed sums: a backend that fails fast must not look fast (design §7)."""

_WHOLE, _WHOLE_S, _PARTED, _PARTED_S = layout.WHOLE, layout.WHOLE_S, layout.PARTED, layout.PARTED_S
_OK = layout.OK_STARTED
_BEFORE_STATUS = layout.STATUS - 1
_SUM, _WEIGHT, _STAMP = layout.SUM, layout.WEIGHT, layout.STAMP
_RETRIED = {failure: layout.RETRIED + RETRY_REASONS.index(condition) for failure, condition in RETRY_CONDITION.items()}
_REFUSED = {failure: place for place, failure in enumerate(REFUSALS)}


class Writer:
    """What one worker notes. On the request path; but for ``tally``, all of it is well below a microsecond.

    ``latency_s`` and ``elapsed_s`` are seconds; ``now`` is monotonic, the same clock in all workers.
    """

    __slots__ = (
        "_base", "_base_times", "_counters", "_decay_s", "_inflight", "_owner", "_reals", "_refusals", "_words",
        "cells", "identity", "slot",
    )  # fmt: skip

    def __init__(self, cells: Cells, slot: int, decay_s: list[float]) -> None:
        """Take over a slot.

        Args:
            cells: the board that the slot is on.
            slot: ours alone from now on.
            decay_s: time constant of the latency sums, of each row; the caller's, who may change it.
        """
        where = Layout(cells.rows, cells.slots)
        self.cells = cells
        self.slot = slot
        self._words = words = cells.memory.words
        self._reals = cells.memory.reals
        self._owner = where.owner(slot)
        self._refusals = where.refusal(slot)
        self._inflight = [where.in_flight(row, slot) for row in range(cells.rows)]
        self._counters = [where.counter(row, slot) for row in range(cells.rows)]
        self._decay_s = decay_s
        self._base: dict[int, Tally] = {}
        self._base_times: dict[int, list[int]] = {}
        for row in range(words[layout.ROWS]):
            self.take_over(row)
        self.identity = os.getpid() << 16 | slot
        words[self._owner + layout.PID] = os.getpid()

    def take_over(self, row: int) -> None:
        """From here on this worker counts in a row, where others of its slot may have counted before."""
        self._base[row] = self._counted(row)
        self._base_times[row] = self._times(row)
        self._reals[self._counters[row] + _OK] = 0.0
        self.routes_on(row, None, 0.0)

    def begin(self, row: int) -> None:
        """An attempt is on its way to the backend."""
        words = self._words
        words[self._inflight[row]] += 1
        words[self._counters[row]] += 1  # + REQUESTS, which is 0

    def end(self, row: int) -> None:
        """The attempt is over: answered to its last byte, failed or given up. Exactly once for each ``begin``."""
        self._words[self._inflight[row]] -= 1

    def answer(self, row: int, code: int, latency_s: float, now: float, whole: bool = True) -> None:  # noqa: FBT001, FBT002
        """Response headers came ``latency_s`` after the attempt began, and the backend is not to blame for them.

        ``whole``: with all of the body; else ``finish`` is to follow when that has ended.
        """
        cell = self._counters[row]
        words = self._words
        reals = self._reals
        words[cell + _BEFORE_STATUS + (code // 100 if 100 <= code < 600 else 5)] += 1
        if whole:
            words[cell + _WHOLE + bisect_left(BUCKETS, latency_s)] += 1
            reals[cell + _WHOLE_S] += latency_s
        else:
            words[cell + _PARTED + bisect_left(BUCKETS, latency_s)] += 1
            reals[cell + _PARTED_S] += latency_s
        reals[cell + _OK] = now - latency_s
        self._sample(row, cell, latency_s, now)

    def finish(self, row: int, duration_s: float) -> None:
        """The body of a response that came in parts has ended, in whatever way, so long after the attempt began."""
        cell = self._counters[row]
        self._words[cell + layout.ENDED + bisect_left(BUCKETS, duration_s)] += 1
        self._reals[cell + layout.ENDED_S] += duration_s

    def error(self, row: int, code: int, latency_s: float, now: float, whole: bool = True) -> None:  # noqa: FBT001, FBT002
        """The same, where the answer is ``outlier.is_bad``: a response, but a failure, and as slow as any.

        Else one that answers a tenth with fast errors looks like the fastest, and gets 1.2 times its share (simulated).
        """
        cell = self._counters[row]
        started = self._reals[cell + _OK]
        self._words[cell + layout.FAILURES] += 1
        self._words[cell + layout.BAD_ANSWERS] += 1  # first: for no moment is it a good one
        self.answer(row, code, latency_s, now, whole)
        self._reals[cell + _SUM] += max(FAILURE_S - latency_s, 0.0)
        self._reals[cell + _OK] = started

    def fail(self, row: int, elapsed_s: float, now: float) -> None:
        """The attempt failed after ``elapsed_s``, and the backend is to blame."""
        cell = self._counters[row]
        self._words[cell + layout.FAILURES] += 1
        self._sample(row, cell, max(elapsed_s, FAILURE_S), now)

    def blame(self, row: int, *, answered: bool) -> None:
        """Count a failure as evidence. ``answered``: after it had been counted as a good response, which it was not."""
        cell = self._counters[row]
        words = self._words
        words[cell + layout.BAD] += 1
        words[cell + layout.BAD_ANSWERS] += answered
        good = self.cells.good(row)
        if words[cell + layout.STREAK_SEEN] != good:
            words[cell + layout.STREAK] = 0
            words[cell + layout.STREAK_SEEN] = good
        words[cell + layout.STREAK] += 1

    def skip(self, row: int, until: float) -> None:
        """A hard failure: nobody of this host is to go there before that time, if anybody else is left."""
        self._reals[self._counters[row] + layout.SKIP_UNTIL] = until

    def forget(self, row: int) -> None:
        """Drop what this worker knows of a backend's latency: it came back, and its failures are of another life."""
        cell = self._counters[row]
        self._reals[cell + _SUM] = 0.0
        self._reals[cell + _WEIGHT] = 0.0

    def retry(self, row: int, failure: Failure) -> None:
        """An attempt at this backend failed in a way that ``RETRY_CONDITION`` knows, and is followed by another one."""
        words, cell = self._words, self._counters[row]
        words[cell + layout.RETRIES] += 1
        words[cell + _RETRIED[failure]] += 1

    def refuse(self, failure: Failure) -> None:
        """A request was answered by ourselves, with one of ``REFUSALS``."""
        self._words[self._refusals + _REFUSED[failure]] += 1

    def hedge(self, row: int) -> None:
        """The attempt just begun is the second one of a hedged request."""
        self._words[self._counters[row] + layout.HEDGES] += 1

    def tunnel(self, row: int) -> None:
        """The attempt has become a tunnel; it goes on counting as one under way."""
        self._words[self._counters[row] + layout.TUNNELS] += 1

    def tunnel_ended(self, row: int) -> None:
        """The tunnel is over. Exactly once for each ``tunnel``."""
        self._words[self._counters[row] + layout.TUNNELS] -= 1

    def messages(self, row: int, count: int) -> None:
        """So many more WebSocket messages have passed."""
        self._words[self._counters[row] + layout.MESSAGES] += count

    def outlasted(self, row: int, elapsed_s: float, now: float) -> None:
        """Nobody waited any longer for the head, which would have taken at least ``elapsed_s``.

        Were it left out, a slow backend would be known by its fast answers alone. Below the mean it says nothing.
        """
        total, weight = self.cells.latency(row, now)
        if elapsed_s * weight > total:
            self._sample(row, self._counters[row], elapsed_s, now)

    def status(self, row: int, code: int) -> None:
        """Count a response by its class; a code outside 100 to 599 counts as 5xx (RFC 9110 §15)."""
        kind = code // 100 if 100 <= code < 600 else 5
        self._words[self._counters[row] + _BEFORE_STATUS + kind] += 1

    def mark(self, *, booted: bool | None = None, draining: bool | None = None) -> None:
        """Tell the siblings how far this worker is; None leaves a mark as it is."""
        if booted is not None:
            self._words[self._owner + layout.BOOTED] = booted
        if draining is not None:
            self._words[self._owner + layout.DRAINING] = draining

    def routes_on(self, row: int, epoch: int | None, at: float) -> None:
        """Which view is followed for the pool whose first backend this is, and when that was last known to hold.

        Args:
            row: the backend's.
            epoch: 0: there is no view yet, or only a copy; None: this worker has no such pool any more.
            at: monotonic; 0.0: never.
        """
        cell = self._counters[row]
        self._words[cell + layout.VIEW_EPOCH] = 0 if epoch is None else epoch + 1
        self._reals[cell + layout.VIEW_AT] = at

    def hears(self, *, store_up: bool) -> None:
        """Say whether the store answered last time."""
        self._words[self._owner + layout.STORE] = layout.STORE_UP if store_up else layout.STORE_DOWN

    def applied(self, number: int) -> None:
        """Tell the master which config this worker runs on."""
        self._words[self._owner + layout.CONFIG] = number

    @property
    def is_draining(self) -> bool:
        """Whether this worker was marked as taking no more work."""
        return bool(self._words[self._owner + layout.DRAINING])

    def beat(self, now: float) -> None:
        """Say that this worker's loop turns."""
        self._reals[self._owner + layout.HEARTBEAT] = now

    def tally(self, row: int) -> Tally:
        """What this worker has seen of a backend since it started; without times, which need a clock."""
        counted, before = self._counted(row), self._base[row]
        return Tally(
            inflight=self._words[self._inflight[row]],
            requests=counted.requests - before.requests,
            responses=counted.responses - before.responses,
            failures=counted.failures - before.failures,
            retries=counted.retries - before.retries,
            latency_s=max(counted.latency_s - before.latency_s, 0.0),
        )

    def first_bytes(self, row: int) -> tuple[int, ...]:
        """How many responses this worker has seen since it started, by time to headers: as many as ``Cells`` has."""
        return tuple(map(sub, self._times(row), self._base_times[row]))

    def ok_started(self, row: int) -> float | None:
        """When the attempt began that this worker saw answered well last (monotonic); None: it saw none."""
        return self._reals[self._counters[row] + _OK] or None

    def _counted(self, row: int) -> Tally:
        """All that workers of this slot, this one included, ever counted."""
        words, cell = self._words, self._counters[row]
        return Tally(
            requests=words[cell + layout.REQUESTS],
            responses=sum(words[cell + layout.WHOLE : cell + layout.ENDED]),
            failures=words[cell + layout.FAILURES],
            retries=words[cell + layout.RETRIES],
            latency_s=self._reals[cell + _WHOLE_S] + self._reals[cell + _PARTED_S],
        )

    def _times(self, row: int) -> list[int]:
        """The same as ``_counted``, by time to headers."""
        words, whole, parted = self._words, self._counters[row] + _WHOLE, self._counters[row] + _PARTED
        return list(map(add, words[whole : whole + layout.BUCKET_WORDS], words[parted : parted + layout.BUCKET_WORDS]))

    def _sample(self, row: int, cell: int, seconds: float, now: float) -> None:
        reals = self._reals
        elapsed = now - reals[cell + _STAMP]
        faded = exp(-elapsed / self._decay_s[row]) if elapsed > 0.0 else 1.0
        reals[cell + _SUM] = reals[cell + _SUM] * faded + seconds
        reals[cell + _WEIGHT] = reals[cell + _WEIGHT] * faded + 1.0
        reals[cell + _STAMP] = now
