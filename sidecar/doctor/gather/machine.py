"""What the kernel tells of the workers that run on this machine: the config they were given, and their limits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidecar.contract.config import Config, ConfigError, load
from sidecar.contract.masters import MASTER, MONITOR, find_masters, program_of
from sidecar.doctor.facts import MachineFacts

_OPEN_FILES = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)
SUPERVISORS = (
    ("KUBERNETES_SERVICE_HOST", "Kubernetes", 30.0),
    ("INVOCATION_ID", "systemd", 90.0),
)
"""Who sets which variable, and what each waits for by default: terminationGracePeriodSeconds, DefaultTimeoutStopSec."""
DOCKER_S = 10.0
"""`docker stop`, and stop_grace_period of compose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A program of ours that runs here: its words, its variables, its folder."""

    pid: int
    words: tuple[str, ...]
    environ: Mapping[str, str]

    @property
    def file(self) -> Path | None:
        """The config file that it was given."""
        for flag, value in zip(self.words, self.words[1:], strict=False):
            if flag in ("-c", "--config"):
                return Path(f"/proc/{self.pid}/cwd", value)
        return None


def running_config(namespace: str, environ: Mapping[str, str]) -> Config | None:
    """What the workers of this machine were started with; None where none runs, or it cannot be read."""
    process = find_process(namespace, environ)
    if process is None:
        return None
    try:
        return load(process.file, {**process.environ})
    except ConfigError:
        return None


def find_process(namespace: str, environ: Mapping[str, str]) -> Process | None:
    """The first of gunicorn's masters of this namespace here, else the first monitor. Linux only."""
    for kind in (MASTER, MONITOR):
        for master in find_masters(namespace, environ, kind):
            try:
                return _process(master.pid)
            except OSError:
                continue
    return None


def _process(pid: int) -> Process:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    pairs = (text.partition("=") for text in Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0"))
    return Process(pid=pid, words=tuple(words), environ={name: value for name, _, value in pairs if name})


def machine_facts(namespace: str, environ: Mapping[str, str]) -> MachineFacts:
    """What bounds the workers here; empty where none run."""
    process = find_process(namespace, environ)
    if process is None:
        return MachineFacts()
    refusals = {
        f"{program_of(kind)} (pid {each.pid})": each.refusal
        for kind in (MONITOR, MASTER)
        for each in find_masters(namespace, environ, kind)
        if each.refusal
    }
    return MachineFacts(open_files=_open_files(process.pid), kill_after=_kill_after(process.environ), refusals=refusals)


def _open_files(pid: int) -> int | None:
    try:
        found = _OPEN_FILES.search(Path(f"/proc/{pid}/limits").read_text())
    except OSError:
        return None
    return int(found[1]) if found else None


def _kill_after(environ: Mapping[str, str]) -> tuple[str, float] | None:
    for variable, who, default_s in SUPERVISORS:
        if variable in environ:
            return who, default_s
    return ("Docker", DOCKER_S) if Path("/.dockerenv").exists() else None
