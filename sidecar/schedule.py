"""Who is due when: every backend has a timer of its own, so a hanging one delays nobody.

Pure. The next probe starts at max(start + interval, end), so that a probe never overlaps itself. While a verdict is in
doubt the fast interval counts, while a backend is down the down interval, and a suspicion makes it due now. One that is
paused is never due, and due at once on its return. In the beginning all are due at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

JITTER_RATIO = 0.1
"""Intervals vary by ten per cent either way, so that timers set at the same moment drift apart (HAProxy, Envoy)."""
SUSPECT_GAP_S = 0.05
"""However many workers suspect a backend, its probes start at least this far apart: twenty a second at most."""


class Pace(Enum):
    """Which interval counts."""

    STEADY = auto()
    FAST = auto()
    DOWN = auto()


@dataclass(slots=True, kw_only=True)
class _Timer:
    due: float
    started: float
    is_first: bool = True
    is_running: bool = False
    is_suspect: bool = False
    is_paused: bool = False


class Schedule:
    """The timers of one pool. All times are monotonic seconds; ``down_interval_s`` None: the steady interval."""

    def __init__(
        self,
        ids: Iterable[str],
        *,
        interval_s: float,
        fast_interval_s: float,
        down_interval_s: float | None = None,
        now: float,
    ) -> None:
        self._intervals_s = {
            Pace.STEADY: interval_s,
            Pace.FAST: fast_interval_s,
            Pace.DOWN: interval_s if down_interval_s is None else down_interval_s,
        }
        self._timers = {name: _Timer(due=now, started=now - SUSPECT_GAP_S) for name in ids}

    def wait_s(self, name: str, now: float) -> float | None:
        """How long until the backend is due; 0 when it is, None while it is paused."""
        timer = self._timers[name]
        return None if timer.is_paused else max(0.0, timer.due - now)

    def is_paused(self, name: str) -> bool:
        """Whether nothing is due until somebody says so."""
        return self._timers[name].is_paused

    def begin(self, name: str, now: float) -> None:
        """A probe starts."""
        timer = self._timers[name]
        timer.started, timer.is_running, timer.is_suspect = now, True, False

    def end(self, name: str, now: float, *, pace: Pace, draw: float) -> None:
        """The probe ended; ``pace`` says which interval follows, ``draw`` from [0, 1) is the jitter.

        The first interval is any part of a whole one, unless it is the fast one: timers that began together spread.
        """
        timer = self._timers[name]
        factor = draw if timer.is_first and pace is not Pace.FAST else 1 + JITTER_RATIO * (2 * draw - 1)
        timer.due = max(timer.started + self._intervals_s[pace] * factor, now)
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

    def pause(self, name: str) -> None:
        """Never due until it returns; a probe that is under way goes on."""
        self._timers[name].is_paused = True

    def resume(self, name: str, now: float) -> None:
        """Due at once, as if it were suspected. Who was not paused is left alone."""
        if self._timers[name].is_paused:
            self._timers[name].is_paused = False
            self.suspect(name, now)
