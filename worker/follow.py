"""Keeps the newest view of every pool: reads the monitor's heartbeat each second, and the view when it has moved.

Pushes are hints that only start a round early; a lost one costs a second. Whatever the store holds or does, down, hung,
empty or full of another product's keys, is at worst no news: what is known stands, and ages. What is known at the start
is the copy on disk.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from sidecar.contract.codec import ContractError, decode_view, probe_times_of
from sidecar.contract.connect import connect
from sidecar.contract.events import Event, line
from sidecar.contract.keys import PoolKeys
from worker.copy import Copies, Recalled
from worker.rounds import DEADLINE_S, OpenStore, Rounds, ask, clock_ms, end_if_cancelled
from worker.view import AHEAD_MS, Beat, Freshness, Knowledge

VIEW_LIMIT = 1 << 21
"""Bytes read of a view; 1,024 backends take about a quarter of a megabyte. What is longer is not ours."""
QUIET_S = 5.0
"""A subscription that was silent for so long is asked for a sign of life, and given up after as long again.

Shorter than the ``health_check_interval`` of the client, whose own question would hide the answer.
"""
WATCH_S = 0.25
RECALL_S = 0.5
"""What reading the copies may take before the store is asked."""
BEAT_FIELDS = ("seq", "epoch", "store_id", "redis_ms", "probe_ms")

_log = logging.getLogger(__name__)


class Follower:
    """Keeps ``knowledge`` up to date until cancelled; never raises, never touches a request."""

    def __init__(
        self,
        keys: Mapping[str, PoolKeys],
        knowledge: Mapping[str, Knowledge],
        changed: Callable[[str], None],
        find_url: Callable[[], str],
        *,
        copies: Copies | None = None,
        open_store: OpenStore = connect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is opened before ``run``.

        Args:
            keys: of each pool, by its name in the config; after a change, ``repoint`` is called.
            knowledge: what to keep up to date; the same names.
            changed: called on the loop with a pool's name when news came: another view, or that ours still holds
                after it was in doubt. What time alone changes is in ``Selection.holds_until``.
            find_url: where the store is; may raise ``ConfigError`` while there is none.
            copies: what to begin with, and to keep for whoever begins next; None: nothing.
            open_store: makes a client of a URL.
            clock: monotonic seconds.
        """
        self._keys = keys
        self._knowledge = knowledge
        self._changed = changed
        self._copies = copies
        self._clock = clock
        self._polls = Rounds("poll", find_url, open_store=open_store)
        self._pushes = Rounds("push", find_url, open_store=open_store, level=logging.DEBUG)
        self._problems: dict[str, str | None] = {}
        self._freshness: dict[str, Freshness] = {}
        self._has_moved = asyncio.Event()

    @property
    def store_up(self) -> bool:
        """Whether the latest poll was answered."""
        return self._polls.is_up

    async def run(self) -> None:
        """Follow for ever. A subscription that hangs does not hold up the polls, nor the other way round."""
        if self._copies is not None:
            await self._recall(self._copies)
        async with asyncio.TaskGroup() as tasks:
            if self._copies is not None:
                tasks.create_task(self._copies.keep(), name="follow-copy")
            tasks.create_task(self._polls.run(self._poll), name="follow-poll")
            tasks.create_task(self._subscribe(), name="follow-push")
            tasks.create_task(self._watch(), name="follow-watch")

    def repoint(self) -> None:
        """There are other pools in ``keys`` and ``knowledge`` now: look at them at once."""
        for known in (self._problems, self._freshness):
            for pool in known.keys() - self._keys.keys():
                del known[pool]
        self._has_moved.set()
        self._polls.hurry()

    async def _subscribe(self) -> None:
        """Listen for hints of the pools that there are, and anew when there are others."""
        while True:
            self._has_moved.clear()
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._pushes.run(self._listen))
                await self._has_moved.wait()
                listening.cancel()

    async def _recall(self, copies: Copies) -> None:
        """Begin with what the last worker of this machine knew, unless the disk takes too long over it."""
        recalled: Mapping[str, Recalled] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(RECALL_S):
                recalled = await asyncio.to_thread(copies.recall)
        for pool, copy in recalled.items():
            knowledge = self._knowledge.get(pool)
            if knowledge is None or knowledge.view is not None:
                continue
            if knowledge.offer(copy.view, self._clock(), copy.age_s):
                self._changed(pool)

    async def _poll(self, client: Redis) -> None:
        """Read all heartbeats at once, then the views that have moved."""
        asked = dict(self._keys)  # there may be others when the answers come
        async with asyncio.timeout(DEADLINE_S):
            reads = [("HMGET", keys.beat, *BEAT_FIELDS) for keys in asked.values()]
            *replies, moment = await ask(client, *reads, ("TIME",))
            redis_ms = clock_ms(moment)
            beats = {pool: _beat_or_problem(reply, redis_ms) for pool, reply in zip(asked, replies, strict=True)}
            behind = [pool for pool, beat in beats.items() if pool in self._keys and self._is_behind(pool, beat)]
            views = await ask(client, *(("GETRANGE", asked[pool].view, 0, VIEW_LIMIT - 1) for pool in behind))
        raw = dict(zip(behind, views, strict=True))
        for pool, beat in beats.items():
            if self._keys.get(pool) != asked[pool]:
                continue
            self._note_problem(pool, self._learn(pool, beat, raw.get(pool), redis_ms))

    def _is_behind(self, pool: str, beat: Beat | ContractError | None) -> bool:
        """Whether to read the view: it moved, or no heartbeat can say whether it did."""
        return not isinstance(beat, Beat) or self._knowledge[pool].is_behind(beat)

    def _learn(self, pool: str, beat: Beat | ContractError | None, raw: object, redis_ms: int) -> str | None:
        """Take in what was read of a pool; what is wrong with it, if anything is."""
        knowledge, now = self._knowledge[pool], self._clock()
        before = knowledge.view, knowledge.freshness(now)
        problem = str(beat) if isinstance(beat, ContractError) else None
        try:
            if raw:
                view = decode_view(_text(raw))
                knowledge.offer(view, now, max(redis_ms - view.epoch, 0) / 1000, redis_ms=redis_ms)
        except ContractError as error:
            problem = problem or str(error)
        if isinstance(beat, Beat):
            knowledge.beat(beat, now, (redis_ms - beat.redis_ms) / 1000)
        if before != (knowledge.view, knowledge.freshness(now)):
            _log.debug(line(Event.VIEW_APPLIED, pool=pool, epoch=knowledge.view.epoch if knowledge.view else None))
            self._changed(pool)
        return problem

    def _note_problem(self, pool: str, problem: str | None) -> None:
        """Log where garbage begins and where it ends."""
        known, self._problems[pool] = self._problems.get(pool), problem
        if problem and not known:
            _log.warning(line(Event.STORE_GARBAGE, pool=pool, problem=problem))
        elif known and not problem:
            _log.warning(line(Event.STORE_GARBAGE, pool=pool, over="yes"))

    async def _listen(self, client: Redis) -> None:
        """Subscribe, and turn messages into hints until the connection fails."""
        pools = {keys.push: pool for pool, keys in self._keys.items()}
        async with client.pubsub() as subscription:
            await subscription.subscribe(*pools)
            end_if_cancelled()
            self._pushes.succeed()
            self._polls.hurry()  # what was pushed before is lost
            while True:
                channel, epoch = await _next_message(subscription)
                if channel in pools and self._is_news(pools[channel], epoch):
                    self._polls.hurry()

    def _is_news(self, pool: str, epoch: object) -> bool:
        """Whether a push names another epoch than ours; one that names none is not from our monitor."""
        view = self._knowledge[pool].view if pool in self._knowledge else None
        return isinstance(epoch, str) and epoch.isdecimal() and (view is None or epoch != str(view.epoch))

    async def _watch(self) -> None:
        """Log when knowledge comes of age, also while nothing is heard at all."""
        while True:
            await asyncio.sleep(WATCH_S)  # first: a copy from the disk is old, and the first poll is on its way
            now = self._clock()
            for pool, knowledge in self._knowledge.items():
                self._note_freshness(pool, knowledge.freshness(now), knowledge.age_s(now))

    def _note_freshness(self, pool: str, freshness: Freshness, age_s: float | None) -> None:
        known, self._freshness[pool] = self._freshness.get(pool, Freshness.COLD), freshness
        if freshness is known:
            return
        if freshness is Freshness.FRESH and known is not Freshness.COLD:
            _log.warning(line(Event.VIEW_FRESH, pool=pool))
        elif freshness is not Freshness.FRESH:
            _log.warning(line(Event.VIEW_STALE, pool=pool, freshness=freshness, age_s=age_s))


