"""What the requests of a pool may cost beyond one attempt each: retries and hedges, over all workers of the host.

Joins the budgets (``retry``) with the board. Nothing of this runs for a request that goes well, but for hedged routes.
"""

import logging
from collections.abc import Collection

from sidecar.contract.config.pools import Hedging, Retry
from sidecar.contract.events import Event, line
from sidecar.contract.latency import BUCKETS, quantile
from sidecar.contract.recent import SAMPLE_S, Recent
from worker.board import Board, Writer
from worker.retry import Budget

NEVER_S = float("inf")
"""How long one waits before what is not done at all."""
TELL_S = 10.0
"""How often the log says so while a budget is used up."""
_STANDS_S = 50e-6
"""How long a count stands, for each backend: adding one up takes 1 µs for each of a few workers (measured 2026-11), and
where everything fails every request asks."""

_log = logging.getLogger(__name__)


class Allowance:
    """A pool's budgets. ``now`` is monotonic in all of it."""

    __slots__ = (
        "_board", "_counted_at", "_hedge_after_s", "_hedged", "_hedges", "_looked_at", "_made", "_pool", "_quantile",
        "_refused", "_retried", "_retries", "_rows", "_times", "_told_at", "_writer",
    )  # fmt: skip

    def __init__(
        self,
        pool: str,
        retry: Retry,
        hedging: Hedging,
        *,
        rows: Collection[int],
        board: Board,
        writer: Writer,
        now: float,
    ) -> None:
        """Begin with what has been counted so far.

        Args:
            pool: its name in log lines.
            retry, hedging: the pool's.
            rows: its backends' on the board.
            board: what all workers of this host know.
            writer: this worker's pen.
            now: monotonic.
        """
        self._pool = pool
        self._rows = tuple(rows)
        self._board = board
        self._writer = writer
        self._quantile = hedging.quantile
        self._counted_at = -NEVER_S
        self._count(now)
        self._retries = Budget(retry.budget_ratio, retry.min_retries_per_s, now, self._made, self._retried)
        self._hedges = Budget(hedging.budget_ratio, 0.0, now, self._made, self._hedged)
        self._times: Recent | None = None
        self._hedge_after_s = NEVER_S
        self._looked_at = now
        self._told_at = -NEVER_S
        self._refused = 0

    def tick(self, now: float) -> None:
        """Take note of what was counted; called once a second."""
        self._count(now)
        self._retries.note(now, self._made, self._retried)
        self._hedges.note(now, self._made, self._hedged)

    def may_retry(self, now: float) -> bool:
        """Whether one more attempt after a failure is in the budget, and then it is made; else the log says so."""
        self._count(now)
        if self._retries.allows(now, self._made, self._retried):
            self._retried += 1
            return True
        self._refused += 1
        if now - self._told_at >= TELL_S:
            _log.warning(line(Event.RETRY_BUDGET_EXHAUSTED, pool=self._pool, refused=self._refused))
            self._told_at, self._refused = now, 0
        return False

    def may_hedge(self, now: float) -> bool:
        """Whether one more request may be asked of a second backend, and then it is."""
        self._count(now)
        if not self._hedges.allows(now, self._made, self._hedged):
            return False
        self._hedged += 1
        return True

    def hedge_after_s(self, now: float) -> float:
        """How long a request waits for a head before a second backend is asked; infinite while too little is known.

        Looked up about once a second. Before anybody asks for the first time, nothing is kept for it.
        """
        if self._times is None:
            self._times = Recent(now, self._first_bytes())
            self._looked_at = now
        elif now - self._looked_at >= SAMPLE_S:
            self._look(self._times, now)
        return self._hedge_after_s

    def _look(self, times: Recent, now: float) -> None:
        counts = self._first_bytes()
        found = quantile(self._quantile, BUCKETS, times.growth(now, counts))
        self._hedge_after_s = NEVER_S if found is None else found
        times.note(now, counts)
        self._looked_at = now

    def _count(self, now: float) -> None:
        """Add up requests, retries and hedges, all ever made; a worker past the last slot counts beside the board."""
        if now - self._counted_at < _STANDS_S * len(self._rows):
            return
        begun, self._retried, self._hedged = self._board.attempts(self._rows)
        mine = self._writer.cells
        if mine is not self._board:
            also = mine.attempts(self._rows)
            begun, self._retried, self._hedged = begun + also[0], self._retried + also[1], self._hedged + also[2]
        self._made = begun - self._retried - self._hedged
        self._counted_at = now

    def _first_bytes(self) -> tuple[int, ...]:
        counts, mine = self._board.first_bytes(self._rows), self._writer.cells
        if mine is self._board:
            return counts
        return tuple(map(sum, zip(counts, mine.first_bytes(self._rows), strict=True)))
