"""Rows are given out, held, let go and given to others, by workers that know nothing of each other."""

import os
import signal
from contextlib import ExitStack
from functools import partial

import pytest

from forks import forked
from sidecar.contract.config import Pool
from waiting import eventually_sync
from worker.board import Board, directory
from worker.board.directory import Key, key_of, keys_of
from worker.failure import Failure
from worker.outlier import Standing

NOW = 1000.0


def keys(*ids: str, generation: str = "1") -> list[Key]:
    return [key_of("api", each, generation) for each in ids]


@pytest.fixture
def board() -> Board:
    return Board.create(3, 2, used=0)


@pytest.fixture
def slot(board: Board) -> int | None:
    return board.claim()


def test_a_backend_has_the_same_row_for_everybody_and_each_generation_its_own(board: Board, slot: int):
    other = board.claim()
    assert board.directory.hold(keys("a", "b"), slot) == [0, 1]
    assert board.directory.hold(keys("b", "a"), other) == [1, 0]
    assert board.directory.hold(keys("a", generation="2"), other) == [2]


def test_the_same_id_in_another_pool_or_with_another_url_or_tls_is_another_backend():
    def key(pool: str = "api", url: str = "https://10.0.0.1", **tls: object) -> Key:
        config = Pool.model_validate({"backends": [{"url": url, "id": "a"}], "tls": tls})
        return keys_of(pool, config)[0]

    assert len({key(), key("web"), key(url="https://10.0.0.2"), key(server_name="a.example")}) == 4
    assert key() == key()


def test_all_find_room_or_none(board: Board, slot: int):
    assert board.directory.hold(keys("a", "b"), slot) == [0, 1]
    assert board.directory.hold(keys("c", "d"), slot) is None
    assert board.directory.hold(keys("d"), slot) == [2]


def test_whoever_holds_a_row_is_known_by_slot(board: Board, slot: int):
    other = board.claim()
    board.directory.hold(keys("a", "b"), slot)
    board.directory.hold(keys("b"), other)
    board.directory.hold(keys("b"), None)
    assert [board.directory.holders(row) for row in range(3)] == [[0], [0, 1], []]


def test_what_nobody_holds_any_more_goes_to_others_once_there_is_nothing_fresh(board: Board, slot: int):
    board.directory.hold(keys("a", "b"), slot)
    board.directory.let_go(0, slot)
    assert board.directory.hold(keys("c"), slot) == [2]
    assert board.directory.hold(keys("d"), slot) == [0]
    assert board.directory.hold(keys("a"), slot) is None


def test_a_row_goes_to_nobody_else_while_a_request_is_under_way_or_another_worker_holds_it(board: Board, slot: int):
    other = board.claim()
    first = board.writer(slot)
    board.directory.hold(keys("a", "b", "c"), slot)
    board.directory.hold(keys("b"), other)
    first.begin(2)
    for row in range(3):
        board.directory.let_go(row, slot)
    assert board.directory.hold(keys("d", "e"), other) is None
    first.end(2)
    assert board.directory.hold(keys("d", "e"), other) == [0, 2]


def test_who_comes_back_in_time_finds_what_was_counted_and_decided(board: Board, slot: int):
    board.directory.hold(keys("a"), slot)
    board.writer(slot).begin(0)
    board.writer(slot).end(0)
    board.host.eject(0, NOW, NOW + 5, 1)
    board.directory.let_go(0, slot)
    assert board.directory.hold(keys("a"), slot) == [0]
    assert board.tally(0).requests == 1
    assert board.host.knows(0)


