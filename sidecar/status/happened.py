"""What happened in a pool: the stream ``events``, as it stands and as it grows. Reads only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sidecar.contract.connect import is_wrong_type
from sidecar.contract.keys import PoolKeys
from sidecar.status.figures import whole_of
from sidecar.status.words import printable

BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One event. ``at_ms`` is unix ms by the clock of Redis; a ``backend`` that is empty means all of the pool.

    What nobody wrote down is an empty string, ``epoch`` 0.
    """

    pool: str
    entry: str
    at_ms: int
    epoch: int
    backend: str
    before: str
    after: str
    reason: str
    by: str
    evidence: str

    def as_json(self) -> dict[str, object]:
        """A line of `sidebeat events --json`: a stable contract, so fields are added and never renamed."""
        return {
            "pool": self.pool, "id": self.entry, "at_ms": self.at_ms, "epoch": self.epoch, "backend": self.backend,
            "from": self.before, "to": self.after, "reason": self.reason, "by": self.by, "evidence": self.evidence,
        }  # fmt: skip

    def as_text(self) -> str:
        """A line for people."""
        at = datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        where = f"{self.pool}/{self.backend}" if self.backend else self.pool
        change = " -> ".join(filter(None, (self.before, self.after)))
        evidence = f" [{self.evidence}]" if self.evidence else ""
        return printable(f"{at}  {where}  {change}: {self.reason}{evidence} (by {self.by})")


async def latest(store: Redis, keys: PoolKeys, *, backend: str | None, count: int, until: str) -> list[Happening]:
    """The last so many up to an entry, the oldest first, of one backend or (None) of all; none without a stream.

    Raises:
        RedisError, OSError: the store does not answer.
    """
    found: list[Happening] = []
    end = until
    while len(found) < count and (entries := await _entries_of(store.xrevrange(keys.events, max=end, count=BATCH))):
        found += _told(keys, entries, backend)
        end = f"({entries[-1][0]}"
    return found[:count][::-1]


async def since(store: Redis, keys: PoolKeys, *, backend: str | None, after: str) -> tuple[list[Happening], str]:
    """What came after an entry, and the last entry by now (``after`` itself where nothing came).

    Raises:
        RedisError, OSError: as ``latest``.
    """
    entries = await _entries_of(store.xrange(keys.events, min=f"({after}", count=BATCH))
    return [*_told(keys, entries, backend)], entries[-1][0] if entries else after


async def newest(store: Redis, keys: PoolKeys) -> str:
    """The last entry; "0-0" where there is none.

    Raises:
        RedisError, OSError: as ``latest``.
    """
    entries = await _entries_of(store.xrevrange(keys.events, count=1))
    return entries[0][0] if entries else "0-0"


def in_order(happenings: Iterable[Happening]) -> list[Happening]:
    """Of several pools, as they happened."""
    return sorted(happenings, key=lambda each: each.at_ms)


async def _entries_of(reply: Any) -> list[tuple[str, Mapping[str, str]]]:  # noqa: ANN401  # redis-py's types lie here
    """What a stream answers; nothing where there is no stream.

    Raises:
        RedisError, OSError: the store does not answer.
    """
    try:
        entries: list[tuple[str, Mapping[str, str]]] = await reply
    except ResponseError as error:
        if not is_wrong_type(error):
            raise
        return []
    return entries


def _told(keys: PoolKeys, entries: Iterable[tuple[str, Mapping[str, str]]], backend: str | None) -> list[Happening]:
    return [
        _happening(keys.pool, entry, fields)
        for entry, fields in entries
        if backend is None or fields.get("backend") == backend
    ]


def _happening(pool: str, entry: str, fields: Mapping[str, str]) -> Happening:
    return Happening(
        pool=pool,
        entry=entry,
        at_ms=min(int(entry.partition("-")[0]), 1 << 47),  # the year 6429: what more would a date be made of
        epoch=whole_of(fields.get("epoch")) or 0,
        backend=fields.get("backend", ""),
        before=fields.get("from", ""),
        after=fields.get("to", ""),
        reason=fields.get("reason", ""),
        by=fields.get("by", ""),
        evidence=fields.get("evidence", ""),
    )
