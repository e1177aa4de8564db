"""What retries and hedges may cost, over all workers of a host: two of them, on one board."""

import logging
from typing import Any

import pytest

from sidecar.contract.config import parse
from worker.allowance import NEVER_S, Allowance
from worker.board import Board, Places
from worker.failure import Failure

NOW = 1000.0
WINDOW_S = 10.0


class Worker:
    """One worker's allowance for the pool, and its pen."""

    def __init__(self, board: Board, slot: int | None, **sections: Any) -> None:
        backends = [f"http://10.0.0.{number}:80" for number in range(1, 4)]
        pool = {"backends": backends, **sections}
        config = parse({"store": {"url": "unix:///nowhere"}, "pools": {"api": pool}}, {}).pools["api"]
        seats = Places(board, slot).seats("api", config)
        rows = seats.rows.values()
        self.first, self.second, self.third = rows
        self.writer = seats.writer
        self.allowance = Allowance(
            "api", config.retry, config.hedging, rows=rows, board=seats.board, writer=seats.writer, now=NOW
        )

    def requests(self, count: int) -> None:
        for number in range(count):
            row = (self.first, self.second, self.third)[number % 3]
            self.writer.begin(row)
            self.writer.end(row)

    def retries(self, now: float, wanted: int) -> int:
        """How many of so many wanted are made."""
        made = 0
        for _ in range(wanted):
            if self.allowance.may_retry(now):
                self.writer.retry(self.first, Failure.RESET)
                self.writer.begin(self.second)
                self.writer.end(self.second)
                made += 1
        return made

    def hedges(self, now: float, wanted: int) -> int:
        made = 0
        for _ in range(wanted):
            if self.allowance.may_hedge(now):
                self.writer.begin(self.second)
                self.writer.hedge(self.second)
                self.writer.end(self.second)
                made += 1
        return made

    def answers(self, *times_s: float) -> None:
        for number, seconds in enumerate(times_s):
            self.writer.answer((self.first, self.second)[number % 2], 200, seconds, NOW)


def workers(count: int = 2, **sections: Any) -> list[Worker]:
    board = Board.create(8, 4)
    return [Worker(board, board.claim(), **sections) for _ in range(count)]


FRUGAL = {"budget_ratio": 0.2, "min_retries_per_s": 0.0}


def test_the_budget_is_one_for_all_workers():
    one, other = workers(retry=FRUGAL)
    one.requests(60)
    other.requests(40)
    assert one.retries(NOW + 1, 50) == 20
    assert other.retries(NOW + 1, 50) == 0
    other.requests(5)
    assert other.retries(NOW + 1.1, 50) == 1


def test_retries_and_hedges_are_no_requests_that_earn_more_of_them():
    [one] = workers(1, retry={"budget_ratio": 1.0, "min_retries_per_s": 0.0}, hedging={"budget_ratio": 0.5})
    one.requests(10)
    assert one.hedges(NOW + 1, 100) == 5
    assert one.retries(NOW + 1, 100) == 10
    assert one.hedges(NOW + 1, 100) == 0


def test_a_worker_past_the_last_slot_has_a_budget_of_what_it_sees_itself():
    board = Board.create(8, 1)
    Worker(board, board.claim(), retry=FRUGAL)
    alone = Worker(board, None, retry=FRUGAL)
    alone.requests(10)
    assert alone.retries(NOW + 1, 10) == 2


def test_the_budget_comes_back_with_time():
    [one] = workers(1, retry={"budget_ratio": 0.0, "min_retries_per_s": 1.0})
    assert one.retries(NOW + 0.5, 100) == 10
    for second in range(1, 13):
        one.allowance.tick(NOW + second)
    assert one.retries(NOW + 12.5, 100) == 10


def test_an_exhausted_budget_is_told_of_now_and_then(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING, "worker.allowance")
    [one] = workers(1, retry={"budget_ratio": 0.0, "min_retries_per_s": 0.0})
    for at in (0.0, 1.0, 9.9, 10.0, 11.0):
        assert not one.allowance.may_retry(NOW + at)
    assert [record.getMessage() for record in caplog.records] == [
        "retry-budget-exhausted pool=api refused=1",
        "retry-budget-exhausted pool=api refused=3",
    ]


def test_one_hedges_after_the_time_that_most_answers_of_all_workers_take():
    one, other = workers()
    assert one.allowance.hedge_after_s(NOW) == NEVER_S
    one.answers(*[0.02] * 60)
    other.answers(*[0.02] * 30, *[0.2] * 10)
    assert one.allowance.hedge_after_s(NOW + 0.5) == NEVER_S  # looked up once a second
    assert 0.1 < one.allowance.hedge_after_s(NOW + 1.0) <= 0.25


def test_the_quantile_is_the_configs():
    [one] = workers(1, hedging={"quantile": 0.5})
    one.allowance.hedge_after_s(NOW)
    one.answers(*[0.02] * 60, *[0.2] * 40)
    assert 0.01 < one.allowance.hedge_after_s(NOW + 1.0) <= 0.025


def test_nobody_hedges_on_a_few_answers_or_on_old_ones():
    [one] = workers(1)
    one.answers(*[0.02] * 100)
    one.allowance.hedge_after_s(NOW)
    one.answers(*[0.02] * 19)
    assert one.allowance.hedge_after_s(NOW + 1.0) == NEVER_S
    one.answers(0.02)
    assert one.allowance.hedge_after_s(NOW + 2.0) < NEVER_S
    assert one.allowance.hedge_after_s(NOW + 2.0 + 2 * WINDOW_S) == NEVER_S
