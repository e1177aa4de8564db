"""What the kernel tells of the programs of ours that run on this machine: the config they were given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidecar.contract.config import Config, ConfigError, load
from sidecar.contract.masters import MASTER, MONITOR, find_masters


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
