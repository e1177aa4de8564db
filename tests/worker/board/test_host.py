"""What is decided for the whole host: it outlives the worker that decided, and only one decides at a time."""

import os
import signal
from functools import partial

import pytest

from forks import forked
from waiting import eventually_sync
from worker.board import Board
from worker.outlier import Phase, Standing

NOW = 1000.0


@pytest.fixture(params=["memfd", "file"])
def board(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Board:
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return Board.create(3, 4)


def test_nothing_is_held_against_a_new_backend(board: Board):
    assert board.host.standing(1) == Standing()


def test_an_ejection_is_one_backends_and_ends_with_its_readmission(board: Board):
    board.host.eject(1, NOW, NOW + 5, 1)
    board.host.eject(1, NOW + 6, NOW + 16, 2)
    assert board.host.standing(1) == Standing(ejected_at=NOW, ejected_until=NOW + 16, ejections=2)
    assert board.host.standing(0) == board.host.standing(2) == Standing()

    board.host.readmit(1, NOW + 20)
    back = board.host.standing(1)
    assert (back.phase(NOW + 20), back.ejections, back.readmitted_at) == (Phase.IN, 2, NOW + 20)
    board.host.eject(1, NOW + 30, NOW + 31, 3)
    assert board.host.standing(1).ejected_at == NOW + 30


def test_an_ejection_outlives_the_worker_that_decided_it(board: Board):
    slot = board.claim()

    def decide() -> None:
        writer = board.writer(slot)
        board.host.eject(2, NOW, NOW + 5, 1)
        writer.mark(booted=True)
        signal.pause()

    with forked(decide) as worker:
        eventually_sync(lambda: [state.booted for state in board.states()] == [True], every=0.001)
        worker.kill()
        board.release(slot)
    assert board.host.standing(2).phase(NOW) is Phase.OUT


def test_a_lock_excludes_other_processes_without_waiting_and_dies_with_its_holder(board: Board):
    slot = board.claim()

    def hold() -> None:
        writer = board.writer(slot)
        with board.memory.lock(0) as had:
            writer.mark(booted=had)
            signal.pause()

    with forked(hold) as holder:
        eventually_sync(lambda: [state.booted for state in board.states()] == [True], every=0.001)
        with board.memory.lock(0) as mine, board.memory.lock(1) as another:
            assert (mine, another) == (False, True)
        holder.kill()
        with board.memory.lock(0) as mine:
            assert mine


def test_a_lock_is_given_back(board: Board):
    def take() -> None:
        with board.memory.lock(0) as had:
            assert had

    with board.memory.lock(0):
        pass
    with forked(take) as other:
        assert other.wait() == 0


def test_only_one_of_many_workers_gets_the_canary(board: Board):
    slots = [board.claim() for _ in range(4)]
    board.host.eject(0, NOW, NOW, 1)

    def race(slot: int | None) -> None:
        writer = board.writer(slot)
        writer.mark(booted=True)
        eventually_sync(lambda: all(state.booted for state in board.states()), every=0.001)
        with board.memory.lock(0) as had:
            if had and board.host.standing(0).phase(NOW) is Phase.PROBATION:
                board.host.claim(0, writer.identity, NOW + 5)
                writer.begin(0)
        writer.mark(draining=True)
        signal.pause()

    with (
        forked(partial(race, slots[0])),
        forked(partial(race, slots[1])),
        forked(partial(race, slots[2])),
        forked(partial(race, slots[3])),
    ):
        eventually_sync(lambda: all(state.draining for state in board.states()))
        assert board.in_flight(0) == 1
        assert board.host.standing(0).phase(NOW) is Phase.TRIAL


def test_the_canary_of_a_dead_worker_is_free_as_soon_as_its_slot_is(board: Board):
    slot = board.claim()
    board.host.eject(0, NOW, NOW, 1)

    def claim() -> None:
        writer = board.writer(slot)
        board.host.claim(0, writer.identity, NOW + 60)
        writer.mark(booted=True)
        signal.pause()

    with forked(claim) as worker:
        eventually_sync(lambda: board.host.standing(0).phase(NOW) is Phase.TRIAL, every=0.001)
        before = board.generation[0]
        worker.kill()
        board.release(slot)
    assert board.host.standing(0).phase(NOW) is Phase.PROBATION
    assert board.generation[0] != before


def test_the_canary_of_a_worker_past_the_last_slot_ends_with_its_deadline(board: Board):
    writer = board.writer(None)
    board.host.eject(0, NOW, NOW, 1)
    board.host.claim(0, writer.identity, NOW + 5)
    assert board.host.standing(0).phase(NOW + 4) is Phase.TRIAL
    assert board.host.standing(0).phase(NOW + 5) is Phase.PROBATION


def test_a_canary_is_its_owners_alone(board: Board):
    first, second = (board.writer(board.claim()) for _ in range(2))
    board.host.claim(0, first.identity, NOW + 5)
    assert board.host.owns(0, first.identity)
    assert not board.host.owns(0, second.identity)
    board.host.unclaim(0)
    assert not board.host.owns(0, first.identity)


def test_a_streak_is_the_whole_hosts_and_ends_with_anybodys_good_response(board: Board):
    first, second = (board.writer(board.claim()) for _ in range(2))
    for writer in (first, second, first):
        writer.blame(0, answered=False)
    assert (board.streak(0), board.bad(0), board.streak(1)) == (3, 3, 0)
    second.answer(0, 200, 0.1, NOW)
    assert board.streak(0) == 0
    first.blame(0, answered=False)
    assert (board.streak(0), board.bad(0)) == (1, 4)


def test_a_bad_answer_is_a_response_and_does_not_end_a_streak(board: Board):
    writer = board.writer(board.claim())
    for _ in range(3):
        writer.error(0, 500, 0.1, NOW)
        writer.blame(0, answered=False)
    assert (board.streak(0), board.good(0), board.tally(0).responses) == (3, 0, 3)
    assert (board.figures(0).statuses[4], writer.ok_started(0)) == (3, None)


def test_a_response_that_was_cut_short_was_not_a_good_one(board: Board):
    writer = board.writer(board.claim())
    for _ in range(3):
        writer.answer(0, 200, 0.1, NOW)
        writer.blame(0, answered=True)
    assert (board.streak(0), board.good(0)) == (3, 0)


def test_a_hard_failure_is_for_all_to_see_until_it_is_forgotten(board: Board):
    first, second = (board.writer(board.claim()) for _ in range(2))
    first.skip(0, NOW + 1)
    second.skip(0, NOW + 2)
    assert (board.skip_until(0), board.skip_until(1)) == (NOW + 2, 0.0)


def test_each_announcement_is_another_generation(board: Board):
    seen = [board.generation[0]]
    for slot in (0, 1, 1023, 0xFFFF):
        board.announce(slot)
        seen.append(board.generation[0])
    assert len(set(seen)) == len(seen)


def test_a_worker_says_when_the_attempt_began_that_it_last_saw_succeed(board: Board):
    slot = board.claim()
    writer = board.writer(slot)
    assert writer.ok_started(0) is None
    writer.answer(0, 404, 0.25, NOW)
    assert writer.ok_started(0) == NOW - 0.25
    writer.error(0, 500, 0.25, NOW + 1)
    assert writer.ok_started(0) == NOW - 0.25
    assert board.writer(slot).ok_started(0) is None
