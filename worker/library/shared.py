"""The board of this process: that of its gunicorn master where its conf file has our hooks, else one of its own."""

from functools import lru_cache

from worker.board import Board, Places, board_slots
from worker.board.membership import MAX_BACKENDS, membership


def shared_board() -> tuple[Board, int | None]:
    """The board, and our slot on it; None: there was none left. That nothing is shared is logged, once."""
    known = membership()
    if known is not None:
        return known.board, known.slot
    board = Board.create(MAX_BACKENDS, board_slots(1), used=0)
    return board, board.claim()


def shared_places() -> Places:
    """The places on that board.

    All engines of a process have the same ones where it has a slot: of two that call the same backend, the first to
    let go of it would else take the row from under the other.
    """
    known = membership()
    return Places(*shared_board()) if known is None else _of(known.board, known.slot)


@lru_cache(maxsize=1)
def _of(board: Board, slot: int | None) -> Places:
    return Places(board, slot)
