"""The board's promises, with real forks where they are about processes."""

import os
import signal
from functools import partial
from math import exp, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forks import forked
from sidecar.contract.config import parse
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Tally
from waiting import eventually_sync
from worker.board import Board, board_for, board_slots, layout
from worker.board.directory import keys_of
from worker.failure import REFUSALS, RETRY_REASONS, Failure


def claimed(board: Board) -> int:
    slot = board.claim()
    assert slot is not None
    return slot


CONFIG = parse(
    {
        "pools": {
            "api": {"backends": ["http://127.0.0.1:1", {"url": "http://127.0.0.1:2", "id": "b"}]},
            "web": {"backends": ["http://127.0.0.1:1"], "balancing": {"decay_s": 1.5}},
        },
        "routes": [{"pool": "api"}],
        "listen": {"workers": 40},
    },
    {},
)


@pytest.fixture(params=["memfd", "file"])
def board(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Board:
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return Board.create(3, 4)


def test_every_backend_of_every_pool_has_a_row_before_there_is_a_worker():
    board = board_for(CONFIG)
    keys = [key for name, pool in CONFIG.pools.items() for key in keys_of(name, pool)]

    assert board.directory.reserve(keys) == [0, 1, 2]


def test_there_are_four_slots_a_worker_and_never_less_than_64():
    assert (board_slots(1), board_slots(16), board_slots(17)) == (64, 64, 68)
    assert (board_for(CONFIG).rows, board_for(CONFIG).slots) == (CONFIG.listen.max_backends, 160)


def test_slots_are_handed_out_from_the_lowest_until_none_is_left(board: Board):
    assert [board.claim() for _ in range(5)] == [0, 1, 2, 3, None]

    board.release(2)
    board.release(1)

    assert [board.claim() for _ in range(3)] == [1, 2, None]


def test_tunnels_end_with_their_worker_and_what_passed_through_them_stays_counted(board: Board):
    first, second = claimed(board), claimed(board)
    for slot in (first, second):
        board.writer(slot).tunnel(1)
        board.writer(slot).messages(1, 5)
    board.writer(second).tunnel(1)
    board.writer(second).tunnel_ended(1)
    assert [board.figures(row).tunnels for row in range(3)] == [0, 2, 0]

    board.release(first)

    assert board.figures(1).tunnels == 1
    assert board.figures(1).messages == 10


def test_releasing_a_worker_without_a_slot_changes_nothing(board: Board):
    board.writer(claimed(board)).begin(0)

    board.release(None)

    assert board.in_flight(0) == 1


def test_a_reader_sums_over_all_workers(board: Board):
    first, second = (board.writer(claimed(board)) for _ in range(2))
    first.begin(1)
    second.begin(1)
    second.begin(1)
    first.begin(0)
    second.end(1)

    assert [board.in_flight(row) for row in range(3)] == [1, 2, 0]


def test_everything_a_worker_sees_is_counted(board: Board):
    writer = board.writer(claimed(board))
    for latency_s in (0.25, 0.5):
        writer.begin(1)
        writer.answer(1, 200, latency_s, now=1.0)
        writer.end(1)
    writer.begin(1)
    writer.fail(1, 0.125, now=1.0)
    writer.retry(1, Failure.RESET)

    seen = Tally(inflight=1, requests=3, responses=2, failures=1, retries=1, latency_s=0.75)
    assert (board.tally(1), writer.tally(1)) == (seen, seen)
    assert (board.tally(0), board.tally(2)) == (Tally(), Tally())


@pytest.mark.parametrize(
    ("code", "kind"), [(100, 1), (199, 1), (204, 2), (304, 3), (499, 4), (500, 5), (999, 5), (42, 5)]
)
def test_a_response_is_counted_by_its_class(board: Board, code: int, kind: int):
    writer = board.writer(claimed(board))

    writer.status(1, code)

    assert board.figures(1).statuses == tuple(int(kind == each) for each in range(1, 6))
    assert board.figures(0).statuses == board.figures(2).statuses == (0, 0, 0, 0, 0)
    assert board.tally(1) == Tally()


def test_each_response_has_its_place_in_both_histograms_once_it_has_ended(board: Board):
    first, second = (board.writer(claimed(board)) for _ in range(2))
    first.answer(1, 200, 0.001, 1.0)
    second.answer(1, 200, 0.0011, 1.0)
    first.answer(1, 200, 0.02, 1.0, False)
    first.error(1, 500, 60.0, 1.0, False)
    heads = dict(zip((*BUCKETS, inf), board.first_bytes([1]), strict=True))
    assert {bound: count for bound, count in heads.items() if count} == {0.001: 1, 0.0025: 1, 0.025: 1, inf: 1}
    assert sum(board.figures(1).durations) == 2
    assert board.figures(1).duration_s == pytest.approx(0.0021)

    first.finish(1, 7.0)
    first.finish(1, 61.0)

    ends = dict(zip((*BUCKETS, inf), board.figures(1).durations, strict=True))
    assert {bound: count for bound, count in ends.items() if count} == {0.001: 1, 0.0025: 1, 10.0: 1, inf: 1}
    assert board.figures(1).duration_s == pytest.approx(0.0021 + 7 + 61)
    assert board.tally(1).responses == 4
    assert board.tally(1).latency_s == pytest.approx(0.0021 + 0.02 + 60)
    assert board.good(1) == 3


def test_several_backends_have_one_histogram_together(board: Board):
    writer = board.writer(claimed(board))
    for row in (0, 1, 1):
        writer.answer(row, 200, 0.003, 1.0)
    assert sum(board.first_bytes([0, 1])) == board.first_bytes([0, 1])[2] == 3
    assert sum(board.first_bytes([0])) == 1


def test_a_fast_failure_does_not_look_fast(board: Board):
    writer = board.writer(claimed(board))
    writer.fail(0, 0.001, now=10.0)
    writer.fail(1, 4.0, now=10.0)

    assert board.latency(0, now=10.0) == (1.0, 1.0)
    assert board.latency(1, now=10.0) == (4.0, 1.0)
    assert board.tally(1).latency_s == 0


def test_a_time_that_nobody_waited_out_counts_where_it_says_something(board: Board):
    """One that is below the mean is no sign that the backend became faster: nobody knows what it would have been."""
    writer = board.writer(claimed(board))
    writer.answer(0, 200, 0.1, 10.0)
    writer.outlasted(0, 0.01, 10.0)
    assert board.latency(0, 10.0) == (0.1, 1.0)
    writer.outlasted(0, 0.3, 10.0)
    assert board.latency(0, 10.0) == (0.4, 2.0)


def test_attempts_are_told_apart_over_rows_and_workers(board: Board):
    for slot in (claimed(board), claimed(board)):
        writer = board.writer(slot)
        for row in (0, 1):
            for _ in range(3):
                writer.begin(row)
        writer.retry(0, Failure.RESET)
        writer.hedge(1)
    assert board.attempts((0, 1)) == (12, 2, 2)
    assert board.attempts((0,)) == (6, 2, 0)
    assert [board.figures(row).hedges for row in (0, 1)] == [0, 2]


def test_a_retry_is_counted_by_its_reason(board: Board):
    writer = board.writer(claimed(board))
    for failure in (Failure.REFUSED, Failure.TLS, Failure.GATEWAY_ERROR):
        writer.retry(1, failure)
    assert dict(zip(RETRY_REASONS, board.figures(1).retries, strict=True)) == {
        "connect_failure": 2,
        "reset": 0,
        "timeout": 0,
        "gateway_error": 1,
    }
    assert board.tally(1).retries == 3


def test_what_was_refused_stays_counted_when_its_worker_is_gone(board: Board):
    for slot in (claimed(board), claimed(board)):
        board.writer(slot).refuse(Failure.NO_ROUTE)
        board.release(slot)
    assert {failure: n for failure, n in zip(REFUSALS, board.refusals(), strict=True) if n} == {Failure.NO_ROUTE: 2}


def test_every_refusal_and_every_reason_has_a_cell_of_its_own():
    assert len(REFUSALS) <= layout.REFUSAL_WORDS
    assert layout.RETRIED + len(RETRY_REASONS) <= layout.VIEW_EPOCH < layout.VIEW_AT < layout.COUNTER_WORDS


def test_the_view_that_a_worker_follows_is_told_while_it_lives_and_has_the_pool(board: Board):
    first, second = claimed(board), claimed(board)
    board.writer(first).routes_on(1, 7, 12.5)
    writer = board.writer(second)
    writer.routes_on(1, 0, 0.0)
    assert board.views(1) == [(7, 12.5), (0, 0.0)]
    assert board.views(0) == []

    board.release(first)
    assert board.views(1) == [(0, 0.0)]
    writer.routes_on(1, None, 0.0)
    assert board.views(1) == []


def test_whether_the_store_answers_is_told_by_each_worker_once_it_knows(board: Board):
    writers = [board.writer(claimed(board)) for _ in range(3)]
    writers[0].hears(store_up=True)
    writers[1].hears(store_up=False)
    assert [state.store_up for state in board.states()] == [True, False, None]


def test_a_backend_without_samples_has_no_latency(board: Board):
    claimed(board)

    assert board.latency(0, now=1e9) == (0.0, 0.0)


SAMPLES = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 20), st.floats(0.0001, 60), st.booleans()), min_size=1, max_size=30
)


