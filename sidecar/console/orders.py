"""What may be asked for of a backend: the same as with `sidebeat drain`, `maint`, `ready` and `weight`."""

from collections.abc import Iterable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, Field

from sidecar.admin import ask
from sidecar.console.access import DOCUMENTED, Access, Client
from sidecar.console.look import Look
from sidecar.console.setting import Live
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import MAX_WEIGHT, Admin
from sidecar.status import ends_work, store_at, warning_without


class Nothing(BaseModel):
    """An empty object."""


class Weight(BaseModel):
    """How much of the traffic it is to get; null: as much as is configured."""

    weight: Annotated[float, Field(strict=True, ge=0, le=MAX_WEIGHT, allow_inf_nan=False)] | None


class Done(BaseModel):
    """What a backend was and is now, in words, the same where nothing changed; since when, in unix ms by Redis' clock.

    ``warning`` says what it means for the pool where nobody else is left.
    """

    pool: str
    backend: str
    before: str
    after: str
    since_ms: int
    warning: str | None


def order_routes(live: Live, look: Look, access: Access) -> APIRouter:
    """For whoever may write."""
    router = APIRouter(
        prefix="/api/pools/{pool}/backends/{backend:path}", tags=["orders"],
        dependencies=[Depends(access.writer), *DOCUMENTED],
    )  # fmt: skip

    order = partial(_order, live, look)

    @router.post("/drain")
    async def drain(pool: str, backend: str, _: Nothing, client: Client) -> Done:
        """Give it no new work; what it has begun goes on."""
        return await order(pool, backend, Admin.DRAIN, client)

    @router.post("/maint")
    async def maint(pool: str, backend: str, _: Nothing, client: Client) -> Done:
        """Give it no new work, and do not probe it."""
        return await order(pool, backend, Admin.MAINT, client)

    @router.post("/ready")
    async def ready(pool: str, backend: str, _: Nothing, client: Client) -> Done:
        """Take a drain or maintenance back."""
        return await order(pool, backend, Admin.READY, client)

    @router.post("/weight")
    async def weight(pool: str, backend: str, body: Weight, client: Client) -> Done:
        """Give it another weight than the configured one."""
        return await order(pool, backend, body.weight, client)

    return router


async def _order(live: Live, look: Look, pool: str, backend: str, wish: Admin | float | None, client: str) -> Done:
    known = (await look.seen()).status.pools
    if pool not in known:
        raise HTTPException(404, f"there is no pool {pool!r}{_only(known)}")
    if backend not in known[pool].backends:
        raise HTTPException(404, f"the pool {pool} has no backend {backend!r}{_only(known[pool].backends)}")
    warning = warning_without(pool, known[pool], backend, known[pool].backends) if ends_work(wish) else None
    async with store_at(live.setting.url) as store:
        keys = PoolKeys(live.setting.namespace, pool)
        asked = await ask(store, keys, backend, wish, by=f"console@{client}")
    look.forget()
    return Done(
        pool=pool, backend=backend, before=asked.before, after=asked.after, since_ms=asked.since_ms, warning=warning
    )


def _only(names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names))
    return listed and f", only {listed}"
