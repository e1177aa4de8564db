"""The last view of each pool on this machine's disk, for workers that start while the store is gone.

Verdicts and what the operator asked for, no times that were still running. It is old knowledge whatever its age: its
epoch is 0, so anything that the store says replaces it. One worker writes, beside its loop, into the run directory.
"""

import asyncio
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sidecar.contract.codec import ContractError, decode_view, encode_view
from sidecar.contract.events import Event, line
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import View
from sidecar.contract.rundir import make_run_directory, run_directory
from worker.view import COPY_S, FRESH_S, Freshness, Knowledge

EVERY_S = 1.0
"""At most so often a copy is written."""
RESTAMP_S = 60.0
"""A view that still holds is written again after so long, so that its copy does not look older than it is."""
SIZE_LIMIT = 1 << 22
"""Of a file that is read; a view with its stamp is smaller."""

_log = logging.getLogger(__name__)


def wall_clock() -> float:
    """Unix seconds: the only clock that a process shares with the one that ran before it."""
    return time.time()  # noqa: TID251


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A view as it was left, and how long ago a living monitor had stood by it."""

    view: View
    age_s: float


class Copies:
    """The copies of all pools of this namespace."""

    def __init__(
        self,
        keys: Mapping[str, PoolKeys],
        knowledge: Mapping[str, Knowledge],
        *,
        namespace: str,
        environ: Mapping[str, str],
        is_scribe: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = wall_clock,
    ) -> None:
        """Prepare; touches no file yet.

        Args:
            keys: of each pool, by its name in the config.
            knowledge: what to copy; the same names.
            namespace: whose run directory to use.
            environ: says where that is.
            is_scribe: whether it is this worker that writes just now.
            clock: monotonic seconds.
            wall: unix seconds.
        """
        self._keys = keys
        self._knowledge = knowledge
        self._namespace = namespace
        self._environ = environ
        self._is_scribe = is_scribe
        self._clock = clock
        self._wall = wall
        self._written: dict[str, tuple[View, float]] = {}
        self._has_failed = False

    def recall(self) -> dict[str, Recalled]:
        """What the copies hold, by pool; those that are missing, old or unreadable are left out. Blocks on the disk."""
        recalled = {}
        for pool in list(self._keys):
            try:
                raw = self._read(pool)
                if raw is not None and (copy := decode_copy(raw, self._wall())) is not None:
                    recalled[pool] = copy
            except (ContractError, OSError) as error:
                _log.warning(line(Event.STORE_GARBAGE, part="copy", pool=pool, problem=str(error)))
        return recalled

    async def keep(self) -> None:
        """Write what has changed, each second at most, while this worker is the one to do so; until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                if self._is_scribe():
                    await self._write_due()
            except Exception as error:  # noqa: BLE001 - the root of the task: a full disk is no reason to stop serving
                self._note_failure(error)
            else:
                self._note_failure(None)

    async def _write_due(self) -> None:
        now = self._clock()
        for pool, knowledge in list(self._knowledge.items()):
            view, age_s = knowledge.view, knowledge.age_s(now)
            if view is None or age_s is None or knowledge.freshness(now) is not Freshness.FRESH:
                continue
            written, written_at = self._written.get(pool, (None, now))
            if self._knowledge.get(pool) is knowledge and (view is not written or now - written_at >= RESTAMP_S):
                await asyncio.to_thread(self._write, pool, view, self._wall() - age_s)
                self._written[pool] = (view, now)

    def _read(self, pool: str) -> bytes | None:
        """The file's content; None where there is none of this user's."""
        try:
            with (run_directory(self._namespace, self._environ) / self._name(pool)).open("rb") as file:
                return file.read(SIZE_LIMIT) if os.fstat(file.fileno()).st_uid == os.getuid() else None
        except FileNotFoundError:
            return None

    def _write(self, pool: str, view: View, confirmed_s: float) -> None:
        """Replace the file as a whole: a reader sees the old one or the new one. Mode 0600."""
        directory = make_run_directory(self._namespace, self._environ)
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=f".{self._name(pool)}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(encode_copy(view, confirmed_s))
            Path(temporary).replace(directory / self._name(pool))
        except OSError:
            with suppress(OSError):
                Path(temporary).unlink()
            raise

    def _name(self, pool: str) -> str:
        return f"view.{self._keys[pool].pool}.json"

    def _note_failure(self, error: Exception | None) -> None:
        """Log where it begins that nothing can be written, and where it ends."""
        had_failed, self._has_failed = self._has_failed, error is not None
        if error is not None and not had_failed:
            _log.warning(line(Event.STORE_DOWN, part="copy", reason=f"{type(error).__name__}: {error}"))
        elif error is None and had_failed:
            _log.warning(line(Event.STORE_UP, part="copy"))


def encode_copy(view: View, confirmed_s: float) -> bytes:
    """A copy's content: the view as published, and when a living monitor had last stood by it (unix seconds)."""
    return b'{"confirmed_s":%.3f,"view":%b}\n' % (confirmed_s, encode_view(view))


def decode_copy(raw: bytes, wall_s: float) -> Recalled | None:
    """Read a copy; None where it is older than ``COPY_S``, or from the future, which is a clock that was set back.

    Raises:
        ContractError: it is not what we write.
    """
    try:
        content = json.loads(raw)
        age_s = wall_s - float(content["confirmed_s"])
        view = decode_view(json.dumps(content["view"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ContractError(f"the copy of the view cannot be read: {type(error).__name__}: {error}") from error
    if not 0 <= age_s <= COPY_S:
        return None
    verdicts = {name: replace(each, ejected_ms=0, ramp_ms=0) for name, each in view.backends.items()}
    return Recalled(view=View(config_hash=view.config_hash, backends=verdicts), age_s=max(age_s, FRESH_S + EVERY_S))
