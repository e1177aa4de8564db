"""What a process and all its descendants use: CPU by the scheduler's own account, and resident memory.

``schedstat`` counts nanoseconds on a CPU for each thread; times from ``stat`` come in ticks of 10 ms. The account of a
thread ends with it, so ``sample`` is called now and then, and what a thread had by its last sample stays counted.
"""

import os
from contextlib import suppress
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")

Thread = tuple[int, int, int]
"""Process, thread, and the thread's start, since numbers are used again."""


class Meter:
    """The account of one tree of processes; ``root`` must be alive."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.peak_rss_bytes = 0
        self._cpu_ns: dict[Thread, int] = {}
        self.sample()
        self._before = dict(self._cpu_ns)

    def sample(self) -> int:
        """Bring the account up to date; the resident bytes just now, shared pages counted in each process."""
        rss_bytes = 0
        for process in descendants(self.root):
            with suppress(OSError):  # it ended while we were looking
                rss_bytes += _resident_bytes(process)
                self._cpu_ns.update(_threads(process))
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss_bytes)
        return rss_bytes

    @property
    def cpu_s(self) -> float:
        """Seconds on a CPU between the making of this meter and the last sample."""
        spent = sum(ns - self._before.get(thread, 0) for thread, ns in self._cpu_ns.items())
        return spent / 1e9


def descendants(root: int) -> list[int]:
    """The process, its children, theirs and so on."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parent = int(_stat(entry)[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for process in found:
        found.extend(children.get(process, ()))
    return found


def _threads(process: int) -> dict[Thread, int]:
    spent = {}
    for task in (PROC / str(process) / "task").iterdir():
        with suppress(OSError):
            started = int(_stat(task)[19])
            spent[process, int(task.name), started] = int((task / "schedstat").read_text().split()[0])
    return spent


def _stat(folder: Path) -> list[str]:
    """The fields of ``stat`` after the name, which may hold spaces and parentheses itself."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _resident_bytes(process: int) -> int:
    return int((PROC / str(process) / "statm").read_text().split()[1]) * PAGE_BYTES
