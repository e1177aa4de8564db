"""A quantile read off a histogram."""

from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.latency import MIN_SAMPLES, quantile

BOUNDS = (0.01, 0.1, 1.0)


@pytest.mark.parametrize(
    ("share", "counts", "value"),
    [
        (0.5, (100, 0, 0, 0), 0.005),
        (1.0, (100, 0, 0, 0), 0.01),
        (0.95, (90, 10, 0, 0), 0.055),
        (0.95, (0, 0, 100, 0), 0.955),
        (0.9, (90, 10, 0, 0), 0.01),
        (0.95, (0, 0, 0, 100), 1.0),
        (0.95, (94, 0, 0, 6), 1.0),
    ],
    ids=["half of a bucket", "all of it", "in the next", "in the last", "at a bound", "beyond", "an empty one between"],
)
def test_a_quantile_lies_where_its_bucket_says(share, counts, value):
    assert quantile(share, BOUNDS, counts) == pytest.approx(value)


def test_of_too_few_samples_there_is_none():
    assert quantile(0.95, BOUNDS, (MIN_SAMPLES - 1, 0, 0, 0)) is None
    assert quantile(0.95, BOUNDS, (MIN_SAMPLES, 0, 0, 0)) is not None
    assert quantile(0.95, BOUNDS, (0, 0, 0, 0)) is None
    assert quantile(0.5, BOUNDS, (0, 1, 0, 0), at_least=1) == pytest.approx(0.055)


@given(st.lists(st.floats(0, 2), min_size=MIN_SAMPLES, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_sample_it_stands_for(samples, share):
    counts = [0] * (len(BOUNDS) + 1)
    for sample in samples:
        counts[sum(sample > bound for bound in BOUNDS)] += 1
    exact = sorted(samples)[ceil(share * len(samples)) - 1]
    lower = max((bound for bound in (0.0, *BOUNDS) if bound < exact), default=0.0)
    upper = min((bound for bound in BOUNDS if bound >= exact), default=BOUNDS[-1])
    found = quantile(share, BOUNDS, counts)
    assert found is not None
    assert lower <= found <= upper


@given(st.tuples(*[st.integers(0, 50)] * 4).filter(lambda counts: sum(counts) >= MIN_SAMPLES))
def test_a_greater_share_takes_no_less(counts):
    found = [quantile(share / 100, BOUNDS, counts) for share in range(1, 101)]
    assert all(less is not None and more is not None and less <= more for less, more in pairwise(found))
