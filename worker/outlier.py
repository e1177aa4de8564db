"""When real traffic takes a backend out on this host, for how long, and how it comes back.

Pure: counts, ``now`` and ``draw`` are handed in; the board remembers, ``worker.passive`` acts. As one backend goes::

    in --- enough evidence, or Retry-After ---> out --- time is over ---> on probation
    ^                                            ^                             |
    |                                            |                     one canary for the host
    +------- it was answered: slow start --------|--------------------- on trial
                                                 +--- it failed: twice as long --+

A passing probe clears nothing of this: what fails real requests may well answer probes. Evidence is what only the
backend can be to blame for. A client that went away, an answer below 500, an old connection closed under us and a fault
of our own are none.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from math import floor

from worker.failure import Failure

SKIP_S = 1.0
"""How long a hard failure keeps everybody of the host away; the monitor is asked to look meanwhile."""
MAX_PAUSE_S = 30.0
"""What a backend gets at most of the pause it asks for in Retry-After."""
JITTER = 0.1
"""Ejections that began together do not end together."""
ROUNDING = 1e-9
"""0.29 of 100 backends are 29, whatever binary fractions say."""
_STEPS = 10
"""Into how many parts the window of the failure ratio is cut."""

_HARD = frozenset({Failure.REFUSED, Failure.UNREACHABLE, Failure.CONNECT_TIMEOUT, Failure.TLS})
EVIDENCE = _HARD | {
    Failure.RESET, Failure.BAD_RESPONSE, Failure.RESPONSE_TIMEOUT, Failure.GATEWAY_ERROR, Failure.CUT_SHORT,
    Failure.BAD_BODY,
}  # fmt: skip
"""What counts against a backend. A stream that pauses for too long does not: it may have had nothing to say."""

_RETRY_AFTER = re.compile(rb"(?im)^retry-after:[ \t]*(\d{1,9})[ \t]*\r?$")


def is_hard(failure: Failure, *, fresh: bool) -> bool:
    """Whether nobody is there, which one failure is enough to know.

    A reset before the head says so where it was ``fresh``: a new connection, over which all of the request had gone.
    """
    return failure in _HARD or (fresh and failure is Failure.RESET)


def is_bad(status: int) -> bool:
    """Whether an answer is evidence: any 5xx but 501 and 505, which are about the request."""
    return status >= 500 and status not in (501, 505)


def pause_s(status: int, fields: bytes) -> float:
    """How long a 503 asks to be left alone, out of its header lines; 0.0 for not at all.

    A Retry-After that is a date counts for nothing, since it needs two clocks to agree.
    """
    match = _RETRY_AFTER.search(fields) if status == 503 else None
    return min(float(match[1]), MAX_PAUSE_S) if match else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One pool's ``outlier_detection``, under the same names. ``max_ejected_ratio`` 0 ejects nobody."""

    consecutive_failures: int = 5
    failure_ratio: float = 0.5
    min_requests: int = 20
    window_s: float = 10.0
    base_ejection_s: float = 5.0
    max_ejection_s: float = 60.0
    max_ejected_ratio: float = 0.5


class Phase(Enum):
    """Where a backend is between in and out."""

    IN = "in"
    OUT = "out"
    PROBATION = "probation"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the host holds against a backend. Times are monotonic, 0.0 for never.

    ``ejected_at`` is when it went out first, ``ejected_until`` when it may be tried again, 0.0 while it is in;
    ``ejections`` counts those in a row. ``canary_until`` is the deadline of the canary under way. Until ``skip_until``
    a hard failure counts.
    """

    ejected_at: float = 0.0
    ejected_until: float = 0.0
    ejections: int = 0
    readmitted_at: float = 0.0
    canary_until: float = 0.0
    skip_until: float = 0.0

    def phase(self, now: float) -> Phase:
        """Where it is now."""
        if not self.ejected_until:
            return Phase.IN
        if now < self.ejected_until:
            return Phase.OUT
        return Phase.TRIAL if now < self.canary_until else Phase.PROBATION

    def next_change(self, now: float) -> float:
        """When time alone changes it; infinite for never."""
        ends = (self.ejected_until, self.canary_until, self.skip_until)
        return min((end for end in ends if end > now), default=float("inf"))


@dataclass(slots=True)
class Window:
    """Failures and requests of a backend within the last ``window_s``, as told when it fails, at no other time."""

    window_s: float
    _told: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=_STEPS + 1))

    def since(self, now: float, bad: int, good: int, forgiven_at: float = 0.0) -> tuple[int, int, float]:
        """How many failed, of how many, in how many seconds.

        Args:
            now: monotonic.
            bad: all failures ever counted, without the one that just came.
            good: all good responses ever counted.
            forgiven_at: what came before then does not count any more.
        """
        told = self._told
        floor = max(now - self.window_s, forgiven_at)
        while told and told[0][0] < floor:
            told.popleft()
        if not told or now - told[-1][0] >= self.window_s / _STEPS:
            told.append((now, bad, good))
        at, bad_then, good_then = told[0]
        failed = bad + 1 - bad_then
        return failed, failed + max(good - good_then, 0), now - at


def reason(rules: Rules, streak: int, failed: int, requests: int, over_s: float) -> str:
    """Why a backend is to be ejected, in words; empty when it is not."""
    if streak >= rules.consecutive_failures:
        return f"{streak} failures in a row"
    if requests >= rules.min_requests and failed >= rules.failure_ratio * requests:
        return f"{failed} of {requests} requests failed in {over_s:.1f} s"
    return ""


def past_ejections(rules: Rules, standing: Standing, now: float) -> int:
    """Ejections in a row that are still remembered: one is forgotten for each ``max_ejection_s`` back in."""
    if standing.phase(now) is not Phase.IN:
        return standing.ejections
    return max(standing.ejections - int((now - standing.readmitted_at) / rules.max_ejection_s), 0)


def ejection_s(rules: Rules, past: int, draw: float) -> float:
    """How long an ejection lasts that follows so many others; ``draw`` is from 0 to 1."""
    length_s = min(rules.base_ejection_s * 2.0 ** min(past, 64), rules.max_ejection_s)
    return length_s * (1 - JITTER + 2 * JITTER * draw)


def leaves_enough(rules: Rules, out: int, members: int) -> bool:
    """Whether one more may be out beside so many others: counted after it went, and never all."""
    return out + 1 < members and out + 1 <= floor(rules.max_ejected_ratio * members + ROUNDING)
