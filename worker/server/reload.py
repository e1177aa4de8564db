"""The reload of one master: the file is checked in a process of its own, and what it holds is handed to the workers.

Nothing of it waits: it begins, the check's end is told by whoever reaps it, and a look now and then sees whether the
workers have applied it. Nothing raises either: an exception would end the master.
"""

import logging
import os
import signal
import sys
import time
from dataclasses import dataclass, replace

from sidecar.contract.config import Config, ConfigError
from sidecar.contract.config.change import from_text, pinned
from sidecar.contract.events import Event, line
from worker.board.memory import anonymous_file
from worker.secret import with_secrets
from worker.server.crew import Crew

CHECK_S = 20.0
"""What a check may take; it needs 0.4 s (measured 2026-11), and on a crowded machine much more; a disk may hang."""
APPLY_S = 5.0
"""When a worker that has not applied what it was given is worth a line; they look twenty times a second."""
MAX_LINES = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """A check under way, and where it writes."""

    pid: int
    began: float
    found: int
    problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handed:
    """What the workers are to apply."""

    number: int
    at: float
    began: float


class Reload:
    """One after the other: who asks during a check gets another one, since that may have read the file already."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._check: _Check | None = None
        self._handed: _Handed | None = None
        self._is_asked_again = False

    @property
    def is_under_way(self) -> bool:
        """Whether there is something to look for."""
        return self._check is not None or self._handed is not None

    def begin(self) -> None:
        """Have the file read and checked."""
        if self._check is not None:
            self._is_asked_again = True
            return
        found, problems = anonymous_file(), anonymous_file()
        file = self._crew.file
        command = [sys.executable, "-P", "-m", "sidecar.contract.config", *([str(file)] if file else [])]
        nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        actions = [nothing, (os.POSIX_SPAWN_DUP2, found, 1), (os.POSIX_SPAWN_DUP2, problems, 2)]
        try:
            pid = os.posix_spawn(command[0], command, self._crew.environ, file_actions=actions, setsigmask=())
        except OSError as error:
            os.close(found)
            os.close(problems)
            self._refuse([f"the check could not be started: {error.strerror}"])
        else:
            self._check = _Check(pid=pid, began=time.monotonic(), found=found, problems=problems)

    def ended(self, pid: int, status: int) -> None:
        """A child that is no worker has ended; act on what it found if it was the check."""
        if self._check is None or self._check.pid != pid:
            return
        check, self._check = self._check, None
        found, said = _content(check.found), _content(check.problems)
        if status == 0:
            self._consider(found, check.began)
        else:
            self._refuse(said.decode(errors="replace").splitlines() or [f"the check ended with status {status}"])
        if self._is_asked_again:
            self._is_asked_again = False
            self.begin()

    def _consider(self, found: bytes, began: float) -> None:
        crew = self._crew
        try:
            config = with_secrets(from_text(found), crew.environ)
        except ConfigError as error:
            self._refuse(error.problems)
        except ValueError as error:
            self._refuse([f"the check said something else than a config: {error}"])
        else:
            self._hand_over(config, began)

    def _hand_over(self, config: Config, began: float) -> None:
        handover = self._crew.handover
        if problems := pinned(handover.config, config):
            self._refuse(problems)
            return
        handover.give(config)
        self._handed = _Handed(number=handover.number, at=time.monotonic(), began=began)

    def look(self) -> None:
        """See how far it is."""
        now = time.monotonic()
        if self._check is not None and now >= self._check.began + CHECK_S:
            self.cancel()
        if self._handed is None:
            return
        behind = [state for state in self._crew.board.states() if state.booted and not state.draining]
        behind = [state for state in behind if state.config < self._handed.number]
        if not behind:
            took_s = now - self._handed.began
            self._handed = None
            logger.info(line(Event.CONFIG, pid=os.getpid(), reload="applied", took_s=took_s))
            self._tell(None)
        elif now >= self._handed.at + APPLY_S:
            self._handed = None
            self._refuse([f"worker {state.pid} has not applied it; its log says why" for state in behind])

    def cancel(self) -> None:
        """End a check that takes too long, or whose result nobody waits for."""
        if self._check is not None:
            os.kill(self._check.pid, signal.SIGKILL)

    def _refuse(self, problems: list[str]) -> None:
        for problem in problems[:MAX_LINES]:
            logger.error(line(Event.CONFIG, pid=os.getpid(), reload="refused", problem=problem))
        self._tell("\n".join(problems[:MAX_LINES]))

    def _tell(self, refusal: str | None) -> None:
        presence = self._crew.presence
        if presence is not None:
            presence.tell(replace(presence.master, reloads=presence.master.reloads + 1, refusal=refusal))


def _content(descriptor: int) -> bytes:
    """All that was written to a file, which is closed."""
    try:
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)
