"""The run directory of a namespace belongs to one `up` at a time.

The claim is a lock on the directory itself: no file stays behind, and the kernel frees it however its holder ended.
"""

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from sidecar.contract.masters import forget_dead
from sidecar.contract.rundir import make_run_directory, store_address, store_socket

ATTEMPTS = 5


class ClaimedError(RuntimeError):
    """Another `up` holds the run directory; the message names it."""


class Claim:
    """A held run directory. `with Claim.take(…) as claim:` frees it, and removes it when nothing else is in it."""

    def __init__(self, namespace: str, environ: Mapping[str, str], descriptor: int, directory: Path) -> None:
        self.directory = directory
        self.socket = store_socket(namespace, environ)
        self.address = store_address(namespace, environ)
        self._descriptor = descriptor
        self._bury = partial(forget_dead, namespace, environ)

    @classmethod
    def take(cls, namespace: str, environ: Mapping[str, str]) -> Self:
        """Make the directory and hold it.

        Raises:
            ClaimedError: another `up` of the namespace runs.
            OSError: the directory cannot be made, or is not safe to use.
        """
        for _ in range(ATTEMPTS):
            directory = make_run_directory(namespace, environ)
            with suppress(FileNotFoundError):  # its last holder removed it just now
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                if _hold(descriptor, directory, namespace):
                    return cls(namespace, environ, descriptor, directory)
        raise ClaimedError(f"the run directory of the namespace {namespace!r} comes and goes")

    def tell(self, url: str) -> None:
        """Let the other programs of this user find a store that is elsewhere; the file is readable to nobody else."""
        new = self.address.with_suffix(".new")
        with suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(url + "\n")
        new.replace(self.address)

    def clear(self) -> None:
        """Remove what a store, ours or that of a dead holder, left in the directory."""
        self.socket.unlink(missing_ok=True)
        self.address.unlink(missing_ok=True)

    def free(self) -> None:
        """Leave nothing of ours; the directory stays where it holds something that outlives an `up`."""
        self.clear()
        with suppress(OSError):
            self._bury()
            self.directory.rmdir()
            self.directory.parent.rmdir()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.free()


def _hold(descriptor: int, directory: Path, namespace: str) -> bool:
    """Lock it; False when it is not the directory of that name any more."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(descriptor)
        os.close(descriptor)
        who = f" (pid {holder})" if holder else ""
        raise ClaimedError(
            f"another `sidebeat up`{who} runs in the namespace {namespace!r} ({directory});"
            " end it, or give this one another --namespace"
        ) from None
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), directory.stat()):
            return True
    os.close(descriptor)
    return False


def _holder(descriptor: int) -> int | None:
    """The pid that holds the lock, where the kernel tells."""
    inode = os.fstat(descriptor).st_ino
    with suppress(OSError):
        for entry in Path("/proc/locks").read_text().splitlines():
            fields = entry.split()
            if "FLOCK" in fields and fields[5].endswith(f":{inode}"):
                return int(fields[4])
    return None
