"""The seed's rule: whoever answered the latest probe fastest takes all."""

from collections import Counter
from math import nan
from random import Random as Dice

import pytest

from picking import Gauges, always, candidates, order_of, row_of, rows_of
from worker.pick import REFRESH_S, Draw, Fastest


def fastest(gauges: Gauges, count: int, draw: Draw | None = None) -> Fastest:
    policy = Fastest(draw or always(0), probe_s=gauges.probe_s)
    policy.use(candidates(*range(1, count + 1)), 0.0)
    return policy


@pytest.mark.parametrize(
    ("probes", "order"),
    [
        ((0.3, 0.1, 0.2), [1, 2, 0]),
        ((None, 0.9, 0.2), [2, 1, 0]),
        ((0.1, None, 0.05), [2, 0, 1]),
    ],
)
def test_the_fastest_probe_goes_first_and_an_unknown_one_last(probes, order):
    assert order_of(fastest(Gauges(probes=probes), 3), 3) == order


@pytest.mark.parametrize("probes", [(), (0.1, 0.1, 0.1), (nan, nan, nan)])
def test_ties_are_shared(probes):
    shares = Counter(rows_of(fastest(Gauges(probes=probes), 3, Dice(4).randrange), 3_000))
    assert all(abs(shares[row] - 1_000) < 120 for row in range(3))


def test_a_new_probe_counts_within_a_moment():
    gauges = Gauges(probes=(0.1, 0.2))
    policy = fastest(gauges, 2)
    gauges.probes = {0: 0.3, 1: 0.2}
    readings = gauges.readings
    assert row_of(policy, now=REFRESH_S / 2) == 0
    assert gauges.readings == readings
    assert row_of(policy, now=REFRESH_S) == 1
