"""The token of a namespace's consoles where the config has none: agreed upon in the store, kept by each host in a file.

Whoever may write to the store is an operator anyway: `sidebeat drain` asks for no token either. The files fill a store
that came back empty.
"""

import logging
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sidecar.contract.connect import is_wrong_type
from sidecar.contract.events import Event, line
from sidecar.contract.keys import console_token
from sidecar.contract.secret import SIZE, keep_secret, new_secret, read_secret

log = logging.getLogger(__name__)


async def agreed_token(redis: Redis, namespace: str, path: Path) -> str:
    """The token of all monitors of a namespace, in the file from now on.

    Raises:
        RedisError: the store does not answer.
        OSError: it neither; or the file cannot be written.
    """
    own = _own(path)
    token = await _settled(redis, console_token(namespace), own or new_secret())
    if token != own:
        keep_secret(path, token)
    return token


def _own(path: Path) -> str | None:
    """What this host has kept; None where that is nothing, or nothing of ours."""
    try:
        return read_secret(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning(line(Event.CONSOLE, token=path, error=str(error), done="written over"))
        return None


async def _settled(redis: Redis, key: str, proposed: str) -> str:
    """What the store has; this one where it has none, or something that is none."""
    try:
        await redis.set(key, proposed, nx=True)
        token = str(await redis.get(key))
    except ResponseError as error:
        if not is_wrong_type(error):
            raise
        token = ""
    if len(token) == SIZE and token.isascii() and token.isprintable():
        return token
    log.warning(line(Event.STORE_GARBAGE, key=key, done="written over"))
    await redis.set(key, proposed)
    return proposed
