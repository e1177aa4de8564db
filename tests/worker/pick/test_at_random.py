"""Whoever is drawn, by weight."""

from collections import Counter
from random import Random as Dice

import pytest

from picking import always, candidates, row_of, rows_of
from worker.pick import Random


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 5), (0.1, 0.2, 0.1), (256, 1)])
def test_each_is_drawn_as_often_as_it_weighs(weights):
    policy = Random(Dice(2).randrange)
    policy.use(candidates(*weights), 0.0)
    shares = Counter(rows_of(policy, 20_000))
    for row, weight in enumerate(weights):
        assert shares[row] / 20_000 == pytest.approx(weight / sum(weights), abs=0.012)


def test_a_retry_is_drawn_from_those_that_are_left():
    policy = Random(Dice(2).randrange)
    policy.use(candidates(1, 5, 3), 0.0)
    shares = Counter(row_of(policy, [1]) for _ in range(20_000))
    assert shares[1] == 0
    assert shares[2] / 20_000 == pytest.approx(0.75, abs=0.012)


@pytest.mark.parametrize(("drawn", "row"), [(0, 0), (-1, 2)], ids=["lowest", "highest"])
def test_the_ends_of_chance_are_the_first_and_the_last(drawn, row):
    policy = Random(always(drawn))
    policy.use(candidates(0.1, 0.2, 0.3), 0.0)
    assert row_of(policy) == row
