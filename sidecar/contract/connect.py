"""One way to a Redis client, for monitor, workers and commands alike: every timeout and retry said aloud.

redis-py 8's ``from_url`` has no retries and a default ``socket_timeout`` of its own; nothing here relies on either.
"""

import asyncio
import os
from collections.abc import Iterable

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ResponseError
from typing_extensions import override

SOCKET_TIMEOUT_S = 1.0
"""A store that does not answer within a second is down; nothing on the request path waits for it."""

_DRIVER = DriverInfo()
"""What each connection tells of its library; made once, since it is read from a file (2 ms, measured)."""


def connect(url: str, *, retries: int = 0) -> Redis:
    """A client that decodes replies to str, whatever stands in the store. Makes no connection yet.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        retries: how often a command is tried again, 10 ms to 250 ms apart; 0 where the caller's own loop retries.

    Raises:
        ValueError: the URL cannot be read.
    """
    client = Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",
        protocol=2,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        health_check_interval=15,
        driver_info=_DRIVER,
        retry=Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.25), retries),
    )
    pool = client.connection_pool
    pool.connection_class = _heeding_cancellation(pool.connection_class)
    return client


class _HeedsCancellation(AbstractConnection):
    """Sends through ``asyncio.wait_for``, which before Python 3.12 loses a cancellation that comes as the send ends.

    Measured on 3.11: a quarter of the cancellations at a random moment were lost, and their tasks ran on for ever.
    """

    @override
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


def _heeding_cancellation(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    return type(kind.__name__, (_HeedsCancellation, kind), {})


def is_wrong_type(reply: object) -> bool:
    """Whether a reply, or what was raised for one, says that the key holds something of another type."""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def plainly(error: BaseException) -> str:
    """What went wrong with the store, on one line: the system's words where there are some, else the library's."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.errno and link.errno > 0:
            return os.strerror(link.errno).lower()
        link = link.__cause__ or link.__context__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
