"""Writes this worker's heartbeat to every pool each second: which epoch it routes on, and what it has seen.

A backend where nobody was there is told to the monitor at once, and a heartbeat with it; whom this host ejects goes to
the pool's events. Else the worker's own key alone, and its name in the set of workers; both vanish by themselves when
it dies. Shares nothing with the request path but the board, of which it only reads.
"""

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sidecar.contract.codec import report_hash
from sidecar.contract.config import ConfigError
from sidecar.contract.connect import connect
from sidecar.contract.events import Event, line
from sidecar.contract.keys import DEPARTED_MS, EVENTS_LENGTH, WORKER_MS, PoolKeys, worker_member
from sidecar.contract.model import Report, Tally, UnderWay
from worker.board import Seats, Writer
from worker.outlier import Phase
from worker.rounds import DEADLINE_S, EVERY_S, OpenStore, Rounds, ask, clock_ms
from worker.view import Knowledge

FORGET_MS = 60_000
"""How long a worker that went silent keeps its place in ``workers``, for whoever asks who is missing."""
SUSPECT_S = 0.1
"""A backend is not told to the monitor more often than that; one probe under way is enough."""
MAX_TOLD = 64
"""Events that wait for a store which is away; the oldest go first."""
GOODBYE_S = 0.5
"""What a clean stop may spend on signing off; else the keys expire."""

_log = logging.getLogger(__name__)


def identity(host: str, instance: str, slot: int | None) -> Report:
    """An empty report of this process. A worker without a slot has minus its pid for one, which nobody else has."""
    pid = os.getpid()
    return Report(
        host=host, instance=instance, slot=-pid if slot is None else slot, pid=pid, incarnation=uuid.uuid4().hex
    )


