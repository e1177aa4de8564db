"""Few are drawn, and the least busy of them takes the request."""

from collections import Counter
from functools import partial
from itertools import pairwise
from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picking import Gauges, Live, always, candidates, keep_busy, row_of, rows_of
from worker.pick import LeastRequest


def look(seen: list[int], row: int) -> int:
    """Nobody is busy; who was asked about is written down."""
    seen.append(row)
    return 0


def watched(seen: list[int], draw, **settings) -> LeastRequest:
    return LeastRequest(draw, in_flight=lambda row: Live(partial(look, seen, row)), **settings)


@pytest.mark.parametrize(
    ("weights", "in_flight", "expected"),
    [((1, 1), (1, 0), 1), ((1, 1), (0, 1), 0), ((1, 2), (1, 2), 1), ((1, 2), (1, 4), 0), ((0.5, 1), (0, 0), 1)],
)
@pytest.mark.parametrize("draw", [always(0), always(1)], ids=["first", "last"])
def test_of_two_the_less_busy_for_its_weight_is_taken(weights, in_flight, expected, draw):
    policy = LeastRequest(draw, in_flight=Gauges(in_flight=in_flight).in_flight)
    policy.use(candidates(*weights), 0.0)
    assert row_of(policy) == expected


@pytest.mark.parametrize(("count", "looks"), [(1, 0), (2, 2), (5, 2), (6, 3), (8, 4), (10, 4), (11, 5), (100, 5)])
def test_four_in_ten_are_looked_at_but_two_at_least_and_five_at_most(count, looks):
    seen: list[int] = []
    policy = watched(seen, Dice(1).randrange)
    policy.use(candidates(*[1.0] * count), 0.0)
    for _ in range(50):
        seen.clear()
        policy.pick((), 0.0)
        assert len(seen) == looks
        assert len(set(seen)) >= min(2, looks)


@given(st.integers(2, 9))
def test_two_choices_are_never_the_same_and_every_pair_is_drawn_alike(count):
    pairs: Counter[tuple[int, ...]] = Counter()
    for drawn in range(count * (count - 1)):
        seen: list[int] = []
        policy = watched(seen, always(drawn), choices=2)
        policy.use(candidates(*[1.0] * count), 0.0)
        policy.pick((), 0.0)
        pairs[tuple(seen)] += 1
    if count > 2:
        assert len(pairs) == count * (count - 1)
    assert len({frozenset(pair) for pair in pairs}) == count * (count - 1) / 2
    assert len(set(pairs.values())) == 1


@given(st.integers(3, 12), st.integers(2, 12))
def test_every_backend_is_looked_at_alike(count, choices):
    """Over all that can be drawn; who is nobody's choice would starve, who is everybody's would drown."""
    looks: Counter[int] = Counter()
    for drawn in range(count * (count - 1)):
        seen: list[int] = []
        policy = watched(seen, always(drawn), choices=choices)
        policy.use(candidates(*[1.0] * count), 0.0)
        policy.pick((), 0.0)
        looks.update(set(seen))
    assert len(set(looks.values())) == 1


@given(st.integers(2, 20), st.integers(0, 1_000), st.integers(0, 5))
def test_where_all_are_to_be_looked_at_none_is_left_out(count, drawn, more):
    seen: list[int] = []
    policy = watched(seen, always(drawn), choices=count + more)
    policy.use(candidates(*[1.0] * count), 0.0)
    policy.pick((), 0.0)
    assert sorted(seen) == list(range(count))


def test_a_retry_looks_at_all_that_are_left():
    policy = LeastRequest(always(0), in_flight=Gauges(in_flight=(0, 5, 4, 3, 2)).in_flight)
    policy.use(candidates(1, 1, 1, 1, 1), 0.0)
    assert row_of(policy, tried=[0]) == 4
    assert row_of(policy, tried=[0, 4]) == 3
    assert row_of(policy, tried=[0, 1, 2, 3, 4]) == 0


def test_equals_share_alike():
    policy = LeastRequest(Dice(3).randrange, in_flight=Gauges().in_flight)
    policy.use(candidates(*[1] * 5), 0.0)
    shares = Counter(rows_of(policy, 5_000))
    assert all(abs(shares[row] - 1_000) < 120 for row in range(5))
    retries = Counter(row_of(policy, tried=[0]) for _ in range(4_000))
    assert all(abs(retries[row] - 1_000) < 120 for row in range(1, 5))


@pytest.mark.parametrize("weights", [(1, 3), (1, 2, 3, 4), (0.5, 1, 1, 1.5), (1, 1, 1, 1)])
def test_under_load_shares_follow_weights(weights):
    """Within a tenth when all are looked at; two choices at random are coarser but keep the order."""
    for choices, tolerance in ((len(weights), 0.1), (2, 1.0)):
        dice, gauges = Dice(7), Gauges()
        policy = LeastRequest(dice.randrange, in_flight=gauges.in_flight, choices=choices)
        policy.use(candidates(*weights), 0.0)
        shares = keep_busy(policy, gauges, dice, concurrency=200, picks=10_000)
        for row, weight in enumerate(weights):
            assert shares[row] / 10_000 == pytest.approx(weight / sum(weights), rel=tolerance)
        assert all(shares[row] < shares[row + 1] for row, (low, high) in enumerate(pairwise(weights)) if low < high)
