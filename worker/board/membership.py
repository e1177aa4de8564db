"""Which board this process shares with its siblings, where their master is not one of ours.

Kept in a module, since gunicorn executes its conf file again at each reload: the master founds it before its first
fork, and each worker finds it here after the fork. Without a master that does so, every process is on its own.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from sidecar.contract.events import Event, line
from worker.board.board import Board

MAX_BACKENDS = 1_024
"""Of how many backends the workers of a user's app know together, as ``listen.max_backends`` has it for ours."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The board that all workers of a master have, and this worker's place on it.

    ``instance`` names the master in keys. ``slot`` is None in the master itself, and in a worker past the last slot.
    """

    board: Board
    instance: str
    slot: int | None = None


class _Process:
    """What this process knows of itself."""

    membership: Membership | None = None
    is_worker = False
    has_told = False


def found(make: Callable[[], Membership]) -> Membership:
    """In the master: what it shares with all its workers, made when this is called for the first time."""
    if _Process.membership is None:
        _Process.membership = make()
    return _Process.membership


def join(slot: int | None) -> None:
    """In a worker, right after its fork: it has this slot of what its master has founded, if that is so."""
    if _Process.membership is not None:
        _Process.membership = replace(_Process.membership, slot=slot)
        _Process.is_worker = True


def membership() -> Membership | None:
    """In a worker: where it belongs. None where no master founded anything, which the log says once."""
    if _Process.is_worker:
        return _Process.membership
    if not _Process.has_told:
        _Process.has_told = True
        _log.warning(line(Event.ALONE, reason="no hooks of worker.hooks: limits and ejection are per process"))
    return None
