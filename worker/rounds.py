"""Talking to the store in rounds, for ever, off the request path: what following and reporting have in common.

A round that fails is no news, whatever failed: it is logged when it begins and when it is over, the connection is
dropped, and the next round starts with a new one. Nothing is ever raised to whoever runs the rounds.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from sidecar.contract.config import ConfigError
from sidecar.contract.connect import connect
from sidecar.contract.events import Event, line

EVERY_S = 1.0
"""Between rounds, and the most between attempts at a store that is down: so much later its return is noticed."""
FIRST_RETRY_S = 0.25
SHORTEST_S = 0.02
"""Hints cannot start rounds closer together than this."""
DEADLINE_S = 2.0
"""Of one round that is not meant to last: to connect and to read take a second each at most."""

OpenStore = Callable[[str], Redis]
Command = Sequence[str | int]
Round = Callable[[Redis], Awaitable[None]]

_log = logging.getLogger(__name__)


def jittered(seconds: float) -> float:
    """Within 20 % of ``seconds``, so that workers which started together do not act together."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing


class Rounds:
    """One part of a worker and its own connection to the store."""

    def __init__(
        self, part: str, find_url: Callable[[], str], *, open_store: OpenStore = connect, level: int = logging.WARNING
    ) -> None:
        """Prepare; nothing is opened before ``run``.

        Args:
            part: how log lines name it.
            find_url: where the store is; asked again for each new connection.
            open_store: makes a client of a URL.
            level: at which a store that cannot be reached is logged. One that answers with an error is a warning.
        """
        self.is_up = False
        self._part = part
        self._find_url = find_url
        self._open_store = open_store
        self._level = level
        self._failures = 0
        self._hint = asyncio.Event()

    def hurry(self) -> None:
        """Start the next round now."""
        self._hint.set()

    def succeed(self) -> None:
        """A round got through; one that lasts says so itself."""
        if self._failures:
            _log.log(self._level, line(Event.STORE_UP, part=self._part, attempts=self._failures))
        self._failures = 0
        self.is_up = True

    async def run(self, work: Round) -> None:
        """One round after the other until cancelled, each on the connection of the last unless that failed."""
        client: Redis | None = None
        try:
            while True:
                try:
                    if client is None:
                        client = self._open_store(self._find_url())
                    await work(client)
                    self.succeed()
                except Exception as error:  # noqa: BLE001 - the root of the task; logged once per transition
                    self._fail(error)
                    await _close(client)
                    client = None
                end_if_cancelled()
                await self._pause()
        finally:
            await _close(client)

    def _fail(self, error: Exception) -> None:
        self.is_up = False
        self._failures += 1
        if self._failures > 1:
            return
        is_news = isinstance(error, RedisError | OSError | ConfigError)
        level = self._level if is_news and not isinstance(error, ResponseError) else logging.WARNING
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        _log.log(level, line(Event.STORE_DOWN, part=self._part, reason=reason), exc_info=None if is_news else error)

    async def _pause(self) -> None:
        delay_s = jittered(min(FIRST_RETRY_S * 2 ** (self._failures - 1), EVERY_S) if self._failures else EVERY_S)
        await asyncio.sleep(SHORTEST_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s - SHORTEST_S):
                await self._hint.wait()
        self._hint.clear()


async def ask(client: Redis, *commands: Command, at_once: bool = False) -> list[object]:
    """Send commands together; the replies in order, with the error in the place of a reply that is one.

    Args:
        client: from ``Rounds``.
        commands: a name and its arguments each.
        at_once: as one transaction, of which nobody sees a half; all keys must be of one pool.
    """
    pipeline = client.pipeline(transaction=at_once)
    for command in commands:
        pipeline.execute_command(*command)
    return list(await pipeline.execute(raise_on_error=False))


def end_if_cancelled() -> None:
    """Raise a cancellation that got lost on the way here; call it after sending anything outside of ``Rounds``.

    redis-py sends through ``asyncio.wait_for``, which before Python 3.12 swallows a cancellation that comes just as it
    succeeds (https://github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def clock_ms(reply: object) -> int:
    """The store's clock in unix milliseconds, out of its answer to ``TIME``.

    Raises:
        Exception: the answer is an error, which is then raised.
    """
    match reply:
        case (int(seconds), int(microseconds)):
            return seconds * 1000 + microseconds // 1000
        case Exception():
            raise reply
        case _:
            raise ResponseError(f"TIME was answered with {reply!r}")


async def _close(client: Redis | None) -> None:
    if client is not None:
        with contextlib.suppress(RedisError, OSError):
            await client.aclose()
