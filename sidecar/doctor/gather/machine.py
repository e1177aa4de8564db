"""What the kernel tells of the workers that run on this machine: what bounds them, and who would kill them."""

import re
from collections.abc import Mapping
from pathlib import Path

from sidecar.contract.masters import MASTER, MONITOR, find_masters, program_of
from sidecar.doctor.facts import MachineFacts
from sidecar.running import find_process

_OPEN_FILES = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)
SUPERVISORS = (
    ("KUBERNETES_SERVICE_HOST", "Kubernetes", 30.0),
    ("INVOCATION_ID", "systemd", 90.0),
)
"""Who sets which variable, and what each waits for by default: terminationGracePeriodSeconds, DefaultTimeoutStopSec."""
DOCKER_S = 10.0
"""`docker stop`, and stop_grace_period of compose."""


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
