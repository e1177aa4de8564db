"""The store's windows by our own clock, and how much of one to ask for.

Pure; times are seconds, ours are monotonic. The store's time is known only to lie between question and answer, so a
window begins here when it must have begun there, and ends when it may have ended.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

AHEAD_S: Final = 0.2
"""So long before a window begins its first requests may be leased."""
ARRIVAL_S: Final = 0.02
"""Before the end of a window nobody is admitted any more, so that who is admitted in it arrives in it."""
DRIFT: Final = 1e-4
"""How far two clocks may run apart that nobody has set, per second: twice what a quartz does."""
HORIZON_S: Final = 1.2
"""What is leased should last until the next round, and a little longer."""
SAMPLE_S: Final = 0.1
"""Over less than this a rate says nothing."""
FADE: Final = 0.7
"""A rate that has gone down is remembered for some samples: requests come in bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The store's clock (unix seconds) as of some moment between ``asked`` and ``answered``."""

    store_s: float
    asked: float
    answered: float

    def store_at(self, now: float) -> float:
        """The store's time at one of ours, about."""
        return self.store_s + now - (self.asked + self.answered) / 2

    def edges(self, number: int, window_s: float) -> tuple[float, float]:
        """From when until when a window's requests may be admitted, by our clock; never, where the answer took long."""
        ahead_s = number * window_s - self.store_s
        margin_s = min(ARRIVAL_S, window_s / 20) + window_s * DRIFT
        return self.answered + ahead_s, self.asked + ahead_s + window_s - margin_s


def numbers_due(store_s: float, window_s: float) -> list[int]:
    """The windows that requests may be leased of at that time of the store's: the current one, and soon the next."""
    number = int(store_s / window_s)
    is_late = (number + 1) * window_s - store_s <= min(AHEAD_S, window_s / 2)
    return [number, number + 1] if is_late else [number]


class Demand:
    """How fast one backend's requests are used up."""

    __slots__ = ("_at", "_rate", "_spent")

    def __init__(self, spent: int, now: float) -> None:
        """``spent`` is what was used until now, and only grows."""
        self._spent = spent
        self._at = now
        self._rate = 0.0

    def observe(self, spent: int, now: float) -> None:
        """Hear what was used until now."""
        elapsed_s = now - self._at
        if elapsed_s >= SAMPLE_S:
            self._rate = max((spent - self._spent) / elapsed_s, self._rate * FADE)
            self._spent = spent
            self._at = now

    def asks(self, left: int, waiting: int) -> int:
        """How many to ask for beyond what is left: none as long as half of what should be there is."""
        wanted = ceil(self._rate * HORIZON_S) + 2 * waiting + 1
        return wanted - left if left <= wanted // 2 else 0
