"""The board of this process: that of its gunicorn master where its conf file has our hooks, else one of its own."""

from worker.board import Board, board_slots
from worker.board.membership import MAX_BACKENDS, membership


def shared_board() -> tuple[Board, int | None]:
    """The board, and our slot on it; None: there was none left. That nothing is shared is logged, once."""
    known = membership()
    if known is not None:
        return known.board, known.slot
    board = Board.create(MAX_BACKENDS, board_slots(1), used=0)
    return board, board.claim()
