"""The reload of a monitor: its file is checked in a process of its own, and applied in place or not at all."""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from sidecar.contract.config import Config, ConfigError
from sidecar.contract.config.change import from_text
from sidecar.contract.events import Event, line
from sidecar.contract.masters import Presence

CHECK_S = 20.0
"""What a check may take; it needs 0.4 s (measured 2026-11), and on a crowded machine much more; a disk may hang."""
MAX_LINES = 10

log = logging.getLogger(__name__)


async def heed_reloads(
    asked: asyncio.Event,
    file: Path | None,
    environ: Mapping[str, str],
    apply: Callable[[Config], None],
    presence: Presence,
) -> None:
    """Reload whenever that is asked for, until cancelled; say in the log and by ``presence`` what came of it.

    Args:
        asked: set by whoever asks.
        file: read anew each time; None where all comes from the environment.
        environ: laid over the file.
        apply: raises ``ConfigError`` for what cannot be applied, and has changed nothing then.
        presence: this monitor's.
    """
    while True:
        await asked.wait()
        asked.clear()
        problems: list[str] = []
        try:
            apply(await checked(file, environ))
            log.info(line(Event.CONFIG, pid=os.getpid(), reload="applied"))
        except ConfigError as error:
            problems = error.problems[:MAX_LINES]
        for problem in problems:
            log.error(line(Event.CONFIG, pid=os.getpid(), reload="refused", problem=problem))
        told = presence.master
        presence.tell(replace(told, reloads=told.reloads + 1, refusal="\n".join(problems) or None))


async def checked(file: Path | None, environ: Mapping[str, str]) -> Config:
    """The config in a file, checked in a process of its own.

    Raises:
        ConfigError: it cannot be used, or not be read within ``CHECK_S``.
    """
    command = [sys.executable, "-P", "-m", "sidecar.contract.config", *([str(file)] if file else [])]
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environ, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        found, problems = await _outcome(process)
        if process.returncode == 0:
            return from_text(found)
    except (OSError, ValueError) as error:
        raise ConfigError([f"the check failed: {str(error) or 'it took too long'}"]) from error
    raise ConfigError(problems.decode(errors="replace").splitlines() or [f"the check: status {process.returncode}"])


async def _outcome(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """What it wrote, once it has ended; a check that takes too long is ended.

    Raises:
        TimeoutError: it took too long.
    """
    try:
        async with asyncio.timeout(CHECK_S):
            return await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