@given(samples=SAMPLES, wait=st.floats(0, 20))
def test_the_split_over_slots_does_not_change_the_decayed_sums(
    samples: list[tuple[int, float, float, bool]], wait: float
):
    board = Board.create(1, 4, decay_s=3.0)
    writers = [board.writer(claimed(board)) for _ in range(4)]
    now, told = 100.0, []
    for slot, pause, seconds, is_failure in samples:
        now += pause
        if is_failure:
            writers[slot].fail(0, seconds, now)
        else:
            writers[slot].answer(0, 200, seconds, now)
        told.append((now, max(seconds, 1.0) if is_failure else seconds))
    now += wait

    total, weight = board.latency(0, now)

    assert total == pytest.approx(sum(seconds * exp(-(now - at) / 3) for at, seconds in told))
    assert weight == pytest.approx(sum(exp(-(now - at) / 3) for at, _ in told))


def test_a_clock_reading_from_before_the_last_sample_does_not_blow_up(board: Board):
    writer = board.writer(claimed(board))
    writer.answer(0, 200, 1.0, now=1e6)

    writer.answer(0, 200, 1.0, now=0.0)

    assert board.latency(0, now=0.0) == (2.0, 2.0)


def test_siblings_see_how_far_a_worker_is(board: Board):
    slot = claimed(board)
    assert [(state.slot, state.pid, state.booted) for state in board.states()] == [(slot, 0, False)]

    writer = board.writer(slot)
    writer.mark(booted=True)
    writer.beat(12.5)
    (state,) = board.states()
    assert (state.pid, state.booted, state.draining, state.heartbeat_s) == (os.getpid(), True, False, 12.5)

    writer.mark(draining=True)
    (state,) = board.states()
    assert (state.booted, state.draining, writer.is_draining) == (True, True, True)

    board.release(slot)
    assert board.states() == []


