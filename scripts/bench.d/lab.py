"""Where the processes of a benchmark live: on their core, with a folder and a log, and not longer than we do."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PR_SET_TIMERSLACK = 29
LIBC = ctypes.CDLL(None)
STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 10.0
MEANWHILE_S = 0.25
ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".bench"


class LabError(Exception):
    """Something cannot be measured here; the text is for the user."""


def say(text: str) -> None:
    """One line on stderr: stdout is for the tables."""
    sys.stderr.write(f"bench: {text}\n")


class Lab:
    """Two cores: load and backends on the first, whatever is measured on the second."""

    def __init__(self) -> None:
        self._ours = os.sched_getaffinity(0)
        cores = sorted(self._ours)
        if len(cores) < 2:
            raise LabError("needs two cores: one for load and backends, one for what is measured")
        self.load_core, self.proxy_core = cores[:2]
        self._stack = ExitStack()
        self.folder = Path()
        self.memory_folder = Path()

    def __enter__(self) -> Self:
        """Make the folders, go to the core of the load, and take as many descriptors as we may."""
        KEPT.mkdir(exist_ok=True)
        (KEPT / ".gitignore").write_text("*\n")
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=KEPT)))
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (mkdtemp within it)
        self.memory_folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=shared)))
        self.memory_folder.chmod(0o755)
        os.sched_setaffinity(0, {self.load_core})
        LIBC.prctl(PR_SET_TIMERSLACK, 1)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started, last first, and remove the folders."""
        self._stack.close()
        os.sched_setaffinity(0, self._ours)

    def start(
        self, name: str, command: Sequence[str], *, core: int, environ: Mapping[str, str] | None = None
    ) -> "Program":
        """Start a program on a core; what it says goes to NAME.log in the folder."""
        program = Program(name, command, self.folder / f"{name}.log", core=core, environ=environ or {})
        self._stack.callback(program.stop)
        return program


class Program:
    """A process we started, in a session of its own."""

    def __init__(self, name: str, command: Sequence[str], log: Path, *, core: int, environ: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=os.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_on_core(core),  # noqa: PLW1509 (no thread of ours runs while something is started)
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait for a condition.

        Raises:
            LabError: the program ended, or it takes too long; with the end of its log.
        """
        give_up = time.monotonic() + STARTS_WITHIN_S
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise LabError(f"{self.name} does not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def run_to_end(self, meanwhile: Callable[[], object]) -> str:
        """Wait for its end, calling ``meanwhile`` now and then and once after it; what it said.

        Raises:
            LabError: it failed.
        """
        status = None
        while status is None:
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(MEANWHILE_S)
            meanwhile()
        output = self.log.read_text(errors="replace")
        if status:
            raise LabError(f"{self.name} failed with status {status}:\n{output[-2000:]}")
        return output

    def stop(self) -> None:
        """End it and what is left of its group."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        give_up = time.monotonic() + ENDS_WITHIN_S
        while not self._has_ended() and time.monotonic() < give_up:
            time.sleep(0.02)
        if not self._has_ended():
            say(f"{self.name} does not end when asked to; killed")
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _has_ended(self) -> bool:
        """Looked at without reaping: until then its number stays its own, and so does its group's."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _on_core(core: int) -> Callable[[], None]:
    """For a child before its exec: go to a core, and end when we do."""
    parent = os.getpid()

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def serves(port: int) -> bool:
    """Whether a GET is answered with 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
