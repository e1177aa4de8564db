"""The same key meets at the same backend, while that one is there and not too busy."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picking import Gauges, always, candidate, candidates, keep_busy, order_of, row_of
from worker.pick import Rendezvous
from worker.pick.rendezvous import AT_LEISURE
from worker.view import Candidate

KEYS = range(1, 2_001)
"""Poor ones, that differ in a few low bits."""

keys = st.integers(1, (1 << 64) - 1)


def rendezvous(members: Sequence[Candidate], gauges: Gauges | None = None, **settings) -> Rendezvous:
    policy = Rendezvous(Dice(1).randrange, in_flight=(gauges or Gauges()).in_flight, **settings)
    policy.use(members, 0.0)
    return policy


def owners(policy: Rendezvous) -> dict[int, int]:
    return {key: row_of(policy, key=key) for key in KEYS}


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 2, 5), (0.1, 0.3)])
@pytest.mark.parametrize("scale", [1, 1 << 20, 1 << 52], ids=["low bits", "middle bits", "high bits"])
def test_each_owns_as_many_keys_as_it_weighs(weights, scale):
    policy = rendezvous(candidates(*weights))
    shares = Counter(row_of(policy, key=key * scale) for key in KEYS)
    for row, weight in enumerate(weights):
        assert shares[row] / len(KEYS) == pytest.approx(weight / sum(weights), abs=0.035)


def test_the_heirs_of_one_backend_are_all_the_others_alike():
    """Else its failure would be the next one's."""
    policy = rendezvous(candidates(1, 1, 1, 1, 1))
    heirs = Counter(order_of(policy, 2, key)[1] for key, owner in owners(policy).items() if owner == 0)
    assert heirs.keys() == {1, 2, 3, 4}
    assert max(heirs.values()) < 1.5 * min(heirs.values())


@given(st.sets(st.integers(0, 30), min_size=2, max_size=9), st.data())
def test_only_the_keys_of_one_that_leaves_move(rows, data):
    """And come back to it when it does."""
    gone = data.draw(st.sampled_from(sorted(rows)))
    policy = rendezvous([candidate(row) for row in sorted(rows)])
    before = {key: row_of(policy, key=key) for key in KEYS[:200]}
    policy.use([candidate(row) for row in sorted(rows - {gone})], 1.0)
    after = {key: row_of(policy, key=key) for key in KEYS[:200]}
    assert all(after[key] == owner for key, owner in before.items() if owner != gone)
    policy.use([candidate(row) for row in sorted(rows)], 2.0)
    assert {key: row_of(policy, key=key) for key in KEYS[:200]} == before


@given(keys, st.lists(st.floats(0.1, 256), min_size=1, max_size=9))
def test_where_a_retry_goes_is_who_would_own_the_key_if_the_others_were_gone(key, weights):
    policy = rendezvous(candidates(*weights))
    order = order_of(policy, len(weights), key)
    for place in range(len(weights)):
        survivors = [each for each in candidates(*weights) if each.row not in order[:place]]
        assert row_of(rendezvous(survivors), key=key) == order[place]


@given(keys, st.permutations(range(8)))
def test_the_place_in_the_file_and_the_row_on_the_board_do_not_matter(key, rows):
    """Another master may know the same backends by other rows, another file name them in another order."""
    here = rendezvous(candidates(1, 2, 3, 4, 5, 6, 7, 8))
    elsewhere = [
        Candidate(backend=each.backend, row=row, weight=each.weight)
        for each, row in zip(candidates(1, 2, 3, 4, 5, 6, 7, 8), rows, strict=True)
    ]
    policy = rendezvous(sorted(elsewhere, key=lambda each: each.row))
    picked, other = here.pick((), 0.0, key), policy.pick((), 0.0, key)
    assert picked is not None
    assert other is not None
    assert picked.backend == other.backend


def test_other_processes_agree_whatever_their_hash_seed():
    """``hash`` of a text differs by process."""
    program = (
        "from picking import candidates, row_of, Gauges\n"
        "from worker.pick import Rendezvous\n"
        "policy = Rendezvous(lambda count: 0, in_flight=Gauges().in_flight)\n"
        "policy.use(candidates(1, 2, 3), 0.0)\n"
        "print([row_of(policy, key=key) for key in range(1, 51)])"
    )
    path = os.pathsep.join(each for each in sys.path if each)
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": path},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    policy = rendezvous(candidates(1, 2, 3))
    assert run.stdout.strip() == str([row_of(policy, key=key) for key in range(1, 51)])


