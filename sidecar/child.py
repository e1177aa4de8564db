"""One program of ours as a child process: in a session of its own, and never alive for long without us.

A session of its own keeps a terminal's Ctrl-C away from it: the order of the end is ours to decide. Should we die
without a word (``kill -9``), the kernel sends it SIGTERM: the workers drain, and the store removes its socket, which it
would leave behind after a SIGKILL.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from typing import IO

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.02
LIBC = ctypes.CDLL(None)
FOR_LATER = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What we pass on, and what would end a child that has no handlers yet."""


def adopt_orphans() -> None:
    """Have the children of our dead children become ours, so that they can be awaited and reaped. Linux only."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def _ends_with_us() -> Callable[[], None]:
    """For a child before its exec: ask the kernel for SIGTERM when the thread that called this is gone."""
    parent = os.getpid()

    def ask() -> None:
        for number in FOR_LATER:
            signal.signal(number, signal.SIG_IGN)
        if hasattr(LIBC, "prctl"):
            LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # we died between the fork and the request
            os._exit(1)

    return ask


class Child:
    """A program and the process it runs as at the moment.

    Args:
        name: what people call it, in log lines and reasons.
    """

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.name = name
        self.command = tuple(command)
        self._environ = dict(environ)
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process, which is the leader of its session and group; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, output: IO[bytes] | None = None) -> None:
        """Start it; call this from the main thread, whose end the kernel watches.

        Args:
            output: where its stdout and stderr go; None: where ours go.

        Raises:
            OSError: it cannot be executed.
        """
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            env=self._environ,
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_ends_with_us(),
        )

    async def wait(self) -> int:
        """Its exit status, once it ended; -N after signal N. 0 when it never started."""
        return await self._process.wait() if self._process else 0

    def send(self, number: signal.Signals) -> None:
        """A signal to the program itself; nothing happens when it has ended."""
        if self._process and self.is_running:
            self._process.send_signal(number)

    def send_group(self, number: signal.Signals) -> None:
        """A signal to everything it started that stayed in its group, even when it has ended itself."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def gone(self) -> None:
        """Wait until nothing of its group runs any more."""
        await self.wait()
        while self.pid and _group_exists(self.pid):  # noqa: ASYNC110 - nobody tells when a grandchild ends
            await asyncio.sleep(POLL_S)

    async def stop(self, number: signal.Signals = signal.SIGTERM, *, limit_s: float) -> bool:
        """Ask it to end, and whatever is left of its group; by force after ``limit_s``.

        Returns:
            Whether it ended without force.
        """
        if self.is_running:
            self.send(number)
        else:
            self.send_group(number)
        try:
            async with asyncio.timeout(limit_s):
                await self.gone()
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        """End it and its group at once."""
        self.send_group(signal.SIGKILL)
        await self.gone()


def how_it_ended(status: int) -> str:
    """An exit status as people say it."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"


def _group_exists(group: int) -> bool:
    """Whether a process of this group runs; those of them that became our children and ended are reaped."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
