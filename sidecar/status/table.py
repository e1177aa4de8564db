"""A ``Status`` for people: one table of backends and one of workers per pool. Colour only where there is a terminal."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.status.records import BackendStatus, LimitStatus, PoolStatus, Status, WorkerStatus
from sidecar.status.words import duration, milliseconds, printable

WIDE = 240
"""Columns of a table at least, however narrow the terminal."""
STYLES = {"healthy": "green", "degraded": "yellow", "unhealthy": "red", "draining": "yellow", "unknown": "dim"}


def show_status(status: Status) -> None:
    """Print it to stdout."""
    console = standard_output()
    if not status.pools:
        console.print(f"no pool is published in the namespace {status.namespace!r}")
    for name, pool in status.pools.items():
        console.print(Text.assemble((printable(name), "bold"), f"  {headline(pool)}"))
        if pool.backends:
            console.print(_backends(pool, status.now_ms))
        if any(backend.limits for backend in pool.backends.values()):
            console.print(_limits(pool))
        console.print(workers_table(pool) if pool.workers else " no worker reports")


def standard_output() -> Console:
    """Prints tables to stdout in whole lines, which a narrow terminal breaks itself: names stay names."""
    width = max(Console().width, WIDE)
    return Console(highlight=False, emoji=False, markup=False, width=width)


def headline(pool: PoolStatus) -> str:
    """Which epoch, who leads, and how fresh what is known of the pool is."""
    parts = [f"epoch {pool.epoch}"] if pool.epoch else []
    if pool.problem:
        parts.append(printable(pool.problem))
    if pool.leader:
        parts.append(f"monitor {printable(pool.leader)} leads")
    else:
        parts.append("no monitor leads")
    if pool.age_ms is not None:
        heard = f"heard from {duration(pool.age_ms)} ago"
        parts.append(f"last {heard}: its verdicts are that old" if pool.is_silent else heard)
    if pool.suspect:
        parts.append(f"monitor_suspect, verdicts are held: {printable(pool.suspect)}")
    return ", ".join(parts)


def _backends(pool: PoolStatus, now_ms: int) -> Table:
    table = plain_table("BACKEND", "STATE", "SINCE", "WEIGHT", "PROBE", "REQ/S", "P50", "P99", "IN FLIGHT", "REASON")
    for name, backend in pool.backends.items():
        since = "" if backend.since is None else f"{duration(max(0, now_ms - backend.since))} ago"
        table.add_row(
            Text(printable(name)),
            Text(state_of(backend), style=STYLES.get(backend.state, "")),
            since,
            f"{backend.weight:g}",
            milliseconds(backend.probe_ms),
            "" if backend.rps is None else f"{backend.rps:.1f}",
            milliseconds(backend.p50_ms),
            milliseconds(backend.p99_ms),
            "" if backend.inflight is None else str(backend.inflight),
            Text(printable(reason_of(backend, now_ms))),
        )
    return table


def state_of(backend: BackendStatus) -> str:
    """The verdict, and what of the operator or the ejection stands against it."""
    extra = [backend.admin] if backend.admin != "ready" else []
    extra += [f"ejected for {duration(backend.ejected_ms)}"] if backend.ejected_ms else []
    extra += [f"ejected on {printable(each)}" for each in backend.ejected_on]
    return ", ".join([backend.state, *extra])


def reason_of(backend: BackendStatus, now_ms: int) -> str:
    """What the operator asked for and when, before what the probes say."""
    parts = [backend.reason]
    if backend.asked and backend.asked_by and backend.admin != "ready":
        ago = duration(max(0, now_ms - backend.asked))
        parts.insert(0, f"{backend.admin} by {backend.asked_by} {ago} ago")
    if backend.pending:
        parts.insert(0, f"{backend.pending} is asked for, and not in force yet")
    return "; ".join(parts)


def _limits(pool: PoolStatus) -> Table:
    table = plain_table("LIMITED", "IN FLIGHT", "PLACES BY INSTANCE", "REQUESTS")
    for name, backend in pool.backends.items():
        if (limits := backend.limits) is None:
            continue
        places = ", ".join(f"{printable(instance)} {count}" for instance, count in limits.places.items())
        table.add_row(
            Text(printable(name)),
            "" if limits.max_inflight is None else f"{backend.inflight or 0} of {limits.max_inflight}",
            Text(places),
            "" if limits.max_requests is None else _requests(limits),
        )
    return table


def _requests(limits: LimitStatus) -> str:
    return f"{limits.requests} of {limits.max_requests} leased in this window of {duration(limits.window_ms or 0)}"


def workers_table(pool: PoolStatus, limit: int | None = None) -> Table:
    """A line for each worker of a pool, or for so many: first those that drain, or lag behind the view."""
    table = plain_table("WORKER", "PID", "APPLIED EPOCH", "VIEW AGE", "HEARD FROM", "UNDER WAY")
    for worker in _most_telling(pool, limit):
        table.add_row(
            Text(printable(f"{worker.host}:{worker.instance}:{worker.slot}")),
            str(worker.pid),
            lag_of(worker, pool),
            "never had one" if worker.view_age_ms is None else duration(worker.view_age_ms),
            f"{duration(worker.age_ms)} ago",
            progress_of(worker),
        )
    return table


def _most_telling(pool: PoolStatus, limit: int | None) -> list[WorkerStatus]:
    if limit is None:
        return pool.workers
    told = sorted(pool.workers, key=lambda worker: (not worker.draining, worker.applied_epoch))[:limit]
    return [worker for worker in pool.workers if worker in told]


def progress_of(worker: WorkerStatus) -> str:
    """What a worker has under way; of one that drains, how much is left, down to the connections that rest."""
    counts = {kind: count for kind, count in asdict(worker.under_way).items() if count}
    if not worker.draining:
        return ", ".join(_counted(count, kind) for kind, count in counts.items() if kind != "idle")
    left = ", ".join(_counted(count, kind) for kind, count in counts.items())
    return f"draining: {left} left" if left else "draining"


def _counted(count: int, kind: str) -> str:
    return f"{count} {kind.removesuffix('s') if count == 1 else kind}"


def lag_of(worker: WorkerStatus, pool: PoolStatus) -> str:
    """The epoch a worker routes on, against the published one; epochs are close to unix milliseconds."""
    behind = (pool.epoch or 0) - worker.applied_epoch
    if not worker.applied_epoch or behind <= 0:
        return str(worker.applied_epoch)
    return f"{worker.applied_epoch} (behind by {duration(behind)})"


def plain_table(*columns: str) -> Table:
    """A table without lines."""
    table = Table(box=None, pad_edge=True, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
