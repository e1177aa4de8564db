"""A frame as a person sees it: the pools, what is slow and what is out, and the workers, cut to the height there is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sidecar.status import BackendStatus, PoolStatus, printable
from sidecar.status.table import STYLES, headline, plain_table, reason_of, state_of, workers_table
from sidecar.status.traffic import is_slow_to_probes, slowest
from sidecar.status.words import milliseconds
from sidecar.top.frame import Frame, most_telling

FIXED_LINES = 4
"""Of each pool, beside its backends and workers: its headline, two heads of tables, a gap."""
MANY_ERRORS = 0.05
WIDTH = 24
"""Characters of a column that are not cut: an address and its port, a state and what stands against it."""
BAR = 10
"""Characters of a whole share."""


def draw(frame: Frame, *, size: tuple[int, int] | None = None, trouble: str = "") -> RenderableType:
    """The frame, cut to a ``size`` of columns and lines (None: all of it). ``trouble`` says why it is not news."""
    head = _head(frame, trouble)
    head.no_wrap, head.overflow = size is not None, "ellipsis"
    parts: list[RenderableType] = [head]
    if not frame.status.pools:
        parts.append(Text(f"no pool is published in the namespace {frame.status.namespace!r}"))
    for name, pool in frame.status.pools.items():
        parts += [Text(), *_pool(frame, name, pool, size)]
    return Group(*parts)


def _head(frame: Frame, trouble: str) -> Text:
    pools = frame.status.pools.values()
    rps = sum(backend.rps or 0.0 for pool in pools for backend in pool.backends.values())
    inflight = sum(backend.inflight or 0 for pool in pools for backend in pool.backends.values())
    head = Text.assemble(("sidebeat", "bold"), f"  {frame.status.namespace}  {rps:.1f} req/s, {inflight} in flight")
    return head.append(f"  {trouble}", style="bold red") if trouble else head


def _room(frame: Frame, height: int) -> int:
    """Lines for the backends of each pool: what is left by the rest, shared evenly; workers get at most a half."""
    pools = max(len(frame.status.pools), 1)
    return max(3, (height - 2) // pools - FIXED_LINES)


def _pool(frame: Frame, name: str, pool: PoolStatus, size: tuple[int, int] | None) -> Iterator[RenderableType]:
    room = None if size is None else _room(frame, size[1])
    head = Text.assemble((printable(name), "bold"), f"  {headline(pool)}")
    if name in frame.measured and pool.backends:
        head.append("; traffic is measured here", style="dim")
    head.no_wrap, head.overflow = room is not None, "ellipsis"
    yield head
    workers = len(pool.workers) if room is None else min(len(pool.workers), max(1, room // 2))
    names, left_out = most_telling(pool, len(pool.backends) if room is None else room - workers)
    if names:
        yield _backends(frame, pool, names, None if size is None else size[0])
    if left_out:
        yield Text(f" and {left_out} more, which have no trouble or less of it", style="dim")
    if pool.workers:
        table = workers_table(pool, limit=workers)
        yield table if room is None else keep_on_one_line(table, but="UNDER WAY")
    else:
        yield Text(" no worker reports")
    if workers < len(pool.workers):
        yield Text(f" and {len(pool.workers) - workers} more workers", style="dim")


def _backends(frame: Frame, pool: PoolStatus, names: list[str], width: int | None) -> Table:
    columns = [column for column in COLUMNS if width is None or width >= column.least_width]
    table = plain_table(*(column.heading for column in columns))
    slow = slowest(pool)
    for name in names:
        row = Row(name=name, backend=pool.backends[name], is_slow=name == slow, now_ms=frame.status.now_ms)
        table.add_row(*(column.cell(row) for column in columns))
    return table if width is None else keep_on_one_line(table, but="WHY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One backend, and whether it is the slow one of its pool."""

    name: str
    backend: BackendStatus
    is_slow: bool
    now_ms: int


@dataclass(frozen=True, slots=True)
class Column:
    """What stands in it, and how wide a terminal has to be to have it."""

    heading: str
    cell: Callable[[Row], RenderableType]
    least_width: int = 0


COLUMNS = (
    Column("BACKEND", lambda row: Text(printable(row.name))),
    Column("STATE", lambda row: Text(state_of(row.backend), style=STYLES.get(row.backend.state, ""))),
    Column("REQ/S", lambda row: "" if row.backend.rps is None else f"{row.backend.rps:.1f}"),
    Column("IN FLIGHT", lambda row: "" if row.backend.inflight is None else str(row.backend.inflight), 70),
    Column("P50", lambda row: milliseconds(row.backend.p50_ms), 80),
    Column("P99", lambda row: Text(milliseconds(row.backend.p99_ms), style="bold yellow" if row.is_slow else "")),
    Column("ERRORS", lambda row: _errors(row.backend)),
    Column("SHARE", lambda row: _share(row.backend.share), 110),
    Column("WHY", lambda row: Text(printable(_why(row)))),
)


def _errors(backend: BackendStatus) -> Text:
    if backend.error_ratio is None:
        return Text()
    return Text(f"{backend.error_ratio:.1%}", style="red" if backend.error_ratio else "")


def _share(share: float | None) -> str:
    return "" if share is None else f"{'#' * round(BAR * share):<{BAR}} {share:4.0%}"


def _why(row: Row) -> str:
    """What its state is due to, and where its requests fare otherwise than its probes."""
    backend, parts = row.backend, []
    if row.is_slow:
        parts.append(f"slowest of its pool{_beside_its_probe(backend)}")
    if backend.state == "healthy" and (backend.error_ratio or 0.0) >= MANY_ERRORS:
        parts.append("its requests fail, though its probes pass")
    return "; ".join([*parts, reason_of(backend, row.now_ms)])


def _beside_its_probe(backend: BackendStatus) -> str:
    """Whether a probe meets the same, or only what its requests ask for is slow."""
    is_alike = is_slow_to_probes(backend)
    if is_alike is None:
        return ""
    return f", {'and' if is_alike else 'though'} its probe took {milliseconds(backend.probe_ms)}"


def keep_on_one_line(table: Table, *, but: str) -> Table:
    """The table with a line for each row; where there is no room, the column ``but`` is cut, and what is very long."""
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
        if column.header != but:
            widest = max(cell_len(str(cell)) for cell in (column.header, *column.cells))
            column.min_width = min(widest, WIDTH)
    return table
