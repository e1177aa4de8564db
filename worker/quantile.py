"""The time within which so much of all answers came, read off a histogram.

Pure. Like Prometheus' ``histogram_quantile``: within a bucket, values are taken to lie evenly.
"""

from collections.abc import Sequence

MIN_SAMPLES = 20
"""Below that there is no telling what is slow: the 95th percentile of fewer is their maximum."""


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """The value that ``share`` of the samples do not exceed; None where there are too few of them.

    Args:
        share: above 0, at most 1.
        bounds: the buckets' upper bounds, rising. What lies beyond the last is known to do so, and no more.
        counts: samples of each bucket alone, those beyond the last bound in one more.
    """
    total = sum(counts)
    if total < MIN_SAMPLES:
        return None
    rank, below, lower = share * total, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * min((rank - below) / count, 1.0)
        below, lower = below + count, bound
    return lower
