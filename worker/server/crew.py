"""What the workers of one gunicorn master share, and how each gets and leaves its place on the board."""

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sidecar.contract.config import Config
from sidecar.contract.events import Event, line
from worker.board import Board
from worker.server.listeners import Listener, Role, address_of

logger = logging.getLogger(__name__)


class Member(Protocol):
    """A worker before its fork, as gunicorn hands it to our hooks."""

    crew: "Crew"
    slot: int | None


def _one_token() -> int:
    """A pipe with one byte in it; its end to read from."""
    reading, writing = os.pipe()
    os.write(writing, b"!")
    os.close(writing)
    return reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The shared part of a master and its workers, made before the first fork; ``instance`` names the master in keys.

    ``pre_fork`` and ``child_exit`` are gunicorn's server hooks.
    """

    config: Config
    board: Board
    listeners: tuple[Listener, ...]
    instance: str
    environ: Mapping[str, str]
    _token: int = field(default_factory=_one_token)

    def pre_fork(self, arbiter: object, worker: Member) -> None:  # noqa: ARG002 (gunicorn counts the parameters)
        """Give the worker that is about to be forked its slot. Never raises: that would end the master."""
        worker.crew = self
        worker.slot = self.board.claim()
        if worker.slot is None:
            logger.warning(line(Event.SLOTS_EXHAUSTED, slots=self.board.slots))

    def child_exit(self, arbiter: object, worker: Member) -> None:  # noqa: ARG002
        """Take back the slot of a worker whose process is gone, on the board that it came from."""
        worker.crew.board.release(worker.slot)

    def is_admin(self, bound: socket.socket) -> bool:
        """Whether a socket is for our own endpoints; one that nobody knows is public."""
        address = address_of(bound)
        return any(listener.role is Role.ADMIN and listener.address == address for listener in self.listeners)

    def may_complain(self) -> bool:
        """True for the first worker of all that asks: workers that cannot boot would say the same many times."""
        return bool(os.read(self._token, 1))
