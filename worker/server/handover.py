"""The config in force, as a master hands it to its workers: a file in memory that all of them have open.

The master has checked it; nobody reads the user's file again, which may have changed since. A worker that is forked
later has the latest one from its master, whose memory it begins with. Mode: none, it has no name; secrets are in it.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable

from sidecar.contract.config import Config
from sidecar.contract.config.change import from_text, to_text
from sidecar.contract.events import Event, line
from worker.board import Writer
from worker.board.memory import anonymous_file

LOOK_S = 0.05
"""How soon a worker notices; a look is one system call."""
_NUMBER = 8
_HEAD = _NUMBER + 32
"""Bytes: a number, and a digest of all the rest. Who reads while it is written sees it by that."""

logger = logging.getLogger(__name__)


class Handover:
    """Made before the first fork. ``config`` is the latest that this process knows, ``number`` counts them from 0."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.number = 0
        self._descriptor = anonymous_file()

    def give(self, config: Config) -> None:
        """Have all workers apply this one. For the master alone."""
        self.config = config
        self.number += 1
        number, text = self.number.to_bytes(_NUMBER), to_text(config).encode()
        os.pwrite(self._descriptor, number + _digest(number, text) + text, 0)
        os.ftruncate(self._descriptor, _HEAD + len(text))

    def take(self) -> Config | None:
        """What was given since; None: nothing, or it is being written just now."""
        number = os.pread(self._descriptor, _NUMBER, 0)
        if not number or int.from_bytes(number) == self.number:
            return None
        raw = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        number, digest, text = raw[:_NUMBER], raw[_NUMBER:_HEAD], raw[_HEAD:]
        if digest != _digest(number, text):
            return None
        self.number, self.config = int.from_bytes(number), from_text(text)
        return self.config


def _digest(number: bytes, text: bytes) -> bytes:
    return hashlib.sha256(number + text).digest()


async def heed(handover: Handover, apply: Callable[[Config], None], writer: Writer) -> None:
    """Apply what is given, until cancelled. What cannot be applied is logged, and the master is not told otherwise."""
    while True:
        try:
            if (config := handover.take()) is not None:
                apply(config)
                writer.applied(handover.number)
        except Exception:
            logger.exception(line(Event.CONFIG, pid=os.getpid(), reload="failed", number=handover.number))
        await asyncio.sleep(LOOK_S)
