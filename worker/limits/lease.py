"""Gets a master its part of what the fleet may ask of its backends, from the store, off the request path.

One worker of each master does it, the one of the lowest live slot; the others read the board. Places are leased each
second for five, and more often while somebody waits; requests of a window in chunks by demand, as they run out.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sidecar.contract.config import ConfigError
from sidecar.contract.connect import connect
from sidecar.contract.events import Event, line
from sidecar.contract.keys import SHARE_MS, PoolKeys
from worker.board.limits import Limit
from worker.limits.pool import LimitedPool
from worker.limits.windows import AHEAD_S, Demand, Reading, numbers_due
from worker.rounds import DEADLINE_S, EVERY_S, Command, OpenStore, Rounds, ask

WATCH_S = 0.02
"""How soon it is noticed that leased requests run out, by the one who leases; nothing is sent for a look."""
TURN_S = 0.25
"""How soon another worker takes over, and how often places are asked for while somebody waits."""
SHRUNK_S = 0.05
"""Places to be given back are given back so soon, if they are not in use any more by then."""
LATELY_S = 5.0
"""Who had a request so lately may have another one, and wants a place."""
GOODBYE_S = 0.5
"""What a clean stop may spend on giving back; else leases run out by themselves."""
TRIES = 50
"""At the lock of a row, a millisecond apart; its holders need microseconds."""

_SCRIPTS = resources.files("worker.limits")
PLACES = _SCRIPTS.joinpath("places.lua").read_text()
QUOTA = _SCRIPTS.joinpath("quota.lua").read_text()

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Leased:
    """What is kept of one backend between rounds. ``full`` is the window of which there is nothing left to lease."""

    pool: LimitedPool
    limit: Limit
    keys: PoolKeys
    member: str
    demand: Demand
    full: int = -1
    spent: int = 0
    wanted_until: float = 0.0

    @property
    def window_ms(self) -> int:
        return max(round(self.limit.window_s * 1000), 1)

    def wanted(self, now: float) -> int:
        """How many places would be used; one for who comes now and then, and is not here at this moment."""
        wanted = self.pool.in_flight(self.limit.row) + self.pool.waiting
        spent, self.spent = self.spent, self.pool.area.spent(self.limit.row)
        if wanted or spent != self.spent:
            self.wanted_until = now + LATELY_S
        return max(wanted, int(now < self.wanted_until))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """So many requests of a window, by its number; ``debt`` more were made without asking.

    ``again``: some of the window have been leased before, and if the store does not know of it, nobody knows how many.
    """

    one: _Leased
    number: int
    count: int
    debt: int = 0
    again: bool = False


class Leaser:
    """Leases until cancelled; never raises."""

    def __init__(
        self,
        pools: Mapping[str, LimitedPool],
        keys: Mapping[str, PoolKeys],
        find_url: Callable[[], str],
        *,
        member: str,
        alone: str,
        is_scribe: Callable[[], bool],
        is_last: Callable[[], bool],
        open_store: OpenStore = connect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is opened before ``run``.

        Args:
            pools: those with limits, by their names in the config.
            keys: of each pool, by the same names; of others, too.
            find_url: where the store is; may raise ``ConfigError`` while there is none.
            member: who leases for the master, ``<host>:<instance>``.
            alone: who leases for a pool of this worker that its siblings do not see.
            is_scribe: whether it is this worker that leases for all of them just now.
            is_last: asked once, when this worker ends: whether the master ends with it.
            open_store: makes a client of a URL.
            clock: monotonic seconds.
        """
        self._keys = keys
        self._member = member
        self._alone = alone
        self._leased: list[_Leased] = []
        self._find_url = find_url
        self._is_scribe = is_scribe
        self._is_last = is_last
        self._open_store = open_store
        self._clock = clock
        self._rounds = Rounds("limits", self._find, open_store=open_store, level=logging.DEBUG)
        self._ours: list[_Leased] = []
        self._ours_until = 0.0
        self._places_at = 0.0
        self._places_asked = -TURN_S
        self._reading: Reading | None = None
        self._problem = ""
        self.use(pools)

    def use(self, pools: Mapping[str, LimitedPool]) -> None:
        """Lease for these from now on, and at once; of those that stay all is kept."""
        known = {id(one.limit): one for one in self._leased}
        self._leased = [
            known.get(id(limit))
            or _Leased(
                pool=pool, limit=limit, keys=self._keys[name], member=self._alone if pool.is_alone else self._member,
                demand=Demand(pool.area.spent(limit.row), self._clock()),
            )
            for name, pool in pools.items() for limit in pool.limits.values()
        ]  # fmt: skip
        self._ours_until = self._places_at = 0.0

    async def run(self) -> None:
        """Lease for ever; when cancelled, give places back where nobody of this master needs them any more."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._rounds.run(self._lease_all), name="limits-lease")
                tasks.create_task(self._watch(), name="limits-watch")
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        """Else a master that follows this one has to wait until these leases have run out."""
        if not self._is_last():
            return
        idle = [one for one in self._leased if one.limit.places and not one.pool.in_flight(one.limit.row)]
        with contextlib.suppress(RedisError, OSError, ConfigError):
            async with asyncio.timeout(GOODBYE_S), self._open_store(self._find_url()) as client:
                await ask(client, *(("HDEL", one.keys.share(one.limit.backend), one.member) for one in idle))

    def _find(self) -> str:
        try:
            return self._find_url()
        except Exception:
            self._lose_store()
            raise

    def _mine(self, now: float) -> list[_Leased]:
        """What it is for this worker to lease; looked up now and then."""
        if now >= self._ours_until:
            is_scribe = self._is_scribe()
            self._ours = [one for one in self._leased if one.pool.is_alone or is_scribe]
            self._ours_until = now + TURN_S
        return self._ours

    async def _watch(self) -> None:
        """Start a round as soon as there is need of one."""
        while True:
            now = self._clock()
            mine = self._mine(now)
            if now >= self._places_asked + TURN_S and any(one.limit.places and one.pool.waiting for one in mine):
                self._places_at = now
            if self._rounds.is_up and (now >= self._places_at or any(self._asks(one, now) for one in mine)):
                self._rounds.hurry()
            await asyncio.sleep(WATCH_S if mine else TURN_S)

    async def _lease_all(self, client: Redis) -> None:
        """Places where it is time for that, then requests where they run out."""
        mine = self._mine(self._clock())
        try:
            async with asyncio.timeout(DEADLINE_S):
                if mine and (self._reading is None or self._clock() >= self._places_at):
                    await self._lease_places(client, mine)
                await self._lease_requests(client, mine)
        except Exception:
            self._lose_store()
            raise

    def _lose_store(self) -> None:
        self._places_at = 0.0
        for one in self._mine(self._clock()):
            one.pool.area.lose_store(one.limit.row)

    async def _lease_places(self, client: Redis, mine: list[_Leased]) -> None:
        asked = self._places_asked = self._clock()
        self._places_at = asked + EVERY_S
        using = [self._using(one, asked) for one in mine]
        wanted = [one.wanted(asked) for one in mine]
        replies = await ask(client, *map(self._places_command, mine, using, wanted))
        answered = self._clock()
        for one, uses, reply in zip(mine, using, replies, strict=True):
            match reply:
                case [int(places), str(stamp), int(masters), int(rank)]:
                    self._reading = Reading(store_s=int(stamp) / 1e6, asked=asked, answered=answered)
                    await self._grant(one, places, self._reading, masters=masters, rank=rank)
                    if places < uses:
                        self._places_at = min(self._places_at, answered + SHRUNK_S)
                case _:
                    self._refused(one, reply)

    async def _grant(self, one: _Leased, places: int, reading: Reading, *, masters: int, rank: int) -> None:
        """Have all workers of the master use so many places."""
        stamp, until = round(reading.store_s * 1e6), reading.asked + SHARE_MS / 1000

        def write() -> None:
            one.pool.area.grant(one.limit.row, places, stamp=stamp, masters=masters, rank=rank, until=until)

        await self._under_lock(one, write)

    @staticmethod
    def _using(one: _Leased, now: float) -> int:
        """How many places may be in use until the answer is here."""
        if one.limit.places is None:
            return 0
        return max(int(one.pool.area.places(one.limit, now)), one.pool.in_flight(one.limit.row))

    @staticmethod
    def _places_command(one: _Leased, uses: int, wanted: int) -> Command:
        limit = one.limit
        for_people = limit.requests or 0, one.window_ms
        key, known = one.keys.share(limit.backend), one.pool.area.masters(limit.row)
        return ("EVAL", PLACES, 1, key, one.member, limit.places or 0, SHARE_MS, uses, wanted, known, *for_people)

    def _asks(self, one: _Leased, now: float) -> list[_Ask]:
        """Of which windows to lease how many requests."""
        if self._reading is None or one.limit.requests is None:
            return []
        area, row, demand, waiting = one.pool.area, one.limit.row, one.demand, one.pool.waiting
        demand.observe(area.spent(row), now)
        current, *following = numbers_due(self._reading.store_at(now), one.window_ms / 1000)
        due = [number for number in following if area.lease_of(row, number) is None]  # a first chunk of it will do
        asks = [_Ask(one=one, number=number, count=demand.asks(0, waiting)) for number in due]
        left = area.lease_of(row, current)
        if current != one.full and (count := demand.asks(left or 0, waiting)):
            again = left is not None and one.limit.rule != "open"
            asks.append(_Ask(one=one, number=current, count=count, debt=area.debt(one.limit, now), again=again))
        return asks

    async def _lease_requests(self, client: Redis, mine: list[_Leased]) -> None:
        asked = self._clock()
        asks = [each for one in mine for each in self._asks(one, asked)]
        if not asks:
            return
        replies = await ask(client, *map(self._quota_command, asks))
        answered = self._clock()
        for each, reply in zip(asks, replies, strict=True):
            match reply:
                case [int(count), str(stamp), int(leased)]:
                    reading = self._reading = Reading(store_s=int(stamp) / 1e6, asked=asked, answered=answered)
                    if leased >= 0:
                        await self._take(each, count, reading)
                    if leased >= (each.one.limit.requests or 0):
                        each.one.full = each.number
                case _:
                    self._refused(each.one, reply)

    async def _take(self, each: _Ask, count: int, reading: Reading) -> None:
        """Have all workers of the master spend what was leased."""
        begins, ends = reading.edges(each.number, each.one.window_ms / 1000)
        area, row = each.one.pool.area, each.one.limit.row

        def write() -> None:
            area.lease(row, each.number, count, begins=begins, ends=ends)
            if each.debt:
                area.settle(row)

        await self._under_lock(each.one, write)

    @staticmethod
    def _quota_command(each: _Ask) -> Command:
        one = each.one
        key = one.keys.quota(one.limit.backend, each.number)
        limit, takers = one.limit.requests or 0, 2 * max(one.pool.area.masters(one.limit.row), 1)
        ahead_ms = round(AHEAD_S * 1000)
        told = each.number, one.window_ms, limit, each.count, each.debt, ahead_ms, takers, int(each.again)
        return ("EVAL", QUOTA, 1, key, *told)

    @staticmethod
    async def _under_lock(one: _Leased, write: Callable[[], None]) -> None:
        """Write to a row's cells; what cannot be had of the lock in time is leased again in the next round."""
        for _ in range(TRIES):
            with one.pool.area.lock(one.limit.row) as had:
                if had:
                    write()
                    return
            await asyncio.sleep(0.001)

    def _refused(self, one: _Leased, reply: object) -> None:
        """The store answered with something else: that backend's leases run out, and then it is as if it were gone."""
        one.pool.area.lose_store(one.limit.row)
        if (problem := str(reply)) != self._problem:
            self._problem = problem
            _log.warning(line(Event.STORE_GARBAGE, part="limits", pool=one.keys.pool, problem=problem))
