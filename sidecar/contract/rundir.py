"""The run directory: where the programs of one namespace on one machine find each other without being told.

Holds the embedded store's socket or the address of a store elsewhere, the disk copy of the view, who runs here, and the
secrets of this host: the console's token, what signs sticky cookies and the tokens of `sidebeat explain`. Mode 0700,
owned by the user.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


class RunDirectoryError(OSError):
    """The run directory is not safe to use: somebody else's, or open to others."""


def run_directory(namespace: str, environ: Mapping[str, str]) -> Path:
    """Where it is: below ``XDG_RUNTIME_DIR``, else a folder of the user's in the temp directory. Makes nothing."""
    if base := environ.get("XDG_RUNTIME_DIR"):
        return Path(base, "sidebeat", namespace)
    return Path(tempfile.gettempdir(), f"sidebeat-{os.getuid()}", namespace)


def make_run_directory(namespace: str, environ: Mapping[str, str]) -> Path:
    """Make it, parents included, mode 0700.

    Raises:
        RunDirectoryError: its parent or itself is a link, belongs to another user, or is open to others
            (in a temp directory anybody could have made it first).
    """
    directory = run_directory(namespace, environ)
    for path in (directory.parent, directory):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise RunDirectoryError(f"{path} is not a directory of yours with mode 0700")
    return directory


def store_socket(namespace: str, environ: Mapping[str, str]) -> Path:
    """The embedded store's unix socket; it exists only while such a store runs."""
    return run_directory(namespace, environ) / "store.sock"


def store_address(namespace: str, environ: Mapping[str, str]) -> Path:
    """A file with the URL of the store that the running `up` uses where that is not the embedded socket; mode 0600."""
    return run_directory(namespace, environ) / "store.url"


def console_token(namespace: str, environ: Mapping[str, str]) -> Path:
    """A file with what one logs in with at the console where the config has no ``console.token``; mode 0600."""
    return run_directory(namespace, environ) / "console.token"
