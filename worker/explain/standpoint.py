"""Who explains, and how fresh what he goes by is."""

import os
from dataclasses import dataclass

from sidecar.contract.model import View
from worker.pool import Pool
from worker.runtime import Runtime
from worker.survey import ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Standpoint:
    """The worker that answers: another one may have an epoch and turns of its own. ``slot`` None: past the last one."""

    host: str
    pid: int
    slot: int | None
    draining: bool
    store_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewReading:
    """The view that it routes on. ``epoch`` 0: none was published; ``age_ms`` None: no monitor ever stood by one.

    ``suspect`` is why the monitor holds its verdicts, empty while it does not.
    """

    epoch: int
    age_ms: float | None
    freshness: str
    suspect: str


def standpoint_of(runtime: Runtime) -> Standpoint:
    """This worker."""
    return Standpoint(
        host=runtime.config.store.host,
        pid=os.getpid(),
        slot=runtime.writer.slot if runtime.writer.cells is runtime.board else None,
        draining=runtime.draining,
        store_up=runtime.follower.store_up,
    )


def view_of(pool: Pool, now: float) -> ViewReading:
    """What it knows of a pool."""
    knowledge = pool.knowledge
    known, age_s = knowledge.view or View(), knowledge.age_s(now)
    return ViewReading(
        epoch=known.epoch,
        age_ms=ms(age_s),
        freshness=knowledge.freshness(now),
        suspect=known.suspect,
    )
