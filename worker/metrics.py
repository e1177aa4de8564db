"""What a host counts, as Prometheus reads it: sums over all workers, whichever of them answers.

Everything comes from the board, but for the states of backends: those are of the view that the answering worker
follows. A pool that found no room on the board is told as that worker knows it, and marked; a worker past the last slot
is told by its number alone.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final, Protocol

from sidecar.contract.events import Metric
from sidecar.contract.exposition import Kind, Page, bounds_of, labels
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Health, View
from worker.board import Board, Seats
from worker.failure import REFUSALS, RETRY_REASONS
from worker.outlier import Phase
from worker.readiness import crew
from worker.view import Knowledge, Selection, Tier

VERSION: Final = version("sidebeat")
SLICE_S: Final = 0.001
"""So long may a scrape keep the loop from requests at a time: all of it takes 60 ms with a thousand backends and eight
workers (measured 2026-11)."""

_BOUNDS = bounds_of(BUCKETS)
_CODES = tuple(f',code="{kind}xx"' for kind in range(1, 6))
_REASONS = tuple(f',reason="{reason}"' for reason in RETRY_REASONS)
_STATES = tuple((state, f',state="{state}"') for state in Health)


class Measured(Protocol):
    """What is looked at; ``worker.runtime`` has the real one."""

    board: Board

    @property
    def seats(self) -> Mapping[str, Seats]:
        """Where each pool counts."""

    @property
    def knowledge(self) -> Mapping[str, Knowledge]:
        """What is known of each pool."""

    def selection(self, pool: str) -> Selection:
        """The backends of a pool that would be picked from now."""


class HostMetrics:
    """A page for each scrape, read anew, in slices."""

    def __init__(self, runtime: Measured, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, the one that ``runtime.knowledge`` ages by."""
        self._runtime = runtime
        self._clock = clock

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its type, for who accepts that."""
        page = Page(accept, VERSION)
        turns = _Turns(page)
        found = [(pool, seats, self._view(pool)) for pool, seats in self._runtime.seats.items()]  # a reload may come
        self._tell_host(page)
        self._tell_pools(page)
        write = _Backends(page)
        for pool, seats, view in found:
            for backend, row in seats.rows.items():
                await turns.give()
                self._tell_backend(write, labels(pool=pool, backend=backend), seats, row, _state(view, backend))
        parts = []
        for part in page.parts():
            await turns.give()
            parts.append(part)
        return b"".join(parts), page.content_type

    def _view(self, pool: str) -> View:
        return self._runtime.knowledge[pool].view or View()

    def _tell_backend(self, write: "_Backends", key: str, seats: Seats, row: int, current: Health) -> None:
        is_ejected = seats.board.host.standing(row).phase(self._clock()) is not Phase.IN
        write.traffic(key, seats.board, row)
        write.standing(key, current, is_ejected=is_ejected)

    def _tell_host(self, page: Page) -> None:
        board, workers = self._runtime.board, crew(self._runtime.board)
        states = page.family(
            Metric.WORKERS, Kind.GAUGE, "Live workers; nothing else here has what is counted by one that is uncounted."
        )
        for state in ("serving", "starting", "draining"):
            states.add(labels(state=state), getattr(workers, state))
        states.add(labels(state="uncounted"), board.homeless)
        page.family(Metric.DRAINING, Kind.GAUGE, "Workers that drain.").add("", workers.draining)
        slots = board.states()
        ages = [self._clock() - slot.heartbeat_s for slot in slots if slot.heartbeat_s]
        heartbeat = page.family(
            Metric.HEARTBEAT_AGE,
            Kind.GAUGE,
            "Of all workers, how long ago a loop last turned that has not for longest.",
        )
        heartbeat.add("", max((*ages, 0.0)))
        heard = {slot.store_up for slot in slots} - {None}
        store = page.family(Metric.STORE_UP, Kind.GAUGE, "1 while the store answers every worker that has asked it.")
        store.add("", bool(heard) and False not in heard)
        refusals = page.family(
            Metric.REFUSALS, Kind.COUNTER, "Requests that were answered by the proxy itself, by x-sidebeat-error."
        )
        for failure, count in zip(REFUSALS, board.refusals(), strict=True):
            refusals.add(labels(reason=failure.text), count)

    def _tell_pools(self, page: Page) -> None:
        pending = page.family(Metric.PENDING, Kind.GAUGE, "Requests that wait for a place at a backend.")
        panic = page.family(Metric.PANIC, Kind.GAUGE, "1 while a pool has nobody left that one would choose.")
        off_board = page.family(
            Metric.OFF_BOARD, Kind.GAUGE, "1 where the figures of a pool are those of the answering worker alone."
        )
        for pool, seats in self._runtime.seats.items():
            key = labels(pool=pool)
            pending.add(key, sum(seats.writer.cells.limits.waiting(row) for row in seats.rows.values()))
            panic.add(key, self._runtime.selection(pool).tier is Tier.PANIC)
            off_board.add(key, seats.board is not self._runtime.board)
        self._tell_views(page)

    def _tell_views(self, page: Page) -> None:
        now = self._clock()
        ages = page.family(Metric.VIEW_AGE, Kind.GAUGE, "How old the oldest view is that any worker follows.")
        epochs = page.family(
            Metric.VIEW_EPOCH, Kind.GAUGE, "The oldest view that any worker follows; 0: one of them has none."
        )
        behind = page.family(Metric.WORKERS_BEHIND, Kind.GAUGE, "Workers that follow an older view than a sibling.")
        for pool, seats in self._runtime.seats.items():
            key, views = labels(pool=pool), seats.views()
            if views:
                newest = max(epoch for epoch, _ in views)
                epochs.add(key, min(epoch for epoch, _ in views))
                behind.add(key, sum(epoch < newest for epoch, _ in views))
            if oldest := min((at for _, at in views if at), default=None):
                ages.add(key, max(now - oldest, 0.0))


class _Backends:
    """The families that have a sample for each backend."""

    def __init__(self, page: Page) -> None:
        counter, gauge, histogram = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
        family = page.family
        self.requests = family(Metric.REQUESTS, counter, "Responses of backends by class of status.")
        self.retries = family(Metric.RETRIES, counter, "Attempts that were followed by another one, and why.")
        self.hedges = family(Metric.HEDGES, counter, "Second attempts of requests under way.")
        self.failures = family(
            Metric.FAILURES, counter, "Attempts that failed by the backend's fault, its server errors included."
        )
        self.inflight = family(Metric.INFLIGHT, gauge, "Requests under way.")
        self.tunnels = family(Metric.TUNNELS, gauge, "Requests under way that have become tunnels.")
        self.messages = family(Metric.MESSAGES, counter, "WebSocket messages passed, both ways.")
        self.first_byte = family(Metric.FIRST_BYTE, histogram, "Time to the response head.")
        self.duration = family(Metric.DURATION, histogram, "Time to the last byte of the response.")
        self.states = family(Metric.BACKEND_STATE, gauge, "1 for the state that a backend has in the view.")
        self.ejected = family(Metric.EJECTED, gauge, "1 while real traffic keeps a backend out on this host.")

    def traffic(self, key: str, board: Board, row: int) -> None:
        """All that was counted of a backend; ``key`` has its labels."""
        seen = board.figures(row)
        for code, count in zip(_CODES, seen.statuses, strict=True):
            self.requests.add(key + code, count)
        for reason, count in zip(_REASONS, seen.retries, strict=True):
            self.retries.add(key + reason, count)
        self.hedges.add(key, seen.hedges)
        self.failures.add(key, seen.failures)
        self.inflight.add(key, seen.inflight)
        self.tunnels.add(key, seen.tunnels)
        self.messages.add(key, seen.messages)
        self.first_byte.add_histogram(key, _BOUNDS, seen.first_bytes, seen.first_byte_s)
        self.duration.add_histogram(key, _BOUNDS, seen.durations, seen.duration_s)

    def standing(self, key: str, current: Health, *, is_ejected: bool) -> None:
        """What is thought of it."""
        for state, label in _STATES:
            self.states.add(key + label, state is current)
        self.ejected.add(key, is_ejected)


class _Turns:
    """Lets the loop serve requests now and then."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._until = time.perf_counter() + SLICE_S

    async def give(self) -> None:
        """Wait for a turn of the loop, where it is time for one."""
        if time.perf_counter() >= self._until:
            self._page.settle()
            await asyncio.sleep(0)
            self._until = time.perf_counter() + SLICE_S


def _state(view: View, backend: str) -> Health:
    verdict = view.backends.get(backend)
    return verdict.state if verdict else Health.UNKNOWN
