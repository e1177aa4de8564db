"""What one pool's monitor has counted since it began, whoever led meanwhile: probes, writes, and what workers say.

Written by the loop in a few additions, read by whoever is asked for metrics, be it in another thread.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from sidecar.collect import Traffic
from sidecar.contract.events import Event
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Health, Report
from sidecar.monitor.totals import Totals
from sidecar.probe import ProbeResult
from sidecar.publish import Change, Outcome

_DOUBT_OVER = f"{Event.MONITOR_SUSPECT}-over"
_EVENTS = (*map(str, Health), Event.EJECTED, Event.READMITTED, Event.MONITOR_SUSPECT, _DOUBT_OVER)
"""Told from the start: a counter that appears with its first event has not grown, as Prometheus sees it."""


class Phase(StrEnum):
    """Of a probe, from its start: to the connection, to the head of the response, to the finding."""

    CONNECT = "connect"
    FIRST_BYTE = "first_byte"
    TOTAL = "total"


class Ending(StrEnum):
    """How a probe ended. ``VOID`` says nothing of the backend, since we were late ourselves."""

    PASSED = "passed"
    BAD_ANSWER = "bad_answer"
    REFUSED = "refused"
    NO_ANSWER = "no_answer"
    VOID = "void"


class Histogram:
    """Times in the buckets that all of our histograms have."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total_s += seconds


class Probes:
    """The probes of one backend: how many ended how, and what they took."""

    __slots__ = ("endings", "times")

    def __init__(self) -> None:
        self.endings = dict.fromkeys(Ending, 0)
        self.times = {phase: Histogram() for phase in Phase}

    def add(self, result: ProbeResult) -> None:
        """One more; a phase that it did not reach has no time."""
        self.endings[_ending(result)] += 1
        if result.is_void:
            return
        times = self.times
        times[Phase.TOTAL].add(result.total_ms / 1000)
        if result.connect_ms is not None:
            times[Phase.CONNECT].add(result.connect_ms / 1000)
        if result.ttfb_ms is not None:
            times[Phase.FIRST_BYTE].add(result.ttfb_ms / 1000)


class Account:
    """What came of leading: how the store took each write, which transitions it made known, what the workers say."""

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.events: Counter[str] = Counter(dict.fromkeys(_EVENTS, 0))
        self.totals = Totals()
        self.reports: Sequence[Report] = ()
        self.traffic: Mapping[str, Traffic] = {}

    def hear(self, reports: Sequence[Report], traffic: Mapping[str, Traffic]) -> None:
        """What the workers say now, and what follows of the traffic."""
        self.reports, self.traffic = reports, traffic
        self.totals.hear(reports)

    def wrote(self, outcome: Outcome, changes: Iterable[Change]) -> None:
        """The store took an edition with these changes, or did not."""
        self.outcomes[outcome] += 1
        if outcome is Outcome.DONE:
            self.events.update(_event(change) for change in changes)


def _ending(result: ProbeResult) -> Ending:
    if result.is_void:
        return Ending.VOID
    if result.passed:
        return Ending.PASSED
    if result.answered:
        return Ending.BAD_ANSWER
    return Ending.REFUSED if result.refused else Ending.NO_ANSWER


def _event(change: Change) -> str:
    """The state that a backend has come to, or what else there is to tell."""
    return change.after or _DOUBT_OVER