def test_a_worker_past_the_last_slot_counts_for_itself_alone(board: Board):
    writer = board.writer(None)
    writer.begin(2)
    writer.answer(2, 200, 0.5, now=1.0)
    writer.mark(booted=True)

    assert writer.tally(2) == Tally(inflight=1, requests=1, responses=1, latency_s=0.5)
    assert board.tally(2) == Tally()
    assert board.states() == []


def test_a_respawned_worker_gets_a_clean_slot_and_the_totals_go_on(board: Board):
    slot = claimed(board)
    dead = board.writer(slot)
    dead.begin(0)
    dead.answer(0, 200, 0.5, now=1.0)
    dead.mark(booted=True, draining=True)

    board.release(slot)
    assert board.claim() == slot
    heir = board.writer(slot)

    assert heir.tally(0) == Tally()
    assert not heir.is_draining
    assert board.tally(0) == Tally(requests=1, responses=1, latency_s=0.5)
    heir.begin(0)
    assert heir.tally(0) == Tally(inflight=1, requests=1)
    assert board.tally(0) == Tally(inflight=1, requests=2, responses=1, latency_s=0.5)
    assert board.figures(0).statuses == (0, 1, 0, 0, 0)


def test_what_a_dead_worker_learned_of_latency_fades_instead_of_vanishing(board: Board):
    slot = claimed(board)
    board.writer(slot).answer(0, 200, 2.0, now=0.0)

    board.release(slot)

    assert board.latency(0, now=1.0) == pytest.approx((2 * exp(-1), exp(-1)))


