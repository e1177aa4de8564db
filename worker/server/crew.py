"""What the workers of one gunicorn master share, and how each gets and leaves its place on the board."""

import logging
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sidecar.contract.config import Config
from sidecar.contract.events import Event, line
from sidecar.contract.masters import Presence
from worker.board import Board
from worker.server.handover import Handover
from worker.server.listeners import Listener, Role, address_of

logger = logging.getLogger(__name__)


def new_instance() -> str:
    """A name for a master that was given none: its pid alone is often the same in containers that share a host name."""
    return f"{os.getpid()}-{secrets.token_hex(2)}"


class Member(Protocol):
    """A worker before its fork, as gunicorn hands it to our hooks."""

    crew: "Crew"
    slot: int | None


@dataclass(frozen=True, slots=True)
class Pipe:
    """From any of the processes to any other; neither end ever waits."""

    reading: int
    writing: int

    @classmethod
    def make(cls, content: bytes = b"") -> "Pipe":
        """A new one, with something in it."""
        pipe = cls(*os.pipe())
        for end in (pipe.reading, pipe.writing):
            os.set_blocking(end, False)
        pipe.put(content)
        return pipe

    def put(self, content: bytes) -> None:
        """Nothing happens when it is full."""
        with suppress(BlockingIOError):
            os.write(self.writing, content)

    def take(self, size: int = 65_536) -> bytes:
        """What is in it, nothing when it is empty."""
        try:
            return os.read(self.reading, size)
        except BlockingIOError:
            return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The shared part of a master and its workers, made before the first fork; ``instance`` names the master in keys.

    ``config`` is what it began with, ``file`` where that came from, if from any; ``handover`` has what is in force.
    ``pre_fork`` and ``child_exit`` are gunicorn's server hooks.
    """

    config: Config
    board: Board
    listeners: tuple[Listener, ...]
    instance: str
    environ: Mapping[str, str]
    presence: Presence | None = None
    file: Path | None = None
    handover: Handover = field(init=False)
    _token: Pipe = field(default_factory=lambda: Pipe.make(b"!"))
    _reasons: Pipe = field(default_factory=Pipe.make)

    def __post_init__(self) -> None:
        object.__setattr__(self, "handover", Handover(self.config))

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

    def complain(self, reason: str) -> bool:
        """Leave word why a worker cannot start; True for the first of all: the others would say the same many times."""
        self._reasons.put(reason.encode()[:1_000] + b"\n")
        return bool(self._token.take(1))

    def hear_complaints(self) -> str:
        """The first that was left since the last call, empty for none; and from now on one may be said aloud again."""
        heard = self._reasons.take().decode(errors="replace")
        self._token.take()
        self._token.put(b"!")
        return heard.partition("\n")[0]
