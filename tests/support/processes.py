"""Programs under test: started in a session of their own, watched through their logs, ended by pid.

Every program gets a mark in its environment, which its descendants inherit. So they are found in /proc even when their
parent is gone and they belong to init, and a test can say that nothing is left.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from waiting import eventually_sync

MARK = "TEST_PROGRAM_MARK"

# To look at every process instead takes 8 ms, and tests wait for children often (CONFIG_PROC_CHILDREN).
HAS_LISTS = Path("/proc/thread-self/children").exists()

# Run before the program: ask the kernel for a signal when the test run dies (PR_SET_PDEATHSIG is 1 in <linux/prctl.h>),
# take back what a shell's `&` and Python itself ignore, then become the program. A `preexec_fn` would do it too, but
# Python warns of a fork in a process with threads.
MORTAL = """
import ctypes, os, signal, sys
signal_number, parent = int(sys.argv[1]), int(sys.argv[2])
for ignored in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(ignored, signal.SIG_DFL)
ctypes.CDLL(None).prctl(1, signal_number)
if os.getppid() == parent:
    os.execvp(sys.argv[3], sys.argv[3:])
"""


def mortal(argv: Sequence[str | Path], signal_number: int = signal.SIGKILL) -> list[str]:
    """A command line for the same program that gets this signal when its starter dies; the pid stays the same."""
    return [sys.executable, "-I", "-S", "-c", MORTAL, str(int(signal_number)), str(os.getpid()), *map(str, argv)]


class Program:
    """A running program.

    `with Program(argv) as program:` kills it and all its descendants in the end. Its output goes to two files, so that
    nothing blocks on a full pipe; the environment is the test's own plus `env` (None as a value takes a name away).
    Start it in the main thread: the kernel takes the end of the starting thread for the end of the starter.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = [str(part) for part in argv]
        self._mark = f"{MARK}={uuid.uuid4()}"
        self._directory = tempfile.TemporaryDirectory(prefix="program-")
        self._out = Path(self._directory.name, "stdout")
        self._err = Path(self._directory.name, "stderr")
        name, value = self._mark.split("=")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                mortal(self.argv),
                env=_environment({**(env or {}), name: value}),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill_all()
        if error is not None:
            error.add_note(f"{' '.join(self.argv)} said:\n{self.output}")
        self._directory.cleanup()

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self._out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it complained about so far."""
        return self._err.read_text(errors="replace")

    @property
    def output(self) -> str:
        """Both, one after the other."""
        return self.stdout + self.stderr

    @property
    def status(self) -> int | None:
        """The exit status, -N for signal N; None while it runs."""
        return self._process.poll()

    def said(self, pattern: str) -> re.Match[str] | None:
        """The first match of a regular expression in its output so far; `^` and `$` mean lines."""
        return re.search(pattern, self.output, re.MULTILINE)

    def wait_for_line(self, pattern: str, *, within: float = 20.0) -> re.Match[str]:
        """The same once it is there; fails at once when the program ends without it. For tests without a loop:
        with one, use `await eventually(lambda: program.said(...))`, so that backends in the loop go on.
        """

        def match_or_end() -> re.Match[str] | bool:
            ended = self.status is not None  # asked first: what a program says last is there when it has ended
            return self.said(pattern) or ended

        met = eventually_sync(match_or_end, within=within, what=lambda: f"{pattern!r} in:\n{self.output}")
        assert isinstance(met, re.Match), f"{self.argv} ended with {self.status} before {pattern!r}:\n{self.output}"
        return met

    def wait(self, *, within: float = 20.0) -> int:
        """Its exit status, once it has ended."""
        eventually_sync(lambda: self.status is not None, within=within, what=f"the end of {self.argv}")
        assert self.status is not None
        return self.status

    def send(self, signal_number: int) -> None:
        """One signal to the program itself, not to its children."""
        self._process.send_signal(signal_number)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.send(signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and reap it; its children are left to themselves."""
        self._process.kill()
        self._process.wait()

    def descendants(self) -> dict[int, str]:
        """Pid and command line of everything it started that still runs, however deep, adopted by init or not."""
        marked = {pid for pid in _pids() if self._mark in _proc(pid, "environ") and is_running(pid)}
        return {pid: command_line(pid) for pid in sorted(marked | _below(self.pid)) if pid != self.pid}

    def assert_nothing_left(self, *, within: float = 15.0) -> None:
        """The program has ended, and so has everything it started."""
        self.wait(within=within)
        eventually_sync(lambda: not self.descendants(), within=within, what=lambda: f"an end of {self.descendants()}")

    def kill_all(self) -> None:
        """End it and its descendants, whatever state they are in."""
        while left := self._running():
            for pid in left:
                _kill(pid)
            self._process.wait()

    def _running(self) -> list[int]:
        return [*self.descendants(), *([self.pid] if self.status is None else [])]


def is_running(pid: int) -> bool:
    """Whether this pid is a process that has not ended; a zombie has."""
    state = _proc(pid, "stat").rpartition(")")[2].split()
    return bool(state) and state[0] not in "ZX"


def children(pid: int) -> list[int]:
    """The running children of a process."""
    listed = _listed(pid)
    while listed != (again := _listed(pid)):  # one that ends while the kernel lists them can hide another
        listed = again
    return sorted(child for child in listed if is_running(child))


def command_line(pid: int) -> str:
    """A process' command line; empty when it has ended."""
    return _proc(pid, "cmdline").replace("\0", " ").strip()


def _below(pid: int) -> set[int]:
    found: set[int] = set()
    to_visit = [pid]
    while to_visit:
        new = set(children(to_visit.pop())) - found
        found |= new
        to_visit.extend(new)
    return found


def _listed(pid: int) -> list[int]:
    """The children of a process, zombies too: as the kernel lists them for each of its threads, where it does."""
    if not HAS_LISTS:
        return [child for child in _pids() if _parent(child) == pid]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for thread in threads for child in _proc(pid, f"task/{thread}/children").split()]


def _parent(pid: int) -> int:
    fields = _proc(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


def _proc(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}