def test_a_row_that_was_somebody_elses_starts_at_zero_in_every_slot(board: Board, slot: int):
    other = board.claim()
    for each in (slot, other):
        writer = board.writer(each)
        board.directory.hold(keys("a", "b", "c"), each)
        writer.begin(0)
        writer.answer(0, 200, 0.5, NOW, False)
        writer.finish(0, 0.75)
        writer.fail(0, 1.0, NOW)
        writer.skip(0, NOW + 1)
        writer.retry(0, Failure.RESET)
        writer.end(0)
        board.directory.let_go(0, each)
    board.host.eject(0, NOW, NOW + 5, 1)
    neighbour = board.tally(1)

    assert board.directory.hold(keys("d"), slot) == [0]

    fresh = Board.create(3, 2)
    assert board.tally(0) == fresh.tally(0)
    assert board.figures(0).statuses == fresh.figures(0).statuses
    assert board.first_bytes([0]) == board.figures(0).durations == fresh.figures(0).durations
    assert (board.figures(0).duration_s, board.latency(0, NOW), board.skip_until(0)) == (0.0, (0.0, 0.0), 0.0)
    assert (board.host.standing(0), board.host.knows(0)) == (Standing(), False)
    assert board.tally(1) == neighbour


def test_what_a_killed_worker_held_is_free_when_its_slot_is(board: Board, slot: int):
    board.directory.hold(keys("a", "b", "c"), slot)
    board.writer(slot).begin(1)
    board.release(slot)
    assert board.directory.hold(keys("d", "e", "f"), board.claim()) == [0, 1, 2]
    assert board.in_flight(1) == 0


def test_what_workers_without_a_slot_hold_is_free_when_the_last_of_them_is_gone(board: Board, slot: int):
    board.claim()
    assert (board.claim(), board.claim()) == (None, None)
    board.directory.hold(keys("a", "b", "c"), None)
    board.directory.let_go(0, None)
    board.release(None)
    assert board.directory.hold(keys("d"), slot) is None
    board.release(None)
    assert board.directory.hold(keys("d"), slot) == [0]


def test_what_is_reserved_is_found_again_and_taken_from_nobody(board: Board, slot: int):
    assert board.directory.reserve(keys("a", "b")) == [0, 1]
    assert board.directory.reserve(keys("c", "d")) is None
    assert board.directory.reserve(keys("b", "c")) == [1, 2]
    assert board.directory.hold(keys("d"), slot) == [0]


def test_a_lock_that_does_not_come_free_is_not_waited_for(board: Board, slot: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(directory, "TRY_S", 0.0)
    board.directory.reserve(keys("a"))

    def hold() -> None:
        with board.memory.lock(board.rows) as had:
            board.writer(slot).mark(booted=had)
            signal.pause()

    with forked(hold) as holder:
        eventually_sync(lambda: any(state.booted for state in board.states()), every=0.001)
        assert board.directory.hold(keys("a"), slot) is None
        holder.kill()
    assert board.directory.hold(keys("a"), slot) == [0]


def test_workers_that_come_at_once_never_get_one_row_for_two_backends():
    board, each = Board.create(64, 4, used=0), 12

    def seat(slot: int | None) -> None:
        writer = board.writer(slot)
        for number in range(each):
            mine, everybodys = keys(f"{slot}-{number}", str(number))
            rows = board.directory.hold([mine, everybodys], slot)
            assert rows is not None
            for row in rows:
                writer.begin(row)

    with ExitStack() as stack:
        children = [stack.enter_context(forked(partial(seat, board.claim()))) for _ in range(4)]
        assert [child.wait() for child in children] == [0] * 4
    under_way = sorted(board.in_flight(row) for row in range(64))
    assert under_way == [0] * 4 + [1] * (4 * each) + [4] * each


@pytest.mark.parametrize("kind", ["memfd", "file"])
def test_room_for_many_backends_costs_nothing_until_they_come(kind: str, monkeypatch: pytest.MonkeyPatch):
    if kind == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    board = Board.create(16_384, 64, used=0)
    for _ in range(4):
        slot = board.claim()
        writer = board.writer(slot)
        for row in board.directory.hold(keys(*"abcdefgh"), slot) or ():
            writer.begin(row)
            writer.answer(row, 200, 0.01, NOW)
            writer.end(row)
            board.tally(row)
    for slot in range(2):
        board.release(slot)
    touched = os.fstat(board.memory._descriptor).st_blocks * 512
    assert touched < 200 << 10
