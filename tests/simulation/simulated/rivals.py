"""Policies that are not ours, behind the same protocol: what others do, to compare with."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import exp
from typing import Protocol

from worker.board import Board
from worker.pick import Draw
from worker.view import Candidate

TAU_S = 10.0
UNMEASURED = float(2**47)
"""What a busy backend costs that has not answered yet; both as in Finagle's ``PeakEwma.scala``."""


class Rival(Protocol):
    """A policy that keeps its own accounts: it is told how each of this worker's attempts ended."""

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """As in ``worker.pick.Policy``."""

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:
        """As in ``worker.pick.Policy``."""

    def ended(self, row: int, seconds: float, now: float) -> None:
        """An attempt is over, however it ended."""


@dataclass(slots=True)
class _Cost:
    """A moving average that goes up at once and down slowly."""

    seconds: float
    stamp: float

    def observe(self, seconds: float, now: float) -> None:
        if seconds > self.seconds:
            self.seconds = seconds
        else:
            kept = exp(-(now - self.stamp) / TAU_S)
            self.seconds = self.seconds * kept + seconds * (1 - kept)
        self.stamp = now


class LeastConn:
    """The fewest requests under way on the host, of all: nginx' ``least_conn`` with a ``zone``.

    Ties are drawn, where nginx takes them in turn.
    """

    def __init__(self, draw: Draw, under_way: Callable[[int], int]) -> None:
        """``under_way``: a row's attempts from all of the host."""
        self._draw = draw
        self._under_way = under_way
        self._candidates: Sequence[Candidate] = ()

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Rival``."""
        self._candidates = candidates

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:
        """See ``Rival``."""
        candidates = [each for each in self._candidates if each.row not in tried] or self._candidates
        if not candidates:
            return None
        loads = [self._under_way(each.row) for each in candidates]
        fewest = min(loads)
        ties = [each for each, load in zip(candidates, loads, strict=True) if load == fewest]
        return ties[self._draw(len(ties))]

    def ended(self, row: int, seconds: float, now: float) -> None:
        """See ``Rival``."""


class PeakEwma:
    """The better of two drawn at random by ``peak EWMA x (pending + 1)``, as Finagle and linkerd have it.

    Both are what this process alone has seen, and a failure is a sample like any other.
    """

    def __init__(self, draw: Draw, pending: Callable[[int], int]) -> None:
        """``pending``: a row's attempts that this worker has under way."""
        self._draw = draw
        self._pending = pending
        self._candidates: Sequence[Candidate] = ()
        self._costs: dict[int, _Cost] = {}

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Rival``."""
        self._candidates = candidates
        self._costs = {each.row: self._costs.get(each.row) or _Cost(0.0, now) for each in candidates}

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:
        """See ``Rival``."""
        candidates = [each for each in self._candidates if each.row not in tried] or self._candidates
        count = len(candidates)
        if count < 2:
            return candidates[0] if candidates else None
        drawn = self._draw(count * (count - 1))
        one = candidates[drawn % count]
        other = candidates[(drawn % count + 1 + drawn // count) % count]
        return one if self._cost(one.row, now) <= self._cost(other.row, now) else other

    def ended(self, row: int, seconds: float, now: float) -> None:
        """See ``Rival``."""
        if cost := self._costs.get(row):
            cost.observe(seconds, now)

    def _cost(self, row: int, now: float) -> float:
        cost, pending = self._costs[row], self._pending(row)
        cost.observe(0.0, now)
        if not cost.seconds and pending:
            return UNMEASURED + pending
        return cost.seconds * (pending + 1)


def least_conn(draw: Draw, board: Board, slot: int) -> Rival:
    """One that reads a host's board."""
    return LeastConn(draw, board.in_flight)


def peak_ewma(draw: Draw, board: Board, slot: int) -> Rival:
    """One that reads a worker's own counts there."""
    return PeakEwma(draw, lambda row: board.under_way(row)[slot])
