"""What holds for every policy, whatever it decides by."""

from collections.abc import Callable
from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picking import Gauges, always, candidate, candidates, order_of, row_of
from worker.pick import (
    Draw,
    Fastest,
    First,
    LeastRequest,
    Policy,
    PowerOfChoices,
    Random,
    Rendezvous,
    RoundRobin,
    Zoned,
)

GAUGES = Gauges(in_flight=(3, 0, 2, 1), probes=(0.2, None, 0.1, 0.1))
MAKERS: dict[str, Callable[[Draw], Policy]] = {
    "p2c_ewma": lambda draw: PowerOfChoices(draw, in_flight=GAUGES.in_flight, latency=GAUGES.latency),
    "three choices": lambda draw: LeastRequest(draw, in_flight=GAUGES.in_flight, choices=3),
    "least_request": lambda draw: LeastRequest(draw, in_flight=GAUGES.in_flight),
    "round_robin": RoundRobin,
    "random": Random,
    "rendezvous": lambda draw: Rendezvous(draw, in_flight=GAUGES.in_flight),
    "first": lambda draw: First(),
    "fastest": lambda draw: Fastest(draw, probe_s=GAUGES.probe_s),
    "zoned": lambda draw: Zoned(
        RoundRobin(draw), Random(draw), zone="a", members=[each.backend for each in candidates(1, 1)], min_ratio=0.5
    ),
}

each_policy = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
each_key = pytest.mark.parametrize("key", [0, 1, (1 << 64) - 1], ids=["no key", "a key", "a long key"])


@each_key
@each_policy
def test_nobody_is_picked_where_there_is_nobody(make, key):
    policy = make(always(0))
    assert policy.pick((), 0.0, key) is None
    policy.use((), 0.0)
    assert policy.pick((), 0.0, key) is None
    assert policy.pick((1,), 9.0, key) is None
    policy.use(candidates(1), 0.0)
    policy.use((), 0.0)
    assert policy.pick((), 0.0, key) is None


@each_policy
@given(
    weights=st.lists(st.floats(0.01, 256), min_size=1, max_size=12),
    tries=st.lists(st.sets(st.integers(0, 13)), min_size=1, max_size=12),
    key=st.integers(0, (1 << 64) - 1),
    seed=st.integers(0, 1_000),
)
def test_a_tried_backend_is_never_picked_while_another_is_left(make, weights, tries, key, seed):
    policy = make(Dice(seed).randrange)
    policy.use(candidates(*weights), 0.0)
    for now, tried in enumerate(tries):
        left = set(range(len(weights))) - tried
        assert row_of(policy, sorted(tried), now / 100, key) in (left or range(len(weights)))


@each_key
@each_policy
def test_a_request_that_fails_everywhere_goes_to_each_once(make, key):
    policy = make(Dice(7).randrange)
    policy.use(candidates(1, 2, 3, 4, 5, 6), 0.0)
    for _ in range(20):
        assert sorted(order_of(policy, 6, key)) == list(range(6))


@each_policy
@given(
    selections=st.lists(st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 256)), max_size=6), max_size=8),
    seed=st.integers(0, 1_000),
)
def test_only_the_newest_selection_counts(make, selections, seed):
    policy = make(Dice(seed).randrange)
    for selection in selections:
        members = [candidate(row, weight) for row, weight in dict(selection).items()]
        policy.use(members, 0.0)
        for key in range(4):
            picked = policy.pick((), 0.0, key)
            assert picked in members if members else picked is None


@each_policy
def test_draws_are_asked_for_within_their_range(make):
    """``draw(n)`` has no answer for n below 1."""

    def draw(count: int) -> int:
        assert count >= 1
        return count - 1

    for count in range(1, 20):
        policy = make(draw)
        policy.use(candidates(*[1.0] * count), 0.0)
        for tried in ((), (0,), range(count - 1), range(count)):
            assert policy.pick(tried, 0.0) is not None
