"""The pools of several workers on one board, each made and closed at its own moment."""

import logging
from functools import cache
from itertools import combinations
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from sidecar.contract.config import Pool
from sidecar.contract.model import Tally
from worker.board import Board, Places, Seats

NOW = 1000.0


@cache
def pool(*backends: tuple[str, int]) -> Pool:
    """Backends by their ids, each of a generation, which is the port."""
    return Pool.model_validate(
        {"backends": [{"id": name, "url": f"http://10.0.0.1:{port}"} for name, port in backends]}
    )


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_pool_counts_where_its_siblings_do():
    board = Board.create(3, 2, used=0)
    one, other = (Places(board, board.claim()).seats("api", pool(("a", 1), ("b", 1))) for _ in range(2))
    one.writer.begin(one.rows["b"])
    assert one.rows == other.rows == {"a": 0, "b": 1}
    assert other.board.in_flight(other.rows["b"]) == 1


def test_an_old_and_a_new_generation_are_balanced_apart_while_workers_learn_of_the_change():
    board = Board.create(4, 2, used=0)
    early, late = (Places(board, board.claim()) for _ in range(2))
    old = [places.seats("api", pool(("a", 1), ("b", 1))) for places in (early, late)]
    old[0].writer.begin(old[0].rows["a"])
    new = early.seats("api", pool(("a", 2), ("b", 1)))
    old[0].close()
    new.writer.begin(new.rows["a"])

    assert old[1].board.in_flight(old[1].rows["a"]) == 1
    assert new.board.in_flight(new.rows["a"]) == 1
    assert new.rows["b"] == old[1].rows["b"]

    old[0].writer.end(old[0].rows["a"])
    assert [board.in_flight(row) for row in range(3)] == [0, 0, 1]


def test_two_pools_of_a_worker_may_have_the_same_rows_and_the_last_one_lets_go():
    board = Board.create(1, 2, used=0)
    places = Places(board, board.claim())
    first, second = (places.seats("api", pool(("a", 1))) for _ in range(2))
    first.close()
    first.close()
    stranger = Places(board, board.claim())
    assert stranger.seats("api", pool(("b", 1))).board is not board
    second.close()
    assert stranger.seats("api", pool(("b", 1))).board is board


def test_a_pool_without_room_is_balanced_by_each_worker_alone_which_is_told_once(caplog: pytest.LogCaptureFixture):
    board = Board.create(2, 3, used=0)
    crew = [Places(board, board.claim()) for _ in range(2)]
    assert all(places.seats("api", pool(("a", 1))).board is board for places in crew)
    one, other = (places.seats("web", pool(("a", 1), ("b", 1))) for places in crew)

    one.writer.begin(one.rows["b"])
    assert (one.board.in_flight(one.rows["b"]), other.board.in_flight(other.rows["b"])) == (1, 0)
    assert board.tally(0) == Tally()
    assert told(caplog) == ["board-full pool=web backends=2 max_backends=2"]
    one.close()


def test_a_worker_without_a_slot_sees_its_siblings_but_they_do_not_see_it():
    board = Board.create(2, 1, used=0)
    places, last = Places(board, board.claim()), Places(board, board.claim())
    seen, alone = (each.seats("api", pool(("a", 1))) for each in (places, last))
    for seats in (seen, alone):
        seats.writer.begin(seats.rows["a"])
    assert alone.board is board
    assert (board.in_flight(0), alone.writer.tally(0).inflight) == (1, 1)


def test_a_workers_own_tally_of_a_backend_starts_with_its_pool():
    board = Board.create(1, 1, used=0)
    places = Places(board, board.claim())
    for name in "ab":
        seats = places.seats("api", pool((name, 1)))
        row = seats.rows[name]
        seats.writer.begin(row)
        seats.writer.answer(row, 200, 0.1, NOW)
        seats.writer.end(row)
        assert seats.writer.tally(row) == Tally(requests=1, responses=1, latency_s=0.1)
        assert seats.writer.ok_started(row) == NOW - 0.1
        seats.close()


def test_each_pool_decays_at_its_own_pace():
    board = Board.create(2, 1, used=0)
    slow = Pool.model_validate({"backends": ["http://10.0.0.1:1"], "balancing": {"decay_s": 6.0}})
    quick = Pool.model_validate({"backends": ["http://10.0.0.1:1"], "balancing": {"decay_s": 1.5}})
    places = Places(board, board.claim())
    for name, config in (("slow", slow), ("quick", quick)):
        (row,) = places.seats(name, config).rows.values()
        places.writer.answer(row, 200, 1.0, NOW)
    assert board.latency(0, NOW + 3) > board.latency(1, NOW + 3)


