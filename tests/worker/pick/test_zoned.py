"""Near ones first, while there is enough of them."""

from collections.abc import Sequence
from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from picking import backend, order_of, row_of
from sidecar.contract.model import Backend
from worker.pick import First, Random, RoundRobin, Zoned
from worker.view import Candidate

POOL = [
    backend("a1", zone="a"),
    backend("c1", zone="c"),
    backend("a2", zone="a"),
    backend("n1"),
    backend("a3", 2, zone="a"),
    backend("a4", 9, zone="a", backup=True),
    backend("c2", zone="c", backup=True),
]
ROWS = {member.id: row for row, member in enumerate(POOL)}


def zoned(eligible: str, *, zone: str = "a", min_ratio: float = 0.5, members: Sequence[Backend] = POOL) -> Zoned:
    policy = Zoned(First(), First(), zone=zone, members=members, min_ratio=min_ratio)
    policy.use([candidate(name) for name in eligible.split()], 0.0)
    return policy


def candidate(name: str, weight: float = 1.0) -> Candidate:
    return Candidate(backend=POOL[ROWS[name]], row=ROWS[name], weight=weight)


def names(policy: Zoned, count: int) -> str:
    """Where a request goes that fails everywhere."""
    return " ".join(POOL[row].id for row in order_of(policy, count))


@pytest.mark.parametrize(
    ("eligible", "order"),
    [
        ("a1 c1 a2 n1 a3", "a1 a2 a3 c1 n1"),
        ("c1 n1 a3", "a3 c1 n1"),
        ("c1 a2 n1 a1", "a2 a1 c1 n1"),
        ("c1 a2 n1", "c1 a2 n1"),
        ("c1 n1", "c1 n1"),
        ("c2 a4", "a4 c2"),
        ("c2 c1 a1 a2 a3", "c2 c1 a1 a2 a3"),
        ("c2 c1 a4", "a4 c2 c1"),
        ("n1 a3 a4 c2 a1 a2", "a3 a4 a1 a2 n1 c2"),
        ("", ""),
    ],
)
def test_the_own_zone_goes_first_while_half_of_its_weight_is_eligible(eligible, order):
    """Of 4 without the backup, which is 9 of 13 once backups are among those to choose from."""
    assert names(zoned(eligible), len(eligible.split())) == order


@pytest.mark.parametrize(
    ("min_ratio", "eligible", "first"),
    [
        (0.0, "c1 a1", "a1"),
        (0.25, "c1 a1", "a1"),
        (0.26, "c1 a1", "c1"),
        (1.0, "c1 a3 a2 a1", "a3"),
        (1.0, "c1 a3 a1", "c1"),
        (0.0, "c1 n1", "c1"),
    ],
)
def test_how_much_is_enough_is_configured(min_ratio, eligible, first):
    assert names(zoned(eligible, min_ratio=min_ratio), 1) == first


@given(st.permutations([0.1, 0.2, 0.3, 0.7, 1e-9]))
def test_all_there_are_is_always_enough(weights):
    """Whatever order they are added up in."""
    members = [backend(f"z{weight:g}", weight, zone="a") for weight in sorted(weights)] + [backend("far")]
    shuffled = [members[-1], *sorted(members[:-1], key=lambda member: weights.index(member.weight))]
    policy = Zoned(First(), First(), zone="a", members=members, min_ratio=1.0)
    policy.use([Candidate(backend=member, row=row, weight=1.0) for row, member in enumerate(shuffled)], 0.0)
    assert row_of(policy) == 1


def test_what_the_operator_makes_of_the_weights_moves_no_traffic_between_zones():
    policy = Zoned(First(), First(), zone="a", members=POOL, min_ratio=0.5)
    policy.use([candidate("c1", 1.0), candidate("a3", 0.01)], 0.0)
    assert row_of(policy) == ROWS["a3"]


def test_a_machine_in_a_zone_of_its_own_has_no_near_ones():
    assert names(zoned("c1 a1", zone="x"), 2) == "c1 a1"


@pytest.mark.parametrize("kind", [RoundRobin, Random])
def test_traffic_is_balanced_within_the_zone_and_over_all_when_it_spills(kind):
    draw = Dice(1).randrange
    policy = Zoned(kind(draw), kind(draw), zone="a", members=POOL, min_ratio=0.5)
    policy.use([candidate("a1"), candidate("c1"), candidate("a2"), candidate("n1")], 0.0)
    assert {row_of(policy) for _ in range(100)} == {ROWS["a1"], ROWS["a2"]}
    policy.use([candidate("a1"), candidate("c1"), candidate("n1")], 0.0)
    assert {row_of(policy) for _ in range(100)} == {ROWS["a1"], ROWS["c1"], ROWS["n1"]}


def test_the_key_reaches_the_policy_below():
    seen = []

    class Keyed(First):
        @override
        def pick(self, tried, now, key=0):
            seen.append(key)
            return super().pick(tried, now, key)

    policy = Zoned(Keyed(), Keyed(), zone="a", members=POOL, min_ratio=0.5)
    policy.use([candidate("a3"), candidate("c1")], 0.0)
    assert row_of(policy, key=7) == ROWS["a3"]
    assert row_of(policy, [ROWS["a3"]], key=8) == ROWS["c1"]
    assert seen == [7, 8]
