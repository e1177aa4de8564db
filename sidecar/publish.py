"""The single, fenced writer of a pool's view: content on change, a heartbeat each second.

One script, ``publish.lua``, checks the lease and writes view, beat, hashes, histories, events and the push together,
or nothing. The epoch is Redis' to give: max(previous + 1, its time in ms), so that it grows over restarts of anything.
What others put into our keys is written over, or told to the caller; it never stops a publication.
"""

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from importlib import resources

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sidecar.contract.codec import ContractError, decode_view, probe_times_text, reading_from_hash, view_body
from sidecar.contract.connect import is_wrong_type
from sidecar.contract.keys import (
    DEPARTED_MS,
    EVENTS_LENGTH,
    HISTORY_LENGTH,
    HISTORY_MS,
    PoolKeys,
    pools_index,
)
from sidecar.contract.model import Reading, View

HISTORY_PAUSE_S = 60.0
"""For how long no history is written after the store was out of memory."""

_SCRIPTS = resources.files("sidecar")
_PUBLISH = _SCRIPTS.joinpath("fence.lua").read_text() + _SCRIPTS.joinpath("publish.lua").read_text()

Fields = Mapping[str, str]


class Outcome(Enum):
    """What became of a write. Only DONE wrote anything, but for FENCED's own event."""

    DONE = "DONE"
    ABSENT = "ABSENT"
    """Nobody holds the lease: claim it again."""
    FENCED = "FENCED"
    """Somebody else leads."""
    LOST = "LOST"
    """The view is not what we published last: publish it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The script's answer. After DONE: the epoch in force, Redis' time, the keys that held something else's data."""

    outcome: Outcome
    epoch: int = 0
    redis_ms: int = 0
    repaired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One event: what changed with a backend, or with the pool where ``backend`` is empty, why, on which evidence."""

    backend: str
    before: str
    after: str
    reason: str
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """What is to be written. ``view`` None: a heartbeat. Hashes and histories are by backend id.

    ``departed`` are backends that are not members any more, whose keys may expire. ``probe_ms`` is what the latest
    probes took, for workers that pick by it; None: there are none in this pool.
    """

    view: View | None = None
    hashes: Mapping[str, Fields] = field(default_factory=dict)
    histories: Mapping[str, Fields] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    departed: Collection[str] = ()
    probe_ms: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEdition:
    """What an earlier leader left: ``view`` None if nothing, or nothing readable (``garbage`` says what)."""

    view: View | None
    readings: Mapping[str, Reading]
    garbage: str | None = None


class Publisher:
    """Writes one pool's keys. Every method may raise ``RedisError`` or ``OSError``; what was done is then unknown."""

    def __init__(
        self, redis: Redis, keys: PoolKeys, owner: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._owner = owner
        self._clock = clock
        self._epoch = 0
        self._view_length = 0
        self._histories_from = 0.0

    async def write(self, edition: Edition, *, token: int, store_id: str) -> Receipt:
        """Write it under a token; without its histories for a while after ``make_room``."""
        if self._clock() < self._histories_from:
            edition = replace(edition, histories={})
        return await self._run(edition, token, store_id)

    async def make_room(self, names: Iterable[str]) -> None:
        """The store is out of memory: give up the histories of these backends, the first thing to go."""
        self._histories_from = self._clock() + HISTORY_PAUSE_S
        await self._redis.delete(*map(self._keys.history, names))

    async def _run(self, edition: Edition, token: int, store_id: str) -> Receipt:
        body = "" if edition.view is None else view_body(edition.view)
        names = [*self._key_names(edition)]
        plan = _plan(edition, by=self._owner, store_id=store_id)
        plan |= {"epoch": str(self._epoch), "view_length": str(self._view_length)}
        reply: list[str] = await self._redis.eval(
            _PUBLISH, len(names), *names, self._owner, token, self._keys.push, json.dumps(plan), body
        )
        outcome = Outcome(reply[0])
        if outcome is not Outcome.DONE:
            return Receipt(outcome=outcome)
        receipt = Receipt(outcome=outcome, epoch=int(reply[1]), redis_ms=int(reply[2]), repaired=tuple(reply[3:]))
        if body:
            self._epoch, self._view_length = receipt.epoch, len(f'{{"epoch":{receipt.epoch},{body}'.encode())
        return receipt

    def _key_names(self, edition: Edition) -> Iterable[str]:
        keys = self._keys
        yield from (keys.leader, keys.view, keys.beat, keys.events)
        yield from map(keys.backend, edition.hashes)
        yield from map(keys.history, edition.histories)
        for name in edition.departed:
            yield from (keys.backend(name), keys.history(name))

    async def announce(self) -> None:
        """Enter the pool into its namespace's index, which has a hash tag of its own."""
        index = pools_index(self._keys.namespace)
        try:
            await self._redis.sadd(index, self._keys.pool)
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            await self._redis.delete(index)
            await self._redis.sadd(index, self._keys.pool)

    async def last(self) -> LastEdition:
        """What stands in the store, for a new leader to go on with."""
        try:
            raw = await self._redis.get(self._keys.view)
            view = None if raw is None else decode_view(raw)
        except ContractError as error:
            return LastEdition(view=None, readings={}, garbage=str(error))
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            return LastEdition(view=None, readings={}, garbage="the view is not a string")
        if view is None:
            return LastEdition(view=None, readings={})
        pipeline = self._redis.pipeline(transaction=False)
        for name in view.backends:
            _ = pipeline.hgetall(self._keys.backend(name))  # only queued here
        hashes = await pipeline.execute(raise_on_error=False)
        readings = {
            name: reading_from_hash(fields)
            for name, fields in zip(view.backends, hashes, strict=True)
            if isinstance(fields, dict)
        }
        return LastEdition(view=view, readings=readings)


def _plan(edition: Edition, *, by: str, store_id: str) -> dict[str, object]:
    """The script's orders; every number in them is text, since Lua's would be floats."""
    return {
        "store_id": store_id,
        "probe_ms": "" if edition.probe_ms is None else probe_times_text(edition.probe_ms),
        "hashes": [_flat(fields) for fields in edition.hashes.values()],
        "histories": [_flat(fields) for fields in edition.histories.values()],
        "events": [_flat(_event(change, by)) for change in edition.changes],
        "events_length": str(EVENTS_LENGTH),
        "history_length": str(HISTORY_LENGTH),
        "history_ms": str(HISTORY_MS),
        "departed_ms": str(DEPARTED_MS),
    }


def _event(change: Change, by: str) -> Fields:
    fields = {
        "backend": change.backend,
        "from": change.before,
        "to": change.after,
        "reason": change.reason,
        "by": by,
    }
    return fields | ({"evidence": change.evidence} if change.evidence else {})


def _flat(fields: Fields) -> list[str]:
    return [part for pair in fields.items() for part in pair]
