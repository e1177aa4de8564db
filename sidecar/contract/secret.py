"""A secret of this host, kept in the run directory: made by whoever comes first, then the same for all. Mode 0600.

It survives restarts; other hosts have another, which is why a fleet is given one in the config, or in the store.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

SIZE = 43
"""Characters: 256 bits as ``secrets.token_urlsafe`` writes them."""


def new_secret() -> str:
    """One that nobody can guess."""
    return secrets.token_urlsafe(32)


def kept_secret(path: Path) -> str:
    """The secret that is kept there, made if there is none.

    Raises:
        OSError: it cannot be read or written, or is not what we write.
    """
    with suppress(FileNotFoundError):
        return read_secret(path)
    fresh = _written(path, new_secret())
    try:
        with suppress(FileExistsError):
            os.link(fresh, path)  # whole or not at all, and never over another's
    finally:
        fresh.unlink()
    return read_secret(path)


def read_secret(path: Path) -> str:
    """The secret that is kept there.

    Raises:
        OSError: there is none, it cannot be read, or it is not what we write.
    """
    secret = path.read_text(encoding="ascii", errors="replace")
    if len(secret) != SIZE:
        raise OSError(f"{path} is not what was written there; remove it")
    return secret


def keep_secret(path: Path, secret: str) -> None:
    """Keep this one, in place of whatever stands there.

    Raises:
        OSError: it cannot be written.
    """
    _written(path, secret).replace(path)


def _written(path: Path, secret: str) -> Path:
    """A file beside it that holds the secret."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secret)
    return Path(fresh)