class Crews(RuleBasedStateMachine):
    """Workers come, make pools, close them and are killed, in any order, beside a model of who uses which row."""

    ROWS, SLOTS = 5, 3
    BACKENDS = st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(1, 2)), min_size=1, max_size=4, unique_by=lambda b: b[0]
    )

    workers: Bundle[int] = Bundle("workers")
    seated: Bundle[tuple[int, Seats, dict[str, tuple[str, int]]]] = Bundle("seated")
    attempts: Bundle[tuple[int, Seats, int]] = Bundle("attempts")

    @initialize()
    def start(self) -> None:
        self.board = Board.create(self.ROWS, self.SLOTS, used=0)
        self.living: dict[int, tuple[int, Places]] = {}
        self.hired = 0
        self.open: list[tuple[int, Seats, dict[str, tuple[str, int]]]] = []
        self.under_way: list[tuple[int, Seats, int]] = []
        self.owner: dict[int, tuple[str, int]] = {}
        self.begun: dict[int, int] = {}

    @rule(target=workers)
    def hire(self) -> Any:
        if len(self.living) == self.SLOTS:
            return multiple()
        self.hired += 1
        slot = self.board.claim()
        assert slot is not None
        self.living[self.hired] = slot, Places(self.board, slot)
        return self.hired

    @rule(target=seated, worker=workers, backends=BACKENDS)
    def seat(self, worker: int, backends: list[tuple[str, int]]) -> Any:
        if worker not in self.living:
            return multiple()
        used = self.used()
        seats = self.living[worker][1].seats("api", pool(*backends))
        if seats.board is not self.board:
            new = [each for each in backends if each not in {self.owner[row] for row in used}]
            assert len(used) + len(new) > self.ROWS
            return multiple()
        for backend in backends:
            row = seats.rows[backend[0]]
            if self.owner.get(row) != backend:
                assert row not in used
                self.owner[row], self.begun[row] = backend, 0
            assert self.board.tally(row).requests == self.begun[row]
        opened = worker, seats, {name: (name, port) for name, port in backends}
        self.open.append(opened)
        return opened

    @rule(opened=consumes(seated))
    def close(self, opened: tuple[int, Seats, dict[str, tuple[str, int]]]) -> None:
        if opened in self.open:
            self.open.remove(opened)
            opened[1].close()

    @rule(target=attempts, opened=seated, data=st.data())
    def begin(self, opened: tuple[int, Seats, dict[str, tuple[str, int]]], data: st.DataObject) -> Any:
        if opened not in self.open:
            return multiple()
        worker, seats, _ = opened
        row = data.draw(st.sampled_from(sorted(seats.rows.values())))
        seats.writer.begin(row)
        self.begun[row] += 1
        self.under_way.append((worker, seats, row))
        return self.under_way[-1]

    @rule(attempt=consumes(attempts))
    def end(self, attempt: tuple[int, Seats, int]) -> None:
        if attempt in self.under_way:
            self.under_way.remove(attempt)
            attempt[1].writer.end(attempt[2])

    @rule(worker=consumes(workers))
    def kill(self, worker: int) -> None:
        if worker in self.living:
            slot, _ = self.living.pop(worker)
            self.open = [each for each in self.open if each[0] != worker]
            self.under_way = [each for each in self.under_way if each[0] != worker]
            self.board.release(slot)

    def used(self) -> set[int]:
        held = {row for _, seats, _ in self.open for row in seats.rows.values()}
        return held | {row for _, _, row in self.under_way}

    @invariant()
    def every_open_pool_has_the_rows_of_its_own_backends(self) -> None:
        for _, seats, backends in self.open:
            assert {name: self.owner[row] for name, row in seats.rows.items()} == backends

    @invariant()
    def no_two_backends_share_a_row(self) -> None:
        used = self.used()
        assert all(self.owner[one] != self.owner[other] for one, other in combinations(used, 2))

    @invariant()
    def nothing_under_way_is_lost(self) -> None:
        rows = [row for _, _, row in self.under_way]
        assert [self.board.in_flight(row) for row in range(self.ROWS)] == [rows.count(row) for row in range(self.ROWS)]


Crews.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCrews = Crews.TestCase
