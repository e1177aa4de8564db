"""Taking turns, as nginx does."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from picking import always, candidate, candidates, row_of, rows_of
from worker.pick import RoundRobin


def nginx(weights: Sequence[int]):
    """The smooth weighted round robin of ngx_http_upstream_get_peer, as rows without end."""
    current = [0] * len(weights)
    while True:
        best = None
        for row, weight in enumerate(weights):
            current[row] += weight
            if best is None or current[row] > current[best]:
                best = row
        assert best is not None
        current[best] -= sum(weights)
        yield best


def test_round_robin_is_the_published_sequence():
    """The example of nginx's commit 52327e0627f4: 5:1:1 is spread, not a block of five."""
    policy = RoundRobin(always(0))
    policy.use(candidates(5, 1, 1), 0.0)
    assert rows_of(policy, 14) == [0, 0, 1, 0, 2, 0, 0] * 2


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 7))
def test_round_robin_takes_the_turns_that_nginx_takes(weights, start):
    """From a turn that differs by worker."""
    start %= len(weights)
    policy = RoundRobin(always(start))
    policy.use(candidates(*weights), 0.0)
    rounds = 2 * sum(weights)
    assert rows_of(policy, rounds) == list(islice(nginx(weights), start, start + rounds))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 50))
def test_round_robin_is_exact_over_any_whole_round(weights, skipped):
    policy = RoundRobin(always(0))
    policy.use(candidates(*weights), 0.0)
    rows_of(policy, skipped)
    assert Counter(rows_of(policy, sum(weights))) == Counter(dict(enumerate(weights)))


def test_workers_begin_their_rounds_at_different_backends():
    firsts = []
    for start in range(3):
        policy = RoundRobin(always(start))
        policy.use(candidates(1, 1, 1), 0.0)
        firsts.append(row_of(policy))
    assert firsts == [0, 1, 2]


def test_a_new_selection_does_not_begin_the_round_again():
    """Eligibility changes each second in bad times; a restart at each would send all to the first."""
    policy = RoundRobin(always(1))
    rows = []
    for _ in range(6):
        policy.use(candidates(1, 1, 1), 0.0)
        rows.append(row_of(policy))
    assert rows == [1, 2, 0] * 2


@given(st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=30))
def test_round_robin_owes_nobody_a_flood(selections):
    """However backends come and go, the shares are right again within two rounds."""
    policy = RoundRobin(always(0))
    for rows in selections:
        policy.use([candidate(row) for row in sorted(rows)], 0.0)
        policy.pick((), 0.0)
    policy.use(candidates(1, 1, 1, 1, 1), 0.0)
    rows_of(policy, 10)
    assert Counter(rows_of(policy, 5)) == Counter(range(5))


def test_retries_are_spread_over_those_that_are_left():
    policy = RoundRobin(always(0))
    policy.use(candidates(1, 1, 2), 0.0)
    assert Counter(row_of(policy, [0]) for _ in range(300)) == Counter({1: 100, 2: 200})
