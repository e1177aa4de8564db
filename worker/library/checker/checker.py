"""``HealthChecker``: which backends are well, and how fast they answer; asked by apps, and by ``LoadBalancer``."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import httpx

from sidecar.contract.config import HealthCheck
from sidecar.contract.events import Event, line
from worker.library.checker.following import Following
from worker.library.checker.probed import Probed
from worker.library.checker.sight import Listener, Sight
from worker.library.checker.source import source_of
from worker.library.checker.standing import Status, statuses
from worker.library.checker.targets import origin_of, read_targets, sendable

_PERSONALIZED = "Global ping_path is not supported when using personalized hosts"
ROUND = 0.9
"""The part of ``interval`` that lies between two values of ``last_update`` at least: intervals vary by a tenth."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Run:
    """One start: its task, and whether the first look is over."""

    task: asyncio.Task[None]
    begun: asyncio.Event

    @property
    def is_under_way(self) -> bool:
        return not self.task.done() and self.task.get_loop().is_running()


class HealthChecker:
    """Watches backends between ``start`` and ``stop``, or as an async context manager.

    It probes each of them on its own timer, so that one which hangs delays nobody. With ``redis_url`` it probes nothing
    and follows the view of the monitor there, so that all who do so agree; what the app's traffic meets is reported.

    Attributes:
        targets: the backends' origins, in order.
        status: of each, milliseconds of the latest probe that passed (0.0 before there was any), or False: it is down.
        last_update: when ``status`` was last made anew as a whole, once per interval (``time.perf_counter``).
        target_configs: the dictionaries that targets were given as, by origin; empty ones for plain text.
        watched, sight, is_following: for a balancer: who they are, where verdicts come from, whether from a store.
    """

    def __init__(
        self,
        targets: Sequence[str] | Sequence[dict[str, Any]],
        interval: float = 10,
        timeout: float = 10,
        httpx_client: httpx.AsyncClient | None = None,
        *,
        ping_path: str | None = None,
        redis_url: str | None = None,
        namespace: str = "default",
        pool: str = "default",
        host: str | None = None,
        method: str = "GET",
        expected_statuses: str = "200-399",
        fall: int = 1,
        rise: int = 1,
    ) -> None:
        """Say what to watch; nothing is opened before ``start``.

        Args:
            targets: URLs; or dictionaries with a ``host`` each, and ``pingpath``, ``maxrequests`` (per interval) and
                the keys of a backend in the config file: ``id``, ``weight``, ``backup``, ``zone``, ``max_inflight``.
            interval: seconds between two probes of a backend.
            timeout: of a whole probe, in seconds.
            httpx_client: what to probe with, with its authentication and TLS; its owner closes it.
            ping_path: of plain targets; ``/`` by default.
            redis_url: the store of the view to follow; None: probe.
            namespace, pool, host: whose view it is; with ``host``, and where all targets are on this machine, it is
                that of ``<pool>@<host>``.
            method: GET, since a FastAPI route answers HEAD with 405.
            expected_statuses: who answers with these is well.
            fall, rise: how many probes in a row take a backend down, and bring it back. One is enough, as in
                fastapi-reverse-proxy, whose ``status`` tells of the latest probe; 3 and 2 are steadier.

        Raises:
            ValueError: no targets, or a value out of its bounds.
            TypeError: targets of two kinds.
            KeyError: a dictionary has no ``host``.
            RuntimeError: ``ping_path`` beside dictionaries, which have their own.
        """
        _refuse_haste(interval, timeout)
        self.interval, self.timeout, self._ping_path = interval, timeout, ping_path or "/"
        watched = read_targets(targets, self._ping_path)
        self.is_personalized = isinstance(targets[0], dict)
        if self.is_personalized and ping_path is not None:
            raise RuntimeError(_PERSONALIZED)
        self.targets = [one.host for one in watched]
        self.target_configs = {one.host: one.config for one in watched}
        self.status: dict[str, Status] = dict.fromkeys(self.targets, 0.0)
        self.last_update = time.perf_counter()
        self.watched = {one.host: one for one in watched}
        self.is_following = redis_url is not None
        self.sight: Sight
        if redis_url is not None:
            self.sight = Following(source_of(redis_url, namespace, pool, host, watched), watched, self._changed)
        else:
            check = HealthCheck(
                method=method, expected_statuses=expected_statuses, fall=fall, rise=rise, interval_s=interval,
                timeout_s=timeout,
            )  # fmt: skip
            self.sight = Probed(pool, watched, check, client=httpx_client, changed=self._changed)
        self._run: _Run | None = None
        self._listeners: WeakSet[Listener] = WeakSet()

    @property
    def ping_path(self) -> str:
        """Where plain targets are probed.

        Raises:
            RuntimeError: targets are dictionaries, which have their own.
        """
        if self.is_personalized:
            raise RuntimeError(_PERSONALIZED)
        return self._ping_path

    @ping_path.setter
    def ping_path(self, path: str) -> None:
        if self.is_personalized:
            raise RuntimeError(_PERSONALIZED)
        self._ping_path = path
        self.sight.aim(sendable(path))

    def listen(self, listener: Listener) -> None:
        """Have somebody hear of news for as long as they live."""
        self._listeners.add(listener)

    async def start(self) -> None:
        """Look at all backends at once, and again and again from then on; returns when the first look is over.

        A store that is silent is waited for no longer than a second. A second start waits for the first.
        """
        run, is_first = self._run, False
        if run is None or not run.is_under_way:
            begun = asyncio.Event()
            task = asyncio.get_running_loop().create_task(self._keep(begun), name="health-checker")
            run, is_first = _Run(task, begun), True
            self._run = run
        try:
            await run.begun.wait()
        except BaseException:
            if is_first:
                await self.stop()
            raise
        if run.task.done() and not run.task.cancelled():
            run.task.result()

    async def stop(self) -> None:
        """Look no more; ``status`` stays as it is. ``start`` goes on."""
        run, self._run = self._run, None
        if run is None or run.task.done():
            return
        loop = run.task.get_loop()
        if loop is asyncio.get_running_loop():
            run.task.cancel()
            await asyncio.wait([run.task])
        elif not loop.is_closed():
            loop.call_soon_threadsafe(run.task.cancel)

    async def destroy(self) -> None:
        """The same: nothing is held open between probes; a client that was given is its owner's to close."""
        await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.destroy()

    async def check_all(self) -> None:
        """Probe all backends now, and wait for the results; where a view is followed, take in what it says now."""
        if self._run is not None and self._run.is_under_way:
            await self.sight.look()
        else:
            await self._look_once()
        self.last_update = time.perf_counter()
        self._changed()

    def get_healthy_targets(self) -> list[str]:
        """Those that are not down."""
        return [host for host in self.targets if self.status.get(host) is not False]

    def get_response_times(self) -> dict[str, float]:
        """The milliseconds of those that are not down."""
        return {host: float(status) for host, status in self.status.items() if status is not False}

    def get_fastest(self) -> str | None:
        """The one that answered its latest probe fastest; None: all are down."""
        times = self.get_response_times()
        return min(times, key=times.__getitem__) if times else None

    def is_healthy(self, target: str) -> bool:
        """Whether a backend is watched, and not down; a path in its URL does not matter."""
        return self.status.get(origin_of(target), False) is not False

    async def _keep(self, begun: asyncio.Event) -> None:
        try:
            await self.sight.run(begun)
        except Exception:
            if not begun.is_set():
                raise
            _log.exception(line(Event.STOPPED, part="health-checker"))
        finally:
            begun.set()

    async def _look_once(self) -> None:
        begun = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self.sight.run(begun))
            await begun.wait()
            looking.cancel()

    def _changed(self) -> None:
        """There is news."""
        ids = self.sight.ids
        hosts = {host: ids[one.backend.id] for host, one in self.watched.items()}
        knowledge = self.sight.knowledge
        self.status.update(statuses(hosts, knowledge, knowledge.times_ms, time.monotonic()))
        if (now := time.perf_counter()) - self.last_update >= ROUND * self.interval:
            self.last_update = now
        for listener in list(self._listeners):
            listener.heard()


def _refuse_haste(interval: float, timeout: float) -> None:
    """Raise what the original does."""
    for name, value in (("Interval", interval), ("Timeout", timeout)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1")
