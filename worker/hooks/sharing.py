"""gunicorn's server hooks, by gunicorn's names: one board for the workers of a user's own app.

The board is made in the master, before it forks. gunicorn calls them with its Arbiter and its workers.
"""

import logging
from typing import Any

from sidecar.contract.events import Event, line
from worker.board import Board, board_slots
from worker.board.membership import MAX_BACKENDS, Membership, found, join
from worker.server.crew import new_instance

logger = logging.getLogger(__name__)


def on_starting(server: Any) -> None:  # noqa: ANN401 - gunicorn ships no types
    """Make the board."""
    _membership(server)


def pre_fork(server: Any, worker: Any) -> None:  # noqa: ANN401
    """Give the worker that is about to be forked its slot."""
    board = _membership(server).board
    worker.sidebeat_slot = board.claim()
    if worker.sidebeat_slot is None:
        logger.warning(line(Event.SLOTS_EXHAUSTED, slots=board.slots))


def post_fork(server: Any, worker: Any) -> None:  # noqa: ANN401, ARG001 - gunicorn counts the parameters
    """Let the library find the slot."""
    join(getattr(worker, "sidebeat_slot", None))


def child_exit(server: Any, worker: Any) -> None:  # noqa: ANN401
    """Take back the slot of a worker whose process is gone."""
    _membership(server).board.release(getattr(worker, "sidebeat_slot", None))


def _membership(server: Any) -> Membership:  # noqa: ANN401
    """What this master shares with its workers; made only once, since each reload executes the conf file again."""
    slots = board_slots(server.cfg.workers)
    return found(lambda: Membership(board=Board.create(MAX_BACKENDS, slots, used=0), instance=new_instance()))
