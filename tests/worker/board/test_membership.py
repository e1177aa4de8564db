import logging

import pytest

from worker.board import Board
from worker.board import membership as module
from worker.board.membership import Membership, found, join, membership


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has heard of nothing."""
    for name, value in (("membership", None), ("is_worker", False), ("has_told", False)):
        monkeypatch.setattr(module._Process, name, value)


def make() -> Membership:
    return Membership(board=Board.create(4, 2), instance="one")


def test_what_the_master_founded_is_found_in_each_worker():
    shared = found(make)
    assert found(make) is shared
    join(1)
    known = membership()
    assert known is not None
    assert (known.board, known.instance, known.slot) == (shared.board, "one", 1)


def test_a_process_on_its_own_says_so_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    join(0)
    assert membership() is membership() is None
    [record] = caplog.records
    assert record.getMessage() == 'alone reason="no hooks of worker.hooks: limits and ejection are per process"'


def test_a_master_that_loads_the_app_itself_is_no_worker():
    found(make)
    assert membership() is None
