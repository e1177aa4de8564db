"""Who is due when: every backend has a timer of its own, so a hanging one delays nobody.

Pure. The next probe starts at max(start + interval, end), so that a probe never overlaps itself. While a verdict is in
doubt the fast interval counts, and a suspicion makes a backend due now. In the beginning all are due at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass

JITTER_RATIO = 0.1
"""Intervals vary by ten per cent either way, so that timers set at the same moment drift apart (HAProxy, Envoy)."""
SUSPECT_GAP_S = 0.05
"""However many workers suspect a backend, its probes start at least this far apart: twenty a second at most."""


@dataclass(slots=True, kw_only=True)
class _Timer:
    due: float
    started: float
    is_first: bool = True
    is_running: bool = False
    is_suspect: bool = False


class Schedule:
    """The timers of one pool. All times are monotonic seconds."""

    def __init__(self, ids: Iterable[str], *, interval_s: float, fast_interval_s: float, now: float) -> None:
        self._interval_s = interval_s
        self._fast_interval_s = fast_interval_s
        self._timers = {name: _Timer(due=now, started=now - SUSPECT_GAP_S) for name in ids}

    def wait_s(self, name: str, now: float) -> float:
        """How long until the backend is due; 0 when it is."""
        return max(0.0, self._timers[name].due - now)

    def begin(self, name: str, now: float) -> None:
        """A probe starts."""
        timer = self._timers[name]
        timer.started, timer.is_running, timer.is_suspect = now, True, False

    def end(self, name: str, now: float, *, in_doubt: bool, draw: float) -> None:
        """The probe ended; ``in_doubt`` asks for the fast interval, ``draw`` from [0, 1) is the jitter.

        The first interval is any part of a whole one: timers that began together spread over it.
        """
        timer = self._timers[name]
        interval_s = self._fast_interval_s if in_doubt else self._interval_s
        factor = draw if timer.is_first and not in_doubt else 1 + JITTER_RATIO * (2 * draw - 1)
        timer.due = max(timer.started + interval_s * factor, now)
        timer.is_first = timer.is_running = False
        if timer.is_suspect:
            self.suspect(name, now)

    def suspect(self, name: str, now: float) -> None:
        """Make the backend due now. A name that is not in the pool is ignored.

        What is suspected during a probe may have happened after its answer: the next one follows at its end.
        """
        if (timer := self._timers.get(name)) is None:
            return
        timer.is_suspect = True
        if not timer.is_running:
            timer.due = min(timer.due, max(now, timer.started + SUSPECT_GAP_S))