def test_in_flight_of_a_killed_worker_is_gone_for_its_siblings(board: Board):
    doomed_slot, sibling_slot = claimed(board), claimed(board)

    def hold() -> None:
        writer = board.writer(doomed_slot)
        for _ in range(50):
            writer.begin(1)
        signal.pause()

    def watch() -> None:
        writer = board.writer(sibling_slot)
        writer.begin(1)
        eventually_sync(lambda: board.in_flight(1) == 51)
        writer.mark(booted=True)
        eventually_sync(lambda: board.in_flight(1) == 1)

    with forked(hold) as doomed, forked(watch) as sibling:
        eventually_sync(lambda: [state.slot for state in board.states() if state.booted] == [sibling_slot])

        doomed.kill()
        board.release(doomed_slot)

        assert sibling.wait() == 0
    assert board.in_flight(1) == 1
    assert board.tally(1).requests == 51


def test_two_writers_never_disturb_each_other_and_readers_see_no_torn_count(board: Board):
    rounds = 20_000

    def count(slot: int) -> None:
        writer = board.writer(slot)
        for turn in range(rounds):
            writer.begin(0)
            writer.answer(0, 200, 1.0, now=float(turn))
            writer.end(0)
        writer.mark(booted=True)

    slots = [claimed(board), claimed(board)]
    seen, requests = set(), 0
    with forked(partial(count, slots[0])) as first, forked(partial(count, slots[1])) as second:
        while not all(state.booted for state in board.states()):
            seen.add(board.in_flight(0))
            before, requests = requests, board.tally(0).requests
            assert requests >= before
        assert (first.wait(), second.wait()) == (0, 0)

    assert seen <= {0, 1, 2}
    assert board.tally(0) == Tally(requests=2 * rounds, responses=2 * rounds, latency_s=2.0 * rounds)
    assert board.figures(0).statuses == (0, 2 * rounds, 0, 0, 0)


def test_totals_never_fall_while_workers_die_and_are_replaced(board: Board):
    deaths, each = 20, 100

    def watch() -> None:
        requests = responses = 0
        while requests < deaths * each:
            tally = board.tally(0)
            assert tally.requests >= requests
            assert tally.responses >= responses
            requests, responses = tally.requests, tally.responses

    def serve(slot: int) -> None:
        writer = board.writer(slot)
        for _ in range(each):
            writer.begin(0)
            writer.answer(0, 200, 0.01, now=1.0)
        writer.mark(booted=True)
        signal.pause()

    with forked(watch) as watcher:
        for _ in range(deaths):
            slot = claimed(board)
            with forked(partial(serve, slot)) as worker:
                eventually_sync(lambda: [state.booted for state in board.states()] == [True], every=0.001)
                worker.kill()
                board.release(slot)
        assert watcher.wait() == 0
    assert board.tally(0).requests == deaths * each
    assert board.in_flight(0) == 0


def test_a_backend_that_came_back_starts_without_the_history_of_its_failures(board: Board):
    writer = board.writer(board.claim())
    writer.fail(0, 0.001, 10.0)
    writer.forget(0)
    assert board.latency(0, 10.0) == (0.0, 0.0)
    assert board.tally(0).failures == 1
