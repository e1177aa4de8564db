"""Few are drawn, and the one that is likely to answer first takes the request."""

from collections.abc import Sequence
from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picking import Gauges, always, candidate, candidates, keep_busy, row_of
from worker.pick import PRIOR_LATENCY_S, REFRESH_S, Draw, PowerOfChoices
from worker.view import Candidate


def p2c(
    members: Sequence[Candidate], gauges: Gauges, draw: Draw | None = None, *, now: float = 0.0, **settings
) -> PowerOfChoices:
    policy = PowerOfChoices(draw or always(0), in_flight=gauges.in_flight, latency=gauges.latency, **settings)
    policy.use(members, now)
    return policy


@pytest.mark.parametrize(
    ("gauges", "expected"),
    [
        (Gauges((1.0, 10.0), (2.0, 10.0)), 0),
        (Gauges((2.0, 10.0), (1.0, 10.0)), 1),
        (Gauges((1.0, 10.0), (2.0, 10.0), in_flight=(3, 0)), 1),
        (Gauges((1.0, 10.0), (2.0, 10.0), in_flight=(0, 9)), 0),
        (Gauges(in_flight=(1, 0)), 1),
        (Gauges(in_flight=(0, 1)), 0),
    ],
)
@pytest.mark.parametrize("draw", [always(0), always(1)], ids=["first", "last"])
def test_of_two_the_cheaper_is_taken_whoever_is_drawn_first(gauges, expected, draw):
    """Cost is latency times (in flight + 1)."""
    assert row_of(p2c(candidates(1, 1), gauges, draw)) == expected


@pytest.mark.parametrize(("weights", "expected"), [((1, 2), 1), ((2, 1), 0), ((1, 0.1), 0)])
@pytest.mark.parametrize("draw", [always(0), always(1)], ids=["first", "last"])
def test_weight_divides_the_cost(weights, expected, draw):
    gauges = Gauges((1.0, 10.0), (1.0, 10.0), in_flight=(1, 1))
    assert row_of(p2c(candidates(*weights), gauges, draw)) == expected


def test_in_flight_is_read_at_each_pick_and_latency_only_now_and_then():
    """Reading all sums at each pick costs more than the rest of it."""
    gauges = Gauges((1.0, 10.0), (1.5, 10.0))
    policy = p2c(candidates(1, 1), gauges)
    readings = gauges.readings
    assert row_of(policy) == 0
    gauges.counts[0] = 1
    assert row_of(policy, now=REFRESH_S / 2) == 1
    assert gauges.readings == readings
    gauges.latencies = {0: (1.0, 10.0), 1: (9.0, 10.0)}
    assert row_of(policy, now=REFRESH_S / 2) == 1
    assert row_of(policy, now=REFRESH_S) == 0
    assert gauges.readings == 2 * readings


def test_an_unused_backend_counts_with_the_mean_of_its_pool():
    """So that it is tried again, before the slow ones and after the good ones."""
    policy = p2c(candidates(1, 1, 1), Gauges((5.0, 10.0), (20.0, 10.0)))
    assert row_of(policy, tried=[0]) == 2
    assert row_of(policy, tried=[1]) == 0
    assert row_of(policy, tried=[2]) == 0


def test_what_is_remembered_fades_into_the_mean():
    """The one prior sample outweighs a history that has nearly decayed."""
    fresh = p2c(candidates(1, 1), Gauges((30.0, 10.0), (20.0, 10.0)))
    assert row_of(fresh) == 1
    faded = Gauges((30.0e-9, 10.0e-9), (20.0, 10.0), (1.0, 10.0))
    assert row_of(p2c(candidates(1, 1, 1), faded), tried=[2]) == 0


def test_before_anybody_answered_only_load_counts():
    gauges = Gauges(in_flight=(2, 1, 3))
    assert row_of(p2c(candidates(1, 1, 1), gauges), tried=[9]) == 1
    assert PRIOR_LATENCY_S > 0


def test_history_beyond_a_cap_counts_no_more():
    """A thousand samples weigh as much as 32 of the same mean: else a change would take too long to be believed."""
    gauges = Gauges((100.0, 1_000.0), (3.2, 32.0))
    assert {row_of(p2c(candidates(1, 1), gauges, always(first))) for first in (0, 1)} == {0, 1}


def test_a_failing_backend_is_not_the_cheapest_for_being_quick_to_fail():
    """A failure enters as a second or more, so ten of them outweigh the fast answers of others."""
    failing, healthy = (10.0, 10.0), (0.5, 10.0)
    assert row_of(p2c(candidates(1, 1), Gauges(failing, healthy))) == 1


def test_a_slow_backend_gets_less_and_not_nothing():
    """Ten times as slow, a third of the pairs: it must neither drown nor starve."""
    dice = Dice(5)
    gauges = Gauges((1.0, 10.0), (1.0, 10.0), (10.0, 10.0))
    shares = keep_busy(p2c(candidates(1, 1, 1), gauges, dice.randrange), gauges, dice, concurrency=60, picks=10_000)
    assert 0 < shares[2] < shares[0] / 3


@given(
    st.lists(
        st.tuples(st.floats(0.0, 1e9), st.floats(0.0, 1e6), st.integers(0, 10_000), st.floats(0.001, 256)),
        min_size=1,
        max_size=8,
    ),
    st.floats(-1e6, 1e9),
    st.sets(st.integers(0, 8)),
    st.integers(0, 99),
)
def test_no_reading_of_the_board_breaks_a_pick(readings, now, tried, seed):
    """Sums come from memory that other processes write: any value gives a pick, and the same one for the same draw."""
    gauges = Gauges(
        *[(total, weight) for total, weight, _, _ in readings], in_flight=[count for _, _, count, _ in readings]
    )
    members = [candidate(row, weight, ramp_until=now + row) for row, (_, _, _, weight) in enumerate(readings)]
    picks = {row_of(p2c(members, gauges, Dice(seed).randrange, now=now), sorted(tried), now) for _ in range(2)}
    assert len(picks) == 1
    assert picks <= set(range(len(members)))