def test_the_hash_is_part_of_the_contract():
    """A changed one would move every key of a fleet while it is upgraded."""
    policy = rendezvous(candidates(1, 1, 1, 1))
    assert [row_of(policy, key=key) for key in range(1, 17)] == [1, 2, 3, 3, 1, 0, 3, 0, 2, 1, 2, 1, 0, 3, 0, 1]


@given(
    st.lists(st.tuples(st.floats(0.1, 16), st.integers(0, 30)), min_size=1, max_size=9),
    st.floats(1.0, 3.0),
    keys,
)
def test_nobody_is_given_more_than_the_bound(members, ratio, key):
    """``ceil`` of the ratio times its share of all that is then in flight, by weight; or what is no load at all."""
    weights, in_flight = [weight for weight, _ in members], [count for _, count in members]
    policy = rendezvous(candidates(*weights), Gauges(in_flight=in_flight), max_load_ratio=ratio)
    row = row_of(policy, key=key)
    share = weights[row] / sum(weights)
    assert in_flight[row] + 1 <= max(ceil(ratio * share * (sum(in_flight) + 1)), AT_LEISURE)


def test_in_an_idle_pool_a_visitors_few_requests_at_a_time_stay_together():
    """They went to six backends: with nothing else under way, the second was already more than its share."""
    for asked in range(AT_LEISURE):
        policy = rendezvous(candidates(1, 1, 1, 1), Gauges(in_flight=(asked, 0, 0, 0)))
        assert owners(policy) == owners(rendezvous(candidates(1, 1, 1, 1)))


def test_one_hot_key_is_shared_as_far_as_the_bound_asks():
    dice, gauges = Dice(3), Gauges()
    policy = rendezvous(candidates(1, 1, 1, 1), gauges)
    shares = keep_busy(policy, gauges, dice, concurrency=40, picks=4_000, keys=(99,))
    assert max(gauges.counts.values()) <= ceil(1.25 * 40 / 4)
    first, *_, last = order_of(rendezvous(candidates(1, 1, 1, 1)), 4, key=99)
    assert shares[first] > 1.5 * shares[last]


def test_what_is_too_much_for_one_goes_to_the_next_of_its_key():
    idle = rendezvous(candidates(1, 1, 1, 1))
    for key in range(1, 50):
        order = order_of(idle, 4, key)
        for busy, (owner, heir) in enumerate(pairwise(order), 1):
            gauges = Gauges()
            gauges.counts.update(dict.fromkeys(order[:busy], 9))
            policy = rendezvous(candidates(1, 1, 1, 1), gauges, max_load_ratio=1.0)
            assert row_of(policy, key=key) == heir != owner


def test_a_high_ratio_leaves_each_key_where_it_is():
    gauges = Gauges(in_flight=(30, 0, 0, 0))
    tolerant = rendezvous(candidates(1, 1, 1, 1), gauges, max_load_ratio=100.0)
    assert owners(tolerant) == owners(rendezvous(candidates(1, 1, 1, 1)))


def test_readings_that_make_no_sense_are_as_good_as_none():
    """So much in flight that one more is lost in rounding."""
    gauges = Gauges(in_flight=[1 << 62] * 4)
    nonsense = rendezvous(candidates(1, 1, 1, 1), gauges, max_load_ratio=1.0)
    assert owners(nonsense) == owners(rendezvous(candidates(1, 1, 1, 1)))


def test_a_new_worker_of_the_host_is_heard_of_within_a_moment():
    """Its counts are in no row that was read before it came."""
    key, counts = 5, {row: [0] for row in range(4)}
    policy = Rendezvous(always(0), in_flight=lambda row: tuple(counts[row]))
    policy.use(candidates(1, 1, 1, 1), 0.0)
    owner = row_of(policy, key=key)
    counts[owner].append(50)
    assert row_of(policy, key=key) == owner
    assert row_of(policy, key=key, now=1.0) != owner


def test_without_a_key_the_less_busy_is_taken():
    gauges = Gauges(in_flight=(4, 0))
    policy = rendezvous(candidates(1, 1), gauges)
    assert {row_of(policy) for _ in range(20)} == {1}
    gauges.counts.update({1: 9})
    assert {row_of(policy) for _ in range(20)} == {0}
