"""What one run told, and how runs become a figure. Pure.

Subjects take turns in rounds, so a ratio is taken within each round and the median of those counts: what disturbs the
machine for a while disturbs both sides of a ratio alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One subject under one load, once. ``rss_bytes``: the most its processes had together, as sampled."""

    cpu_s: float
    requests: int
    received_bytes: int
    seconds: float
    p50_ms: float
    p99_ms: float
    rss_bytes: int
    errors: int


Metric = Callable[[Run], float]


def cpu_us(run: Run) -> float:
    """On-CPU microseconds of all its processes for each request."""
    return 1e6 * run.cpu_s / run.requests


def cpu_per_gb(run: Run) -> float:
    """On-CPU seconds of all its processes for 10^9 bytes received by clients."""
    return 1e9 * run.cpu_s / run.received_bytes


def rate(run: Run) -> float:
    """Requests per second."""
    return run.requests / run.seconds


def mb_per_s(run: Run) -> float:
    """10^6 bytes per second, as received by clients."""
    return run.received_bytes / 1e6 / run.seconds


def p50(run: Run) -> float:
    """Median latency in milliseconds."""
    return run.p50_ms


def p99(run: Run) -> float:
    """99th percentile of latency in milliseconds."""
    return run.p99_ms


def rss_mib(run: Run) -> float:
    """Peak of resident memory in MiB."""
    return run.rss_bytes / 2**20


def typical(runs: Sequence[Run], metric: Metric) -> float:
    """The median over the rounds."""
    return median(metric(run) for run in runs)


def ratio(runs: Sequence[Run], reference: Sequence[Run], metric: Metric) -> float:
    """How many times the reference's figure ours is: the median of the ratios of each round."""
    return median(metric(ours) / metric(theirs) for ours, theirs in zip(runs, reference, strict=True))


def errors(runs: Sequence[Run]) -> int:
    """Wrong or missing answers over all rounds."""
    return sum(run.errors for run in runs)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of an ascending, non-empty sequence lies; no interpolation."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
