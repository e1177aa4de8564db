"""The masters and monitors of one namespace on this machine: how each shows that it runs, and how it is found.

A file in the run directory for each, mode 0600, with a lock on it that the kernel frees when its owner ends, however
that comes. So a file that nobody locks is of the dead, and a pid in one that is locked is of the one who locks it:
nobody else's process is ever signalled.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sidecar.contract.rundir import make_run_directory, run_directory

MASTER, MONITOR = "worker-*.master", "monitor-*.monitor"
"""Who is gunicorn's master, and who probes: the names of their files, with the pid in place of the asterisk."""
_BYTES = 8_192
_MAX_FAILURE = 300
"""Characters of a reason: each may take twelve bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """A master that runs, and how its latest rolling restart stands; or a monitor, of which there is none.

    ``restarts`` counts those that were begun. ``replaced`` of ``to_replace`` workers have handed over to new ones;
    ``failure`` says why it was given up, None where it was not. ``is_restarting``: it goes on. ``reloads`` counts those
    that came to an end, whichever; ``refusal`` has what was wrong with the latest, None where it was applied. ``admin``
    is where its workers' own endpoints are, as ``listen.admin`` has it; empty: nowhere.
    """

    pid: int
    instance: str
    admin: str = ""
    restarts: int = 0
    is_restarting: bool = False
    to_replace: int = 0
    replaced: int = 0
    failure: str | None = None
    reloads: int = 0
    refusal: str | None = None


class Presence:
    """A master's own file, from ``show`` to ``withdraw``; to be made in the process that is the master."""

    def __init__(
        self, namespace: str, environ: Mapping[str, str], *, instance: str, admin: str = "", kind: str = MASTER
    ) -> None:
        self._name = kind.replace("*", str(os.getpid()))
        self.master = Master(pid=os.getpid(), instance=instance, admin=admin)
        self._namespace = namespace
        self._environ = environ
        self._path: Path | None = None
        self._descriptor = -1

    def show(self) -> None:
        """Say that this process is a master, ready for signals.

        Raises:
            OSError: there is no run directory to say it in.
        """
        path = make_run_directory(self._namespace, self._environ) / self._name
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)  # of one that was killed and had our pid
        self._descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path = path
        self.tell(self.master)
        new.replace(path)  # only now: without its lock it would be taken for a dead one's

    def tell(self, master: Master) -> None:
        """Say what is new of this master."""
        self.master = master
        if self._path is not None:
            failure, refusal = master.failure, master.refusal
            shown = replace(
                master, failure=failure and failure[:_MAX_FAILURE], refusal=refusal and refusal[:_MAX_FAILURE]
            )
            text = json.dumps(asdict(shown)).encode()
            with suppress(OSError):  # who asks learns nothing, but on a full disk, too, the master goes on
                os.pwrite(self._descriptor, text.ljust(_BYTES), 0)  # in one write, and never shorter than before

    def withdraw(self) -> None:
        """Remove the file; a worker does it for a master that was killed."""
        with suppress(OSError):
            if self._path is not None and os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                self._path.unlink()


def program_of(kind: str) -> str:
    """The command that starts those of a kind: ``worker`` or ``monitor``."""
    return kind.partition("-")[0]


def find_masters(namespace: str, environ: Mapping[str, str], kind: str = MASTER) -> list[Master]:
    """Those of a kind that run, oldest pid first; files of dead ones are removed.

    Raises:
        OSError: the run directory cannot be read; one that does not exist holds nobody.
    """
    found = [master for path in run_directory(namespace, environ).glob(kind) if (master := _read(path))]
    return sorted(found, key=lambda master: master.pid)


def forget_dead(namespace: str, environ: Mapping[str, str]) -> None:
    """Remove what those left who were killed.

    Raises:
        OSError: the run directory cannot be read.
    """
    for kind in (MASTER, MONITOR):
        find_masters(namespace, environ, kind)


def _read(path: Path) -> Master | None:
    """Who stands in a file, None when it is dead or no file of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            return None
        if _is_abandoned(descriptor):
            path.unlink(missing_ok=True)
            return None
        return Master(**json.loads(os.pread(descriptor, _BYTES, 0)))
    except (ValueError, TypeError):
        return None
    finally:
        os.close(descriptor)


def _is_abandoned(descriptor: int) -> bool:
    """Whether no master holds the lock; several readers may ask at once."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
