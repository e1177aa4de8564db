"""What a checker sees by following the view of a monitor: nothing is probed here, and all who follow agree."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from redis.asyncio import Redis

from sidecar.contract.codec import reading_from_hash
from sidecar.contract.events import Event
from sidecar.contract.model import Address, parse_address
from worker.board import Board
from worker.follow import Follower
from worker.library.checker.accounts import Accounts
from worker.library.checker.sight import Told
from worker.library.checker.source import Source
from worker.library.checker.targets import Watched
from worker.library.engine import Engine
from worker.pool import Pool
from worker.rounds import DEADLINE_S, Rounds, ask

LOOK_S = 1.0
"""How often time is taken into account: what is known ages. A start waits no longer for a first view, either."""


class Following:
    """The backends as a pool's view has them; what was heard outlives each run.

    Args:
        source: of the view.
        watched: who they are here.
        changed: called when there is news, and each second.
    """

    def __init__(self, source: Source, watched: Sequence[Watched], changed: Callable[[], None]) -> None:
        self.knowledge = Told()
        self._source = source
        self._backends = [one.backend for one in watched]
        self._changed = changed
        self._accounts: dict[Board, Accounts] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._times: Rounds | None = None

    @property
    def ids(self) -> Mapping[str, str]:
        """See ``Sight``: their own where the view has these, else that of who listens at the same address."""
        verdicts = self.knowledge.view.backends if self.knowledge.view else {}
        by_address = {address: name for name, verdict in verdicts.items() if (address := _address(verdict.url))}
        return {
            backend.id: backend.id if backend.id in verdicts else by_address.get(backend.address, backend.id)
            for backend in self._backends
        }

    async def run(self, begun: asyncio.Event) -> None:
        """See ``Sight``."""
        pool, url = self._source.keys.pool, self._source.url
        follower = Follower({pool: self._source.keys}, {pool: self.knowledge}, self._heard, lambda: url)
        self._loop = asyncio.get_running_loop()
        times = self._times = Rounds("times", lambda: url)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(follower.run(), name="follow")
                tasks.create_task(times.run(partial(self._read_times, begun)), name="follow-times")
                self._tasks = tasks
                try:
                    await self._look_on(begun)
                finally:
                    self._tasks = None  # which take no more, while they sign off
        finally:
            self._times = None
            self._accounts.clear()

    async def look(self) -> None:
        """See ``Sight``; news come by themselves."""
        self._changed()

    def aim(self, path: str) -> None:
        """See ``Sight``; how it is probed is the monitor's to know."""

    def serve(self, pool: Pool, engine: Engine) -> bool:
        """See ``Sight``; there is an account for each board."""
        if self._tasks is None or self._loop is not pool.loop:
            return False
        accounts = self._accounts.get(engine.board)
        if accounts is None:
            accounts = self._accounts[engine.board] = Accounts(self._source, engine.board, engine.writer)
            self._tasks.create_task(accounts.run(), name="accounts")
        accounts.open(pool)
        return True

    def release(self, pool: Pool) -> None:
        """See ``Sight``."""
        for accounts in self._accounts.values():
            accounts.close(pool)

    def suspect(self, pool: str, backend: str) -> None:
        """See ``Sight``."""
        for accounts in self._accounts.values():
            accounts.suspect(pool, backend)

    def tell(self, pool: str, backend: str, event: Event, reason: str) -> None:
        """See ``Sight``."""
        for accounts in self._accounts.values():
            accounts.tell(pool, backend, event, reason)

    def _heard(self, _pool: str) -> None:
        if self._times is not None:
            self._times.hurry()
        self._changed()

    async def _look_on(self, begun: asyncio.Event) -> None:
        """Keep an eye on the clock; nobody waits for a first view any longer than that."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._changed()
            begun.set()

    async def _read_times(self, begun: asyncio.Event, client: Redis) -> None:
        """What the latest probe of each backend took that passed it."""
        names = list(self.knowledge.view.backends) if self.knowledge.view else []
        if not names:
            return
        async with asyncio.timeout(DEADLINE_S):
            replies = await ask(client, *(("HGETALL", self._source.keys.backend(name)) for name in names))
        hashes = {name: reply for name, reply in zip(names, replies, strict=True) if isinstance(reply, dict)}
        readings = {name: reading_from_hash(fields) for name, fields in hashes.items()}
        self.knowledge.times_ms = {
            name: reading.probe_ms
            for name, reading in readings.items()
            if reading.probe_ms is not None and not reading.fail_streak
        }
        self._changed()
        begun.set()


def _address(url: str) -> Address | None:
    try:
        return parse_address(url)
    except ValueError:
        return None
