"""Waiting for something to become true, with a limit, instead of sleeping and hoping."""

import inspect
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar, overload

import anyio

T = TypeVar("T")
Description = str | Callable[[], str]

# A slow machine takes longer over the same work: TEST_PATIENCE=3 multiplies every limit.
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))

NOT_YET = (AssertionError, OSError, LookupError)


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], *, within: float = ..., every: float = ..., what: Description = ...
) -> T: ...


@overload
async def eventually(
    condition: Callable[[], T], *, within: float = ..., every: float = ..., what: Description = ...
) -> T: ...


async def eventually(
    condition: Callable[[], T | Awaitable[T]], *, within: float = 20.0, every: float = 0.01, what: Description = ""
) -> T:
    """The first truthy value of a condition, which may be a coroutine function.

    An AssertionError, OSError or LookupError in the condition counts as "not yet". Times are seconds. The failure
    names the condition (`what`, which may be put together then; else its source) and its last value or error.

    Raises:
        AssertionError: It did not become true in time.
    """
    last: object = None
    for _ in _until(within):
        try:
            value = condition()
            last = await value if inspect.isawaitable(value) else value
        except NOT_YET as error:
            last = error
        else:
            if last:
                return last
        await anyio.sleep(every)
    raise AssertionError(_failure(condition, within, what, last))


def eventually_sync(
    condition: Callable[[], T], *, within: float = 20.0, every: float = 0.01, what: Description = ""
) -> T:
    """The same for tests without an event loop."""
    last: object = None
    for _ in _until(within):
        try:
            last = value = condition()
        except NOT_YET as error:
            last = error
        else:
            if value:
                return value
        time.sleep(every)
    raise AssertionError(_failure(condition, within, what, last))


def free_port() -> int:
    """A loopback port that nobody listens on and nobody else is told of while this process lives, in no other process
    either; prefer binding port 0 where the program under test can.

    It is outside the range that the kernel chooses from by itself. An abstract unix socket of its name claims it: the
    kernel frees that with the process, however it ends.
    """
    for port in range(20000, 30000):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return port
    raise AssertionError("every port is taken")


_claims: list[socket.socket] = []


def is_port_open(port: int) -> bool:
    """Whether somebody accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until(within: float) -> Iterator[None]:
    """Yield at least twice and until the time is over: a slow first attempt is not the last."""
    end = time.monotonic() + within * PATIENCE
    yield
    yield
    while time.monotonic() < end:
        yield


def _failure(condition: Callable[[], object], within: float, what: Description, last: object) -> str:
    if callable(what):
        what = what()
    elif not what:
        try:
            what = inspect.getsource(condition).strip()
        except (OSError, TypeError):
            what = repr(condition)
    return f"not within {within:g} s: {what}\nlast: {last!r}"
