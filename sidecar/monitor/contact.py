"""Whether the store can be reached, logged once per change for all pools together."""

import logging

from sidecar.contract.events import Event, line
from sidecar.contract.whereabouts import without_password

log = logging.getLogger(__name__)


class Contact:
    """What the monitor's tasks found when they last spoke to the store."""

    def __init__(self, url: str) -> None:
        self._store = without_password(url)
        self._is_up: bool | None = None
        self._changed = 0.0

    def worked(self, started: float) -> None:
        """Something that started at this monotonic time was answered."""
        # An answer that was under way when another task found the store gone says nothing about now.
        if self._is_up is not True and started >= self._changed:
            self._is_up = True
            log.info(line(Event.STORE_UP, store=self._store))

    def failed(self, error: Exception, now: float) -> None:
        """Something was not answered."""
        if self._is_up is not False:
            self._is_up, self._changed = False, now
            log.warning(line(Event.STORE_DOWN, store=self._store, error=f"{type(error).__name__}: {error}"))
