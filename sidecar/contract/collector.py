"""The garbage collector while a program that runs for long is being imported: there is nothing to collect then."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import meanwhile. What is there in the end is never looked through again, nor in processes that are forked then.

    A fifth of the CPU time of a start went into looking for garbage among modules (measured 2026-11).
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
