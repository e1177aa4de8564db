"""Slow start, as all policies by weight have it."""

from collections import Counter
from itertools import pairwise
from math import inf
from random import Random as Dice

import pytest

from picking import Gauges, always, candidate, candidates, row_of, rows_of
from worker.pick import RAMP_FLOOR, REFRESH_S, LeastRequest, PowerOfChoices, Random, Rendezvous, RoundRobin
from worker.pick.weighted import Weighted

GAUGES = Gauges()


@pytest.mark.parametrize(
    ("now", "share"),
    [(0.0, RAMP_FLOOR), (0.5, RAMP_FLOOR), (2.0, 0.2), (5.0, 0.5), (9.0, 0.9), (10.0, 1.0), (99.0, 1.0)],
)
def test_slow_start_grows_from_a_tenth_to_the_whole_weight(now, share):
    weighted = Weighted(always(0), slow_start_s=10.0)
    weighted.use([candidate(0), candidate(1, weight=100, ramp_until=10.0)], now)
    assert weighted.weights == pytest.approx([1.0, 100 * share])


def test_slow_start_can_be_switched_off():
    weighted = Weighted(always(0), slow_start_s=0.0)
    weighted.use([candidate(0, ramp_until=inf)], 0.0)
    assert weighted.weights == [1.0]


@pytest.mark.parametrize(
    "policy",
    [RoundRobin(Dice(1).randrange), Random(Dice(1).randrange)],
    ids=lambda policy: type(policy).__name__,
)
def test_a_newcomer_gets_its_share_of_the_traffic_little_by_little(policy):
    """At 0.1 it is one of 3.1, at 0.5 one of 3.5, at the end one of four; no new selection says so."""
    policy.use([*candidates(1, 1, 1), candidate(3, ramp_until=10.0)], 0.0)
    for now, ramp in ((0.0, 0.1), (5.0, 0.5), (10.0, 1.0)):
        share = Counter(rows_of(policy, 6_000, now))[3] / 6_000
        assert share == pytest.approx(ramp / (3 + ramp), abs=0.015)


@pytest.mark.parametrize(
    "policy",
    [
        LeastRequest(Dice(1).randrange, in_flight=GAUGES.in_flight),
        PowerOfChoices(Dice(1).randrange, in_flight=GAUGES.in_flight, latency=GAUGES.latency),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_a_newcomer_is_dearer_while_it_starts(policy):
    policy.use([candidate(0, weight=0.6), candidate(1, ramp_until=10.0)], 0.0)
    assert row_of(policy, now=5.0) == 0
    assert row_of(policy, now=5.0 + REFRESH_S / 2) == 0
    assert row_of(policy, now=7.0) == 1


def test_keys_move_to_a_newcomer_and_nowhere_else():
    policy = Rendezvous(Dice(1).randrange, in_flight=GAUGES.in_flight)
    policy.use([*candidates(1, 1, 1), candidate(3, ramp_until=10.0)], 0.0)
    owners = [[row_of(policy, now=now, key=key) for key in range(1, 500)] for now in (0.0, 5.0, 10.0)]
    for before, after in pairwise(owners):
        moved = {new for old, new in zip(before, after, strict=True) if old != new}
        assert moved == {3}
