"""A ``Status`` for people: one table of backends and one of workers per pool. Colour only where there is a terminal."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.status.records import BackendStatus, LimitStatus, PoolStatus, Status, WorkerStatus

WIDE = 240
"""Columns where the output is no terminal: a pipe gets whole lines."""
SILENT_MS = 3_000
"""A monitor that was heard from within this leads on a fresh view (design: at most 3 s)."""
STYLES = {"healthy": "green", "degraded": "yellow", "unhealthy": "red", "draining": "yellow", "unknown": "dim"}


def show_status(status: Status) -> None:
    """Print it to stdout."""
    console = Console(highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, emoji=False, markup=False, width=WIDE)
    if not status.pools:
        console.print(f"no pool is published in the namespace {status.namespace!r}")
    for name, pool in status.pools.items():
        console.print(Text.assemble((printable(name), "bold"), f"  {_headline(pool)}"))
        if pool.backends:
            console.print(_backends(pool, status.now_ms))
        if any(backend.limits for backend in pool.backends.values()):
            console.print(_limits(pool))
        console.print(_workers(pool) if pool.workers else " no worker reports")


def printable(text: str) -> str:
    """Text from the store without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def duration(milliseconds: float) -> str:
    """A length of time as people say it."""
    seconds = milliseconds / 1_000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def _headline(pool: PoolStatus) -> str:
    parts = [f"epoch {pool.epoch}"] if pool.epoch else []
    if pool.problem:
        parts.append(printable(pool.problem))
    if pool.leader:
        parts.append(f"monitor {printable(pool.leader)} leads")
    else:
        parts.append("no monitor leads")
    if pool.age_ms is not None:
        heard = f"heard from {duration(pool.age_ms)} ago"
        parts.append(heard if pool.age_ms <= SILENT_MS else f"last {heard}: what follows is that old")
    if pool.suspect:
        parts.append(f"monitor_suspect, verdicts are held: {printable(pool.suspect)}")
    return ", ".join(parts)


def _backends(pool: PoolStatus, now_ms: int) -> Table:
    table = _table("BACKEND", "STATE", "SINCE", "WEIGHT", "PROBE", "IN FLIGHT", "REASON")
    for name, backend in pool.backends.items():
        since = "" if backend.since is None else f"{duration(max(0, now_ms - backend.since))} ago"
        table.add_row(
            Text(printable(name)),
            Text(_state(backend), style=STYLES.get(backend.state, "")),
            since,
            f"{backend.weight:g}",
            "" if backend.probe_ms is None else f"{backend.probe_ms:.1f} ms",
            "" if backend.inflight is None else str(backend.inflight),
            Text(printable(_reason(backend, now_ms))),
        )
    return table


def _state(backend: BackendStatus) -> str:
    """The verdict, and what of the operator or the ejection stands against it."""
    extra = [backend.admin] if backend.admin != "ready" else []
    extra += [f"ejected for {duration(backend.ejected_ms)}"] if backend.ejected_ms else []
    extra += [f"ejected on {printable(each)}" for each in backend.ejected_on]
    return ", ".join([backend.state, *extra])


def _reason(backend: BackendStatus, now_ms: int) -> str:
    """What the operator asked for and when, before what the probes say."""
    parts = [backend.reason]
    if backend.asked and backend.asked_by and backend.admin != "ready":
        ago = duration(max(0, now_ms - backend.asked))
        parts.insert(0, f"{backend.admin} by {backend.asked_by} {ago} ago")
    if backend.pending:
        parts.insert(0, f"{backend.pending} is asked for, and not in force yet")
    return "; ".join(parts)


def _limits(pool: PoolStatus) -> Table:
    table = _table("LIMITED", "IN FLIGHT", "PLACES BY INSTANCE", "REQUESTS")
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


def _workers(pool: PoolStatus) -> Table:
    table = _table("WORKER", "PID", "APPLIED EPOCH", "VIEW AGE", "HEARD FROM", "")
    for worker in pool.workers:
        table.add_row(
            Text(printable(f"{worker.host}:{worker.instance}:{worker.slot}")),
            str(worker.pid),
            _lag(worker, pool),
            "never had one" if worker.view_age_ms is None else duration(worker.view_age_ms),
            f"{duration(worker.age_ms)} ago",
            _progress(worker),
        )
    return table


def _progress(worker: WorkerStatus) -> str:
    """How far one is that drains."""
    if not worker.draining:
        return ""
    left = [f"{count} {kind}" for kind, count in asdict(worker.under_way).items() if count]
    return f"draining: {', '.join(left)} left" if left else "draining"


def _lag(worker: WorkerStatus, pool: PoolStatus) -> str:
    """The epoch a worker routes on, against the published one; epochs are close to unix milliseconds."""
    behind = (pool.epoch or 0) - worker.applied_epoch
    if not worker.applied_epoch or behind <= 0:
        return str(worker.applied_epoch)
    return f"{worker.applied_epoch} (behind by {duration(behind)})"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=True, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
