"""Asking the store, from a command: run to the end, and one line where it does not answer."""

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sidecar.cli.trouble import FAILED, TroubleError

if TYPE_CHECKING:
    from sidecar.cli.settle import Place

T = TypeVar("T")


def place_of(file: Path | None, redis: str | None, namespace: str | None) -> "Place":
    """Where to look, by the options that every command has.

    Raises:
        TroubleError: the config is wrong, or no store is to be found.
    """
    from sidecar.cli.settle import look_at

    return look_at(file, os.environ, {"--redis": redis, "--namespace": namespace})


def ask(work: Coroutine[object, object, T]) -> T:
    """Run it.

    Raises:
        TroubleError: the store does not answer, or does not let us in.
    """
    import asyncio

    from sidecar.status import UnreadableError

    try:
        return asyncio.run(work)
    except UnreadableError as error:
        raise TroubleError(FAILED, f"store.url: {error}") from error
