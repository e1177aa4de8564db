"""What the operator asks for: written down, and followed until all workers act on it."""

import asyncio
import getpass
import math
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sidecar.admin import Asked, ask
from sidecar.cli.settle import Place
from sidecar.cli.target import resolve
from sidecar.cli.trouble import FAILED
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin
from sidecar.status import BackendStatus, Status, ends_work, read_status, store_at, warning_without

LOOK_S = 0.1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A wish for one backend, as ``pool/backend``; a weight that is None is the configured one.

    ``timeout_s`` is how long to watch it come into force. Who ``waits`` asks for more than a record: that every worker
    acts on it, and that a backend which is to get no more work has none left.
    """

    target: str
    wish: Admin | float | None
    waits: bool
    timeout_s: float

    @property
    def ends_work(self) -> bool:
        """Whether the backend is to get no more work."""
        return ends_work(self.wish)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an order, and the exit status."""

    errand: "Errand"
    asked: Asked
    progress: "Progress"
    status: int

    def as_json(self) -> dict[str, object]:
        """What `--json` prints: a stable contract, so fields are added and never renamed."""
        return {
            "pool": self.errand.pool, "backend": self.errand.backend, "before": self.asked.before,
            "after": self.asked.after, "since_ms": self.asked.since_ms, **asdict(self.progress),
            "is_in_force": self.progress.is_in_force,
        }  # fmt: skip


async def carry_out(place: Place, order: Order, *, say: Say, warn: Say) -> Outcome:
    """Record it and say what became of it.

    Raises:
        TroubleError: there is no such pool or backend; nothing was written.
        UnreadableError: the store does not answer.
    """
    status = await read_status(place.url, place.namespace, place.pools)
    known = {name: {*pool.backends, *place.members.get(name, ())} for name, pool in status.pools.items()}
    pool, backend = resolve(order.target, known)
    if order.ends_work and (words := warning_without(pool, status.pools[pool], backend, known[pool])):
        warn(words)
    async with store_at(place.url) as store:
        asked = await ask(store, PoolKeys(place.namespace, pool), backend, order.wish, by=_who())
    say(_headline(f"{pool}/{backend}", asked))
    errand = Errand(pool=pool, backend=backend, wish=order.wish, since_ms=asked.since_ms)
    progress = await _follow(place, order, errand)
    say(_in_words(progress, order))
    is_enough = not order.waits or is_done(progress, order)
    return Outcome(errand=errand, asked=asked, progress=progress, status=0 if is_enough else FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What was recorded, of which backend, and when by the clock of Redis."""

    pool: str
    backend: str
    wish: Admin | float | None
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it has come: whether it ``is_published``, which workers act on it, which do not, what is in flight.

    ``is_overruled``: something else was asked for since, and published.
    """

    is_led: bool
    is_published: bool
    is_overruled: bool = False
    applied: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    inflight: int = 0

    @property
    def is_in_force(self) -> bool:
        """Whether every worker acts on it."""
        return self.is_published and not self.is_overruled and not self.missing


def progress_of(status: Status, errand: Errand) -> Progress:
    """How far it has come by what the store says."""
    pool = status.pools[errand.pool]
    backend = pool.backends.get(errand.backend)
    workers = {f"{each.host}:{each.instance}:{each.slot}": each.applied_epoch for each in pool.workers}
    is_published = backend is not None and (backend.asked or 0) >= errand.since_ms
    applied = tuple(name for name, epoch in workers.items() if is_published and epoch >= (pool.epoch or 0))
    return Progress(
        is_led=pool.leader is not None,
        is_published=is_published,
        is_overruled=backend is not None and is_published and not _is_as_wished(backend, errand.wish),
        applied=applied,
        missing=tuple(name for name in workers if name not in applied),
        inflight=(backend.inflight or 0) if backend and workers else 0,
    )


def _is_as_wished(backend: BackendStatus, wish: Admin | float | None) -> bool:
    """Whether it still is; nobody can tell of the configured weight."""
    if isinstance(wish, Admin):
        return backend.admin == wish
    return wish is None or math.isclose(backend.weight, wish, rel_tol=1e-5)


async def _follow(place: Place, order: Order, errand: Errand) -> Progress:
    """Watch it come into force; how far it has come in the end."""
    ends = time.monotonic() + order.timeout_s
    while True:
        progress = progress_of(await read_status(place.url, place.namespace, place.pools), errand)
        if (
            is_done(progress, order)
            or progress.is_overruled
            or time.monotonic() >= ends
            or not (progress.is_led or order.waits)
        ):
            return progress
        await asyncio.sleep(LOOK_S)


def is_done(progress: Progress, order: Order) -> bool:
    """Whether there is nothing left to watch for; who waits needs a worker that says so, and none that still works."""
    if not order.waits:
        return progress.is_in_force
    return progress.is_in_force and bool(progress.applied) and not (order.ends_work and progress.inflight)


def _in_words(progress: Progress, order: Order) -> str:
    if not progress.is_published:
        if progress.is_led:
            return "recorded; the monitor has not published it yet"
        return "recorded; no monitor is alive, and it comes into force when one is"
    if progress.is_overruled:
        return "overruled: something else was asked for meanwhile"
    count = len(progress.applied) + len(progress.missing)
    if not count:
        return "in force; no worker reports"
    words = f"in force with {len(progress.applied)} of {count} workers"
    if progress.missing:
        words += f", not yet with {', '.join(progress.missing)}"
    if not order.ends_work:
        return words
    return f"{words}; {progress.inflight} request{'' if progress.inflight == 1 else 's'} in flight"


def _headline(target: str, asked: Asked) -> str:
    if asked.before == asked.after:
        return f"{target}: {asked.after}, as before"
    return f"{target}: {asked.after} (was {asked.before})"


def _who() -> str:
    """Who asks, for the record."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, in a container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
