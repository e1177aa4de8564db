"""The passive machine of one pool in one worker: evidence in, ejections and canaries out, for all workers of the host.

``outlier`` says what follows from what; here it is read off the board and written to it. Nothing of this runs for a
request that goes well, but for the canary's.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from zlib import crc32

from sidecar.contract.config.pools import OutlierDetection, Timeouts
from sidecar.contract.events import Event, line
from worker.board import Board, Writer
from worker.failure import Failure
from worker.outlier import (
    EVIDENCE,
    SKIP_S,
    Phase,
    Rules,
    Standing,
    Window,
    ejection_s,
    leaves_enough,
    past_ejections,
    reason,
)
from worker.view import Selection, Tier

SLACK_S = 5.0
"""What a canary may take beyond the deadlines of its attempt before others believe it to be lost."""

Draw = Callable[[int], int]
Select = Callable[[float, Mapping[int, Standing]], Selection]

_log = logging.getLogger(__name__)


class Passive:
    """What real traffic says of a pool's backends, and what follows for this host."""

    __slots__ = (
        "_board", "_draw", "_lock", "_names", "_patience_s", "_pool", "_rules", "_select", "_suspect", "_tell",
        "_windows", "_writer",
    )  # fmt: skip

    def __init__(
        self,
        pool: str,
        names: Mapping[int, str],
        rules: OutlierDetection,
        timeouts: Timeouts,
        *,
        board: Board,
        writer: Writer,
        draw: Draw,
        select: Select,
        suspect: Callable[[str], None],
        tell: Callable[[str, Event, str], None],
    ) -> None:
        """Prepare.

        Args:
            pool: its name in log lines.
            names: the backends' ids, by row.
            rules: when to eject, and for how long.
            timeouts: of an attempt, and so of a canary.
            board: what all workers of this host know.
            writer: this worker's pen.
            draw: chance.
            select: who would be eligible at a time, if the backends stood like this.
            suspect: told a backend's id when nobody was there; must not take long.
            tell: told a backend's id, EJECTED or READMITTED, and why; the same.
        """
        self._pool = pool
        self._names = names
        self._rules = Rules(**rules.model_dump())
        self._patience_s = timeouts.connect_s * 2 + timeouts.response_headers_s + SLACK_S
        self._board = board
        self._writer = writer
        self._draw = draw
        self._select = select
        self._suspect = suspect
        self._tell = tell
        # One for the pool, since how many are out is a matter of all of them, whichever they are for the moment.
        self._lock = board.rows + 1 + crc32(pool.encode())
        self._windows = {row: Window(self._rules.window_s) for row in names}

    def standings(self, now: float) -> dict[int, Standing]:
        """How the backends stand that anything is or was held against, by row."""
        host, known = self._board.host, dict[int, Standing]()
        for row in self._names:
            skip_until = self._skip_until(row)
            if skip_until > now or host.knows(row):
                known[row] = replace(host.standing(row), skip_until=skip_until)
        return known

    def _skip_until(self, row: int) -> float:
        """By anybody's hard failure; those of a worker past the last slot are not on the board, and its own concern."""
        until, mine = self._board.skip_until(row), self._writer.cells
        return until if mine is self._board else max(until, mine.skip_until(row))

    def blame(
        self,
        row: int,
        failure: Failure,
        now: float,
        words: str,
        *,
        is_hard: bool = False,
        answered: bool = False,
        pause_s: float = 0.0,
    ) -> None:
        """Take note of a failure by the backend's fault, and do what follows.

        Args:
            row: the backend's.
            failure: what happened.
            now: monotonic.
            words: the same for people.
            is_hard: see ``outlier.is_hard``.
            answered: it happened after the response was counted as a good one.
            pause_s: how long the backend asked to be left alone, 0.0 for not at all.
        """
        if failure not in EVIDENCE:
            return
        counted = self._writer.cells
        good, bad = counted.good(row) - answered, counted.bad(row)
        self._writer.blame(row, answered=answered)
        if is_hard:
            self._skip(row, now)
        window = self._windows[row].since(now, bad, good, self._board.host.standing(row).readmitted_at)
        if why := reason(self._rules, counted.streak(row), *window):
            self._eject(row, now, f"{why}, the last: {words}")
        elif pause_s:
            self._pause(row, now, pause_s, words)

    def _skip(self, row: int, now: float) -> None:
        """Nobody was there: have everybody of this host look elsewhere for a moment, and the monitor look there."""
        is_news = self._skip_until(row) <= now
        self._writer.skip(row, now + SKIP_S)
        self._suspect(self._names[row])
        if is_news:
            self._announce()

    def _eject(self, row: int, now: float, why: str) -> None:
        """Put the backend out if it can be spared, for longer each time in a row."""
        with self._deciding(row, now) as standing:
            if standing is not None:
                past = past_ejections(self._rules, standing, now)
                length_s = ejection_s(self._rules, past, self._chance())
                self._put_out(row, now, length_s, past + 1, why)

    def _pause(self, row: int, now: float, length_s: float, words: str) -> None:
        """Leave the backend alone as it asked for, under the same cap; that is none of the ejections in a row."""
        with self._deciding(row, now) as standing:
            if standing is not None:
                past = past_ejections(self._rules, standing, now)
                self._put_out(row, now, length_s, past, f"it asked for a pause: {words}")

    @contextmanager
    def _deciding(self, row: int, now: float) -> Iterator[Standing | None]:
        """Hold the lock while a backend goes out; None where it is out already, cannot be spared, or others decide."""
        with self._board.memory.lock(self._lock) as had:
            standing = self._board.host.standing(row)
            may_go = had and standing.phase(now) is Phase.IN and self._can_spare(row, now)
            yield standing if may_go else None

    def _put_out(self, row: int, now: float, length_s: float, ejections: int, why: str) -> None:
        self._board.host.eject(row, now, now + length_s, ejections)
        self._announce()
        fields = {"pool": self._pool, "backend": self._names[row], "reason": why}
        _log.warning(line(Event.EJECTED, **fields, for_s=length_s, in_a_row=ejections))
        self._tell(self._names[row], Event.EJECTED, f"{why}; for {length_s:.1f} s")

    def _can_spare(self, row: int, now: float) -> bool:
        """Whether without this backend few enough are out, and somebody is left who is neither out nor skipped."""
        standings = self.standings(now)
        out = sum(other != row and standing.phase(now) is not Phase.IN for other, standing in standings.items())
        if not leaves_enough(self._rules, out, len(self._names)):
            return False
        left = self._select(now, standings | {row: Standing(ejected_until=float("inf"))})
        if left.tier in (Tier.PANIC, Tier.NONE):
            return False
        skipped = {other for other, standing in standings.items() if standing.skip_until > now}
        return any(candidate.row not in skipped for candidate in left.candidates)

    def claim(self, row: int, now: float, *, safe: bool) -> bool:
        """Take the place of the host's canary to a backend on probation; whether this request is it.

        Args:
            row: the backend's.
            now: monotonic.
            safe: the request can be made again elsewhere without harm. Where none of those comes for as long as an
                ejection lasts, any will do.
        """
        host = self._board.host
        if not self.would_claim(row, now, safe=safe):
            return False
        with self._board.memory.lock(self._lock) as had:
            if not had or host.standing(row).phase(now) is not Phase.PROBATION:
                return False
            host.claim(row, self._writer.identity, now + self._patience_s)
        self._announce()
        return True

    def would_claim(self, row: int, now: float, *, safe: bool) -> bool:
        """Whether ``claim`` is worth a try; nothing is taken."""
        standing = self._board.host.standing(row)
        is_its_time = safe or now >= standing.ejected_until + self._rules.base_ejection_s
        return is_its_time and standing.phase(now) is Phase.PROBATION

    def canary_failed(self, row: int, now: float, words: str, pause_s: float = 0.0) -> None:
        """Leave the backend out for twice as long as before."""
        host = self._board.host
        if not host.owns(row, self._writer.identity):
            return
        past = host.standing(row).ejections
        length_s = max(ejection_s(self._rules, past, self._chance()), pause_s)
        self._put_out(row, now, length_s, past + 1, f"its canary failed: {words}")

    def canary_succeeded(self, row: int, now: float, words: str) -> None:
        """Let the backend back in."""
        host = self._board.host
        if not host.owns(row, self._writer.identity):
            return
        out_s = now - host.standing(row).ejected_at
        host.readmit(row, now)
        self._announce()
        why = f"its canary was answered with {words}"
        _log.warning(line(Event.READMITTED, pool=self._pool, backend=self._names[row], reason=why, out_s=out_s))
        self._tell(self._names[row], Event.READMITTED, f"{why}; it was out for {out_s:.1f} s")

    def canary_left(self, row: int) -> None:
        """The canary said nothing of the backend, since its client went away: the place is free."""
        if self._board.host.owns(row, self._writer.identity):
            self._board.host.unclaim(row)
            self._announce()

    def _announce(self) -> None:
        self._board.announce(self._writer.identity)

    def _chance(self) -> float:
        return self._draw(1001) / 1000
