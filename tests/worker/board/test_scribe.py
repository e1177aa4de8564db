"""Which worker does what one of a master does for all of them."""

from worker.board import Board
from worker.board.cells import HUNG_S

NOW = 1000.0


def test_it_is_the_lowest_that_lives():
    board = Board.create(1, 4)
    first, second = board.claim(), board.claim()
    assert board.scribe(NOW) is None
    for slot in (second, first):
        board.writer(slot).beat(NOW)
        assert board.scribe(NOW) == slot
    board.release(first)
    assert board.scribe(NOW) == second


def test_one_that_hangs_or_has_not_come_up_yet_is_passed_over():
    board = Board.create(1, 4)
    first, second = (board.writer(board.claim()) for _ in range(2))
    second.beat(NOW)
    assert board.scribe(NOW) == second.slot
    first.beat(NOW - HUNG_S)
    assert board.scribe(NOW) == second.slot
    first.beat(NOW)
    assert board.scribe(NOW) == first.slot


def test_where_nobody_has_come_up_yet_it_is_the_lowest():
    board = Board.create(1, 4)
    writers = [board.writer(board.claim()) for _ in range(2)]
    assert board.scribe(NOW) == writers[0].slot


def test_one_of_a_few_is_chosen_from_these_alone():
    board = Board.create(1, 3)
    for _ in range(3):
        board.writer(board.claim()).beat(NOW)
    assert board.scribe(NOW, {1, 2}) == 1
    assert board.scribe(NOW, set()) is None
