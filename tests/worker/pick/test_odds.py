"""Probabilities that are told are those that requests meet."""

from collections import Counter
from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picking import Gauges, backend, candidates, row_of
from sidecar.contract.config.pools import Balancing
from worker.pick import Policy, odds, policy_of
from worker.view import Candidate

LOADED = Gauges((0.9, 3.0), (2.0, 20.0), (0.1, 8.0), (4.0, 8.0), in_flight=(1, 0, 4, 2), probes=(0.2, 0.1, None, 0.1))
WEIGHTS = (1.0, 3.0, 0.5, 1.0)
EACH = ["p2c_ewma", "least_request", "random", "fastest", "first"]
PICKS = 100_000


def made(name: str, gauges: Gauges = LOADED, weights: tuple[float, ...] = WEIGHTS, seed: int = 1) -> Policy:
    policy = policy_of(
        Balancing.model_validate({"policy": name}), gauges.load, Dice(seed).randrange, zone=None, members=()
    )
    policy.use(candidates(*weights), 0.0)
    return policy


@pytest.mark.parametrize("name", EACH)
def test_what_is_told_is_exact_and_what_many_picks_come_to(name: str):
    policy = made(name)
    found = odds(policy, 0.0)
    assert found.draws == 0
    assert sum(found.rows.values()) == pytest.approx(1.0)
    seen = Counter(picked.row for _ in range(PICKS) if (picked := policy.pick((), 0.0)))
    for row in range(len(WEIGHTS)):
        assert found.rows.get(row, 0.0) == pytest.approx(seen[row] / PICKS, abs=0.006)  # four standard errors


@given(
    name=st.sampled_from([*EACH, "round_robin", "rendezvous"]),
    weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=7),
    in_flight=st.lists(st.integers(0, 20), min_size=7, max_size=7),
    key=st.sampled_from([0, 12345]),
    full=st.frozensets(st.integers(0, 6)),
)
def test_they_sum_to_one_unless_nobody_has_a_place(name, weights, in_flight, key, full):
    policy = made(name, Gauges(in_flight=in_flight), tuple(weights))
    found = odds(policy, 0.0, key=key, full=full, ways=300)
    open_rows = set(range(len(weights))) - full
    assert sum(found.rows.values()) == pytest.approx(1.0 if open_rows else 0.0)
    assert found.rows.keys() <= open_rows
    assert all(0 <= share <= 1 for share in found.rows.values())


def test_round_robin_tells_whose_turn_it_is_and_keeps_the_turn():
    policy = made("round_robin")
    for _ in range(30):
        found, again = odds(policy, 0.0), odds(policy, 0.0)
        assert found == again
        assert found.rows == {row_of(policy): 1.0}
    assert 1 not in odds(policy, 0.0, full=(1,)).rows


def test_a_key_has_one_backend():
    policy = made("rendezvous", Gauges())
    for key in range(1, 40):
        assert odds(policy, 0.0, key=key).rows == {row_of(policy, key=key): 1.0}


def test_who_is_full_is_passed_over():
    policy = made("p2c_ewma")
    found = odds(policy, 0.0, full=(0, 3)).rows
    assert found.keys() <= {1, 2}
    assert sum(found.values()) == pytest.approx(1.0)
    assert odds(made("first"), 0.0, full=(0,)).rows == {1: 1.0}
    assert odds(made("first"), 0.0, full=(0, 1, 2, 3)).rows == {}


def test_where_there_are_too_many_ways_it_is_estimated_and_says_so():
    policy = made("p2c_ewma")
    exact, estimated = odds(policy, 0.0), odds(policy, 0.0, ways=11)
    assert (exact.draws, estimated.draws) == (0, 11)
    estimated = odds(made("random"), 0.0, full=(0,), ways=20_000)
    assert estimated.rows[1] == pytest.approx(3 / 4.5, abs=0.02)


def test_of_a_zone_the_near_ones_alone_are_drawn():
    members = [backend("a", zone="here"), backend("b", 3.0, zone="here"), backend("c", zone="there")]
    balancing = Balancing.model_validate({"policy": "random"})
    policy = policy_of(balancing, Gauges().load, Dice(1).randrange, zone="here", members=members)
    policy.use([Candidate(backend=each, row=row, weight=each.weight) for row, each in enumerate(members)], 0.0)
    assert odds(policy, 0.0).rows == {0: 0.25, 1: 0.75}


def test_figures_say_what_the_pick_goes_by():
    figures = made("p2c_ewma").figures(0.0)
    for row, known in figures.items():
        expected = known["latency_s"] * (LOADED.counts[row] + 1) / WEIGHTS[row]
        assert known["cost"] == pytest.approx(expected)
    assert {row: known["weight"] for row, known in figures.items()} == dict(enumerate(WEIGHTS))
    assert made("fastest").figures(0.0)[1] == {"probe_s": 0.1}
    assert "credit" in made("round_robin").figures(0.0)[0]


@pytest.mark.parametrize("zone", [None, "here"])
def test_what_policies_go_by_is_read_once_and_not_for_each_way(zone: str | None):
    """With 128 backends and their 16,256 ways, that took six seconds."""
    gauges = Gauges(*[(1.0, 2.0)] * 20)
    members = [backend(f"b{row}", zone="here" if row < 10 else "there") for row in range(20)]
    policy = policy_of(Balancing(), gauges.load, Dice(1).randrange, zone=zone, members=members)
    policy.use([Candidate(backend=each, row=row, weight=1.0) for row, each in enumerate(members)], 0.0)
    gauges.readings = 0
    assert odds(policy, 60.0).draws == 0
    assert gauges.readings <= 20 + 10
