"""What happened, in several pools at once: the last of it, and what follows."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from redis.exceptions import RedisError

from sidecar.cli.settle import Place
from sidecar.cli.target import require_backend, resolve_pool
from sidecar.contract.connect import connect, plainly
from sidecar.contract.keys import PoolKeys
from sidecar.status import Happening, backend_ids, in_order, latest, newest, pool_names, since, store_at

LOOK_S = 0.2
"""How often a growing stream is looked at."""
AGAIN_S = 1.0
"""How often a store that is gone is."""

START = "0-0"
"""Before the first entry of a stream."""

Show = Callable[[Sequence[Happening]], None]


async def look_back(place: Place, target: str | None, *, count: int, show: Show) -> dict[PoolKeys, str]:
    """Show the last so many events of ``POOL[/BACKEND]`` (None: of all pools); where each pool's stream stood.

    Raises:
        TroubleError: there is no such pool, or no such backend, and nothing is told of one.
        UnreadableError: the store does not answer.
    """
    found: list[Happening] = []
    async with store_at(place.url) as store:
        names = await pool_names(store, place.namespace, place.pools)
        wanted = names if target is None else [resolve_pool(target.partition("/")[0], names)]
        stood = {keys: await newest(store, keys) for keys in (PoolKeys(place.namespace, name) for name in wanted)}
        for keys, entry in stood.items():
            found += await latest(store, keys, backend=backend_of(target), count=count, until=entry)
            if (backend := backend_of(target)) is not None and not found:
                require_backend(
                    keys.pool, backend, {*await backend_ids(store, keys), *place.members.get(keys.pool, ())}
                )
    show(in_order(found)[-count:] if count else [])
    return stood


async def follow(
    place: Place, stood: Mapping[PoolKeys, str], target: str | None, *, show: Show, warn: Callable[[str], None]
) -> None:
    """Show what comes, until cancelled; that the store is gone is said once, and it is waited for.

    Without a target that includes pools which are not there yet.
    """
    seen, is_gone = dict(stood), False
    async with connect(place.url) as store:
        while True:
            try:
                found = []
                names = await pool_names(store, place.namespace) if target is None else []
                for keys in dict.fromkeys([*seen, *(PoolKeys(place.namespace, name) for name in names)]):
                    fresh, seen[keys] = await since(
                        store, keys, backend=backend_of(target), after=seen.get(keys, START)
                    )
                    found += fresh
            except (RedisError, OSError) as error:
                if not is_gone:
                    warn(f"store.url: {plainly(error)}; waiting for it")
                is_gone = True
                await asyncio.sleep(AGAIN_S)
            else:
                is_gone = False
                show(in_order(found))
                await asyncio.sleep(LOOK_S)


def backend_of(target: str | None) -> str | None:
    """The backend in ``POOL[/BACKEND]``; None: all of them."""
    return (target or "").partition("/")[2] or None
