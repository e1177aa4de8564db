"""Who takes a request: a table for each policy, invariants for all, and shares counted over seeded draws."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.model import Backend, parse_address
from worker.pick import PRIOR_LATENCY_S, RAMP_FLOOR, REFRESH_S, Draw, Policy, PowerOfChoices, RoundRobin
from worker.view import Candidate


def candidate(row: int, weight: float = 1.0, ramp_until: float = -inf) -> Candidate:
    url = f"http://127.0.0.1:{1_000 + row}"
    backend = Backend(id=f"b{row}", url=url, address=parse_address(url), weight=weight)
    return Candidate(backend=backend, row=row, weight=weight, ramp_until=ramp_until)


def candidates(*weights: float) -> list[Candidate]:
    return [candidate(row, weight) for row, weight in enumerate(weights)]


def always(drawn: int) -> Draw:
    """Chance that has made up its mind."""
    return lambda count: drawn % count


class Live:
    """A row of the board with one worker, whose count is asked for anew each time."""

    def __init__(self, count: Callable[[], int]) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        yield self.count()


def look(seen: list[int], row: int) -> int:
    """Nobody is busy; who was asked about is written down."""
    seen.append(row)
    return 0


class Load:
    """What a board says: in-flight counts, and latencies as (sum of seconds, weight)."""

    def __init__(self, *latencies: tuple[float, float], in_flight: Sequence[int] = ()) -> None:
        self.latencies = dict(enumerate(latencies))
        self.counts = Counter(dict(enumerate(in_flight)))
        self.readings = 0

    def in_flight(self, row: int) -> Live:
        return Live(lambda: self.counts[row])

    def latency(self, row: int, now: float) -> tuple[float, float]:
        self.readings += 1
        return self.latencies.get(row, (0.0, 0.0))


def p2c(
    members: Sequence[Candidate], load: Load, draw: Draw | None = None, *, now: float = 0.0, **settings
) -> PowerOfChoices:
    draw = draw or always(0)
    policy = PowerOfChoices(draw, in_flight=load.in_flight, latency=load.latency, **settings)
    policy.use(members, now)
    return policy


def row_of(policy: Policy, tried: Sequence[int] = (), now: float = 0.0) -> int:
    picked = policy.pick(tried, now)
    assert picked is not None
    return picked.row


def rows_of(policy: Policy, count: int) -> list[int]:
    return [row_of(policy) for _ in range(count)]


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


def two_choices(draw: Draw) -> PowerOfChoices:
    return PowerOfChoices(draw, in_flight=Load().in_flight, latency=Load().latency)


def three_choices(draw: Draw) -> PowerOfChoices:
    return PowerOfChoices(draw, in_flight=Load().in_flight, latency=Load().latency, choices=3)


POLICIES: list[Callable[[Draw], Policy]] = [RoundRobin, two_choices, three_choices]


@pytest.mark.parametrize("make", POLICIES)
def test_nobody_is_picked_where_there_is_nobody(make):
    policy = make(always(0))
    assert policy.pick((), 0.0) is None
    policy.use((), 0.0)
    assert policy.pick((), 0.0) is None
    assert policy.pick((1,), 0.0) is None
    policy.use(candidates(1), 0.0)
    policy.use((), 0.0)
    assert policy.pick((), 0.0) is None


@pytest.mark.parametrize("make", POLICIES)
@given(
    weights=st.lists(st.floats(0.01, 256), min_size=1, max_size=12),
    tries=st.lists(st.sets(st.integers(0, 13)), min_size=1, max_size=12),
    seed=st.integers(0, 1_000),
)
def test_a_tried_backend_is_never_picked_while_another_is_left(make, weights, tries, seed):
    policy = make(Random(seed).randrange)
    policy.use(candidates(*weights), 0.0)
    for tried in tries:
        left = set(range(len(weights))) - tried
        assert row_of(policy, sorted(tried)) in (left or range(len(weights)))


@pytest.mark.parametrize("make", POLICIES)
@given(
    selections=st.lists(st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 256)), max_size=6), max_size=8),
    seed=st.integers(0, 1_000),
)
def test_only_the_newest_selection_counts(make, selections, seed):
    policy = make(Random(seed).randrange)
    for selection in selections:
        members = [candidate(row, weight) for row, weight in dict(selection).items()]
        policy.use(members, 0.0)
        for _ in range(4):
            picked = policy.pick((), 0.0)
            assert picked in members if members else picked is None


@pytest.mark.parametrize("make", POLICIES)
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


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (Load((1.0, 10.0), (2.0, 10.0)), 0),
        (Load((2.0, 10.0), (1.0, 10.0)), 1),
        (Load((1.0, 10.0), (2.0, 10.0), in_flight=(3, 0)), 1),
        (Load((1.0, 10.0), (2.0, 10.0), in_flight=(0, 9)), 0),
        (Load(in_flight=(1, 0)), 1),
        (Load(in_flight=(0, 1)), 0),
    ],
)
@pytest.mark.parametrize("draw", [always(0), always(1)], ids=["first", "last"])
def test_of_two_the_cheaper_is_taken_whoever_is_drawn_first(load, expected, draw):
    """Cost is latency times (in flight + 1)."""
    assert row_of(p2c(candidates(1, 1), load, draw)) == expected


@pytest.mark.parametrize(("weights", "expected"), [((1, 2), 1), ((2, 1), 0), ((1, 0.1), 0)])
@pytest.mark.parametrize("draw", [always(0), always(1)], ids=["first", "last"])
def test_weight_divides_the_cost(weights, expected, draw):
    load = Load((1.0, 10.0), (1.0, 10.0), in_flight=(1, 1))
    assert row_of(p2c(candidates(*weights), load, draw)) == expected


def test_in_flight_is_read_at_each_pick_and_latency_only_now_and_then():
    """Reading all sums at each pick costs more than the rest of it."""
    load = Load((1.0, 10.0), (1.5, 10.0))
    policy = p2c(candidates(1, 1), load)
    readings = load.readings
    assert row_of(policy) == 0
    load.counts[0] = 1
    assert row_of(policy, now=REFRESH_S / 2) == 1
    assert load.readings == readings
    load.latencies = {0: (1.0, 10.0), 1: (9.0, 10.0)}
    assert row_of(policy, now=REFRESH_S / 2) == 1
    assert row_of(policy, now=REFRESH_S) == 0
    assert load.readings == 2 * readings


def test_an_unused_backend_counts_with_the_mean_of_its_pool():
    """So that it is tried again, before the slow ones and after the good ones."""
    policy = p2c(candidates(1, 1, 1), Load((5.0, 10.0), (20.0, 10.0)))
    assert row_of(policy, tried=[0]) == 2
    assert row_of(policy, tried=[1]) == 0
    assert row_of(policy, tried=[2]) == 0


def test_what_is_remembered_fades_into_the_mean():
    """The one prior sample outweighs a history that has nearly decayed."""
    fresh = p2c(candidates(1, 1), Load((30.0, 10.0), (20.0, 10.0)))
    assert row_of(fresh) == 1
    faded = Load((30.0e-9, 10.0e-9), (20.0, 10.0), (1.0, 10.0))
    assert row_of(p2c(candidates(1, 1, 1), faded), tried=[2]) == 0


def test_before_anybody_answered_only_load_counts():
    load = Load(in_flight=(2, 1, 3))
    assert row_of(p2c(candidates(1, 1, 1), load), tried=[9]) == 1
    assert PRIOR_LATENCY_S > 0


def test_history_beyond_a_cap_counts_no_more():
    """A thousand samples weigh as much as 32 of the same mean: else a change would take too long to be believed."""
    load = Load((100.0, 1_000.0), (3.2, 32.0))
    assert {row_of(p2c(candidates(1, 1), load, always(first))) for first in (0, 1)} == {0, 1}


def test_a_failing_backend_is_not_the_cheapest_for_being_quick_to_fail():
    """A failure enters as a second or more, so ten of them outweigh the fast answers of others."""
    failing, healthy = (10.0, 10.0), (0.5, 10.0)
    assert row_of(p2c(candidates(1, 1), Load(failing, healthy))) == 1


@pytest.mark.parametrize(
    ("now", "share"),
    [(0.0, RAMP_FLOOR), (0.5, RAMP_FLOOR), (2.0, 0.2), (5.0, 0.5), (9.0, 0.9), (10.0, 1.0), (99.0, 1.0)],
)
def test_slow_start_grows_from_a_tenth_to_the_whole_weight(now, share):
    """Seen as the load at which a newcomer of weight 100 begins to cost more than an idle old hand of weight 1."""
    members = [candidate(0), candidate(1, weight=100, ramp_until=10.0)]
    even = round(100 * share) - 1
    for in_flight, taker in ((even - 1, 1), (even + 1, 0)):
        load = Load((1.0, 10.0), (1.0, 10.0), in_flight=(0, in_flight))
        assert row_of(p2c(members, load, now=now), now=now) == taker


def test_slow_start_can_be_switched_off():
    members = [candidate(0, weight=0.5), candidate(1, ramp_until=inf)]
    assert row_of(p2c(members, Load(), slow_start_s=0.0)) == 1
    assert row_of(p2c(members, Load(), slow_start_s=10.0)) == 0


@pytest.mark.parametrize(("count", "looks"), [(1, 0), (2, 2), (3, 2), (7, 3), (10, 3), (11, 4), (17, 5), (100, 5)])
def test_three_in_ten_are_looked_at_but_two_at_least_and_five_at_most(count, looks):
    load = Load()
    seen: list[int] = []

    def in_flight(row: int) -> Live:
        return Live(partial(look, seen, row))

    policy = PowerOfChoices(Random(1).randrange, in_flight=in_flight, latency=load.latency)
    policy.use(candidates(*[1.0] * count), 0.0)
    for _ in range(50):
        seen.clear()
        policy.pick((), 0.0)
        assert len(seen) == looks
        assert len(set(seen)) >= min(2, looks)


@given(st.integers(2, 9), st.integers(0, 1_000))
def test_two_choices_are_never_the_same_and_every_pair_is_drawn_alike(count, seed):
    pairs: Counter[tuple[int, ...]] = Counter()
    for drawn in range(count * (count - 1)):
        seen: list[int] = []

        def in_flight(row: int, seen: list[int] = seen) -> Live:
            return Live(partial(look, seen, row))

        policy = PowerOfChoices(always(drawn), in_flight=in_flight, latency=Load().latency, choices=2)
        policy.use(candidates(*[1.0] * count), 0.0)
        policy.pick((), 0.0)
        pairs[tuple(seen)] += 1
    assert len(pairs) == count * (count - 1)
    assert set(pairs.values()) == {1}


def test_a_retry_looks_at_all_that_are_left():
    load = Load(in_flight=(0, 5, 4, 3, 2))
    policy = p2c(candidates(1, 1, 1, 1, 1), load)
    assert row_of(policy, tried=[0]) == 4
    assert row_of(policy, tried=[0, 4]) == 3
    assert row_of(policy, tried=[0, 1, 2, 3, 4]) == 0


def test_equals_share_alike():
    policy = p2c(candidates(*[1] * 5), Load(), Random(3).randrange)
    shares = Counter(rows_of(policy, 5_000))
    assert all(abs(shares[row] - 1_000) < 120 for row in range(5))
    retries = Counter(row_of(policy, tried=[0]) for _ in range(4_000))
    assert all(abs(retries[row] - 1_000) < 120 for row in range(1, 5))


def keep_busy(policy: Policy, load: Load, dice: Random, *, concurrency: int, picks: int) -> Counter[int]:
    """Shares of a closed loop whose requests all take as long, whoever serves them."""
    running: list[int] = []
    shares: Counter[int] = Counter()
    for _ in range(picks):
        if len(running) == concurrency:
            load.counts[running.pop(dice.randrange(concurrency))] -= 1
        row = row_of(policy)
        running.append(row)
        load.counts[row] += 1
        shares[row] += 1
    return shares


@pytest.mark.parametrize("weights", [(1, 3), (1, 2, 3, 4), (0.5, 1, 1, 1.5), (1, 1, 1, 1)])
def test_under_load_shares_follow_weights(weights):
    """Within a tenth when all are looked at; two choices at random are coarser but keep the order."""
    dice = Random(7)
    load = Load()
    policy = p2c(candidates(*weights), load, dice.randrange, choices=len(weights) * 2)
    shares = keep_busy(policy, load, dice, concurrency=200, picks=20_000)
    for row, weight in enumerate(weights):
        assert shares[row] / 20_000 == pytest.approx(weight / sum(weights), rel=0.1)
    load = Load()
    shares = keep_busy(p2c(candidates(*weights), load, dice.randrange), load, dice, concurrency=200, picks=20_000)
    assert all(shares[row] < shares[row + 1] for row, (low, high) in enumerate(pairwise(weights)) if low < high)


def test_a_slow_backend_gets_less_and_not_nothing():
    """Ten times as slow, a third of the pairs: it must neither drown nor starve."""
    dice = Random(5)
    load = Load((1.0, 10.0), (1.0, 10.0), (10.0, 10.0))
    shares = keep_busy(p2c(candidates(1, 1, 1), load, dice.randrange), load, dice, concurrency=60, picks=10_000)
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
    load = Load(
        *[(total, weight) for total, weight, _, _ in readings], in_flight=[count for _, _, count, _ in readings]
    )
    members = [candidate(row, weight, ramp_until=now + row) for row, (_, _, _, weight) in enumerate(readings)]
    picks = {row_of(p2c(members, load, Random(seed).randrange, now=now), sorted(tried), now) for _ in range(2)}
    assert len(picks) == 1
    assert picks <= set(range(len(members)))
