"""Times to the response head as everybody counts them: the buckets, and the quantiles read off them.

Pure. Like Prometheus' ``histogram_quantile``: within a bucket, values are taken to lie evenly.
"""

from collections.abc import Sequence
from typing import Final

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histograms, in seconds, each inclusive; one more bucket takes the rest. Those of Prometheus' own
clients (``DefBuckets``), and two below them for backends on the same machine."""
MIN_SAMPLES: Final = 20
"""Below that there is no telling what is slow: the 95th percentile of fewer is their maximum."""


def quantile(
    share: float, bounds: Sequence[float], counts: Sequence[int], *, at_least: int = MIN_SAMPLES
) -> float | None:
    """The value that ``share`` of the samples do not exceed; None where there are too few of them.

    Args:
        share: above 0, at most 1.
        bounds: the buckets' upper bounds, rising. What lies beyond the last is known to do so, and no more.
        counts: samples of each bucket alone, those beyond the last bound in one more.
        at_least: how many samples it takes, from 1.
    """
    total = sum(counts)
    if total < at_least:
        return None
    rank, below, lower = share * total, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * min((rank - below) / count, 1.0)
        below, lower = below + count, bound
    return lower
