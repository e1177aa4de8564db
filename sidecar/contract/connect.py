"""One way to a Redis client, for monitor, workers and commands alike: every timeout and retry said aloud.

redis-py 8's ``from_url`` has no retries and a default ``socket_timeout`` of its own; nothing here relies on either.
"""

from collections.abc import Mapping

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from sidecar.contract.config import Config, ConfigError
from sidecar.contract.rundir import store_socket

SOCKET_TIMEOUT_S = 1.0
"""A store that does not answer within a second is down; nothing on the request path waits for it."""


def connect(url: str, *, retries: int = 0) -> Redis:
    """A client that decodes replies to str. Makes no connection yet.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        retries: how often a command is tried again, 10 ms to 250 ms apart; 0 where the caller's own loop retries.
    """
    return Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        health_check_interval=15,
        retry=Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.25), retries),
    )


def store_url(config: Config, environ: Mapping[str, str]) -> str:
    """The configured URL, else the socket of the store that runs in the run directory.

    Raises:
        ConfigError: neither is there; names ``store.url``.
    """
    if config.store.url:
        return config.store.url
    socket = store_socket(config.store.namespace, environ)
    if not socket.exists():
        raise ConfigError([f"store.url: not set, and no store runs at {socket}; `sidebeat up` starts one"])
    return f"unix://{socket}"
