"""The rolling restart of one master: what it has come to, in the log and for whoever asked for it."""

import logging
import os
import time
from dataclasses import replace

from sidecar.contract.events import Event, line
from sidecar.contract.masters import Master, Presence
from worker.server.rolling import Rolling

logger = logging.getLogger(__name__)


class Restart:
    """``rolling`` is None while none is under way."""

    def __init__(self, presence: Presence | None) -> None:
        """Set up; ``presence``: where to tell, None where nobody can ask."""
        self.rolling: Rolling | None = None
        self._presence = presence

    def begin(self, last_age: int, workers: int) -> None:
        """From now on workers up to this age are to be replaced, of which there are so many.

        One that is under way begins anew, and keeps the new worker that it waits for.
        """
        self.rolling = replace(self.rolling or Rolling(last_age=0), last_age=last_age)
        logger.info(line(Event.RESTARTING, pid=os.getpid(), workers=workers))
        if (told := self._told) is not None:
            begun = replace(told, restarts=told.restarts + 1, is_restarting=True, to_replace=workers)
            self._tell(replace(begun, replaced=0, failure=None))

    def awaits(self, pid: int) -> None:
        """A new worker is on its way."""
        if self.rolling is not None:
            self.rolling = self.rolling.awaiting(pid, time.monotonic())

    def is_awaited(self, pid: int) -> bool:
        """Whether this is the latest new worker."""
        return self.rolling is not None and self.rolling.newcomer == pid

    def retired(self, age: int) -> None:
        """A worker of this age was told to leave."""
        told = self._told
        if told is not None and self.rolling is not None and age <= self.rolling.last_age:
            self._tell(replace(told, replaced=told.replaced + 1))

    def end(self, failure: str | None = None) -> None:
        """It is over; ``failure`` says why not all are replaced. Those that were not serve on."""
        self.rolling = None
        if failure is None:
            logger.info(line(Event.RESTARTED, pid=os.getpid()))
        else:
            logger.error(line(Event.RESTART_FAILED, pid=os.getpid(), reason=failure))
        if (told := self._told) is not None:
            self._tell(replace(told, is_restarting=False, failure=failure))

    @property
    def _told(self) -> Master | None:
        return self._presence.master if self._presence is not None else None

    def _tell(self, master: Master) -> None:
        if self._presence is not None:
            self._presence.tell(master)