def _beat_or_problem(reply: object, redis_now_ms: int) -> Beat | ContractError | None:
    """The heartbeat in a reply, what is wrong with it, or None where there is none."""
    if not isinstance(reply, list):
        return ContractError(f"the beat cannot be read: {reply}")
    if not any(reply):
        return None
    *said, probe_ms = reply
    seq, epoch, store_id, redis_ms = map(str, said)
    if not all(number.isdecimal() and len(number) < 16 for number in (seq, epoch, redis_ms)):
        return ContractError(
            f"the beat cannot be read: seq={seq[:20]!r} epoch={epoch[:20]!r} redis_ms={redis_ms[:20]!r}"
        )
    if int(epoch) > redis_now_ms + AHEAD_MS:
        return ContractError(f"the beat's epoch {epoch} is more than a day ahead of the store's clock")
    times = probe_times_of(probe_ms) if isinstance(probe_ms, str) else {}
    return Beat(seq=int(seq), epoch=int(epoch), store_id=store_id, redis_ms=int(redis_ms), probe_ms=times)


def _text(raw: object) -> str:
    """The view's text.

    Raises:
        ContractError: the store answered with an error instead.
    """
    if not isinstance(raw, str):
        raise ContractError(f"the view cannot be read: {raw}")
    return raw


async def _next_message(subscription: PubSub) -> tuple[str, object]:
    """The channel and the text of the next message of any kind; empty and None where it has none.

    Raises:
        TimeoutError: the other side gives no sign of life.
    """
    if (message := await subscription.get_message(timeout=QUIET_S)) is None:
        await subscription.ping()
        end_if_cancelled()
        message = await subscription.get_message(timeout=QUIET_S)
    if message is None:
        raise TimeoutError("the subscription gives no sign of life")
    is_push = message["type"] == "message"
    return (str(message["channel"]), message["data"]) if is_push else ("", None)