class Reporter:
    """Reports until cancelled, then signs off; never raises."""

    def __init__(
        self,
        me: Report,
        keys: Mapping[str, PoolKeys],
        knowledge: Mapping[str, Knowledge],
        find_url: Callable[[], str],
        *,
        writer: Writer,
        seats: Mapping[str, Seats],
        under_way: Callable[[], UnderWay] = UnderWay,
        open_store: OpenStore = connect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is opened before ``run``.

        Args:
            me: who reports; see ``identity``.
            keys: of each pool, by its name in the config.
            knowledge: of each pool.
            find_url: where the store is; may raise ``ConfigError`` while there is none.
            writer: this worker's own, which knows whether it drains.
            seats: where each pool counts.
            under_way: what this worker has to see to its end.
            open_store: makes a client of a URL.
            clock: monotonic seconds.
        """
        self._me = me
        self._member = worker_member(me.host, me.instance, me.slot)
        self._keys = keys
        self._knowledge = knowledge
        self._writer = writer
        self._seats = seats
        self._under_way = under_way
        self._clock = clock
        self._rounds = Rounds("report", find_url, open_store=open_store, level=logging.DEBUG)
        self._find_url = find_url
        self._open_store = open_store
        self._refused: dict[str, str | None] = {}
        self._suspects: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], float] = {}
        self._events: deque[tuple[str, str, Event, str]] = deque(maxlen=MAX_TOLD)

    async def run(self) -> None:
        """Report for ever; when cancelled, remove what was written."""
        try:
            await self._rounds.run(self._report_all)
        finally:
            await self._sign_off()

    def suspect(self, pool: str, backend: str) -> None:
        """Have the monitor look at a backend now; returns at once, and sends nothing itself."""
        now = self._clock()
        if now - self._told.get((pool, backend), -SUSPECT_S) >= SUSPECT_S:
            self._told[pool, backend] = self._suspects[pool, backend] = now
            self._rounds.hurry()

    def tell(self, pool: str, backend: str, event: Event, reason: str) -> None:
        """Have an event of this host written: a backend was EJECTED or READMITTED. Returns at once."""
        self._events.append((pool, backend, event, reason))
        self._rounds.hurry()

    def hurry(self) -> None:
        """Report as soon as possible: somebody waits to hear that a view is applied."""
        self._rounds.hurry()

    async def _report_all(self, client: Redis) -> None:
        """Suspicions first, then a heartbeat to every pool; one that refuses it does not keep it from the others."""
        async with asyncio.timeout(DEADLINE_S):
            await self._tell_suspects(client)
            await self._tell_events(client)
            now_ms = clock_ms(await client.time())
            for pool in list(self._keys):
                if pool in self._keys:  # still: each of them takes a moment
                    self._note_refusal(pool, await self._report(client, pool, now_ms))

    async def _tell_suspects(self, client: Redis) -> None:
        """Each is told once or, where the store was away for longer than a heartbeat, not at all."""
        since = self._clock() - EVERY_S
        suspects = {who: at for who, at in self._suspects.items() if at >= since and who[0] in self._keys}
        if suspects:
            await ask(client, *(("PUBLISH", self._keys[pool].suspect, backend) for pool, backend in suspects))
        self._suspects = {who: at for who, at in self._suspects.items() if at >= since and suspects.get(who) != at}

    async def _tell_events(self, client: Redis) -> None:
        """Each once, where the store was away when it is back; what it refuses is lost, and the monitor's to mend."""
        events = list(self._events)
        told = [self._event(*event) for event in events if event[0] in self._keys]
        if told:
            await ask(client, *told)
        while self._events and self._events[0] in events:
            self._events.popleft()

    def _event(self, pool: str, backend: str, event: Event, reason: str) -> tuple[str | int, ...]:
        """The command that writes it."""
        view = self._knowledge[pool].view
        fields = {
            "epoch": str(view.epoch if view else 0),
            "backend": backend,
            "from": Event.EJECTED if event is Event.READMITTED else "",
            "to": event,
            "reason": f"on {self._me.host}: {reason}",
            "by": self._member,
        }
        told = [part for field in fields.items() for part in field]
        return ("XADD", self._keys[pool].events, "MAXLEN", "~", EVENTS_LENGTH, "*", *told)

    async def _report(self, client: Redis, pool: str, now_ms: int) -> str | None:
        """Write one pool's key and set, in one transaction: the key is never seen half written. The error, if any."""
        keys = self._keys[pool]
        key = keys.worker(self._member)
        fields = report_hash(self._current(pool, now_ms))
        replies = await ask(
            client,
            ("DEL", key),  # fields of departed backends, or a value that is not ours
            ("HSET", key, *(part for field in fields.items() for part in field)),
            ("PEXPIRE", key, WORKER_MS),
            ("ZADD", keys.workers, now_ms, self._member),
            ("ZREMRANGEBYSCORE", keys.workers, "-inf", now_ms - FORGET_MS),
            ("PEXPIRE", keys.workers, DEPARTED_MS),
            at_once=True,
        )
        return next((str(reply) for reply in replies if isinstance(reply, Exception)), None)

    def _current(self, pool: str, now_ms: int) -> Report:
        knowledge, seats, now = self._knowledge[pool], self._seats[pool], self._clock()
        age_s = knowledge.age_s(now)
        return replace(
            self._me,
            heartbeat_ms=now_ms,
            applied_epoch=knowledge.view.epoch if knowledge.view else 0,
            view_age_ms=None if age_s is None else round(age_s * 1000),
            draining=self._writer.is_draining,
            under_way=self._under_way(),
            tallies={backend: _tally(seats, row, now) for backend, row in seats.rows.items()},
        )

    def _note_refusal(self, pool: str, refusal: str | None) -> None:
        known, self._refused[pool] = self._refused.get(pool), refusal
        if refusal and not known:
            _log.warning(line(Event.STORE_GARBAGE, part="report", pool=pool, problem=refusal))
        elif known and not refusal:
            _log.warning(line(Event.STORE_GARBAGE, part="report", pool=pool, over="yes"))

    async def _sign_off(self) -> None:
        """Remove what was written, as far as that is possible in ``GOODBYE_S``."""
        with contextlib.suppress(RedisError, OSError, ConfigError):
            async with asyncio.timeout(GOODBYE_S), self._open_store(self._find_url()) as client:
                for keys in list(self._keys.values()):
                    await client.delete(keys.worker(self._member))
                    await client.zrem(keys.workers, self._member)


def _tally(seats: Seats, row: int, now: float) -> Tally:
    """What this worker saw of a backend, with times; on probation, a millisecond of its ejection is left."""
    standing, started = seats.board.host.standing(row), seats.writer.ok_started(row)
    left_ms = round((standing.ejected_until - now) * 1000)
    tally = seats.writer.tally(row)
    return replace(
        tally,
        ejected_ms=0 if standing.phase(now) is Phase.IN else max(left_ms, 1),
        ok_age_ms=None if started is None else max(round((now - started) * 1000), 0),
        first_bytes=seats.writer.first_bytes(row) if tally.responses else (),
    )
