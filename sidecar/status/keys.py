"""`sidebeat keys`: the store as a person without `redis-cli` wants to see it."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sidecar.contract.keys import meaning
from sidecar.status.read import store_at
from sidecar.status.words import duration, printable

SHOWN = 20
"""Members of a sorted set that are shown; all of them are counted."""
SHOWN_OF_STREAM = 5
SECRET = "}:console-token"  # noqa: S105 - the end of a key
"""What must not come to stand on a screen, or in a bug report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One key: its Redis type, what is left of its life (None: it stays), its value in lines."""

    key: str
    type: str
    expires_ms: int | None
    lines: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """One of the list of `sidebeat keys --json`: a stable contract, so fields are added and never renamed."""
        return {**asdict(self), "meaning": meaning(self.key)}


async def read_keys(url: str, namespace: str, pattern: str | None = None) -> list[Entry]:
    """The keys of a namespace, in order; ``pattern`` is part of a key, or a glob for all of it or its end.

    Raises:
        UnreadableError: the store does not answer, or does not let us read.
    """
    async with store_at(url) as store:
        found = [key async for key in store.scan_iter(match=f"sidebeat:{{{namespace}[:}}]*", count=500)]
        entries = [await _entry(store, key) for key in sorted(set(found)) if _fits(key, pattern)]
    return [entry for entry in entries if entry]


def show_keys(entries: Iterable[Entry]) -> str:
    """The entries as text, a block each."""
    return "\n".join("\n".join(_block(entry)) for entry in entries)


def _fits(key: str, pattern: str | None) -> bool:
    if not pattern:
        return True
    end = key.partition("}:")[2]
    return pattern in key or fnmatchcase(key, pattern) or fnmatchcase(end, pattern)


async def _entry(store: Redis, key: str) -> Entry | None:
    """One key as it is now; None when it is gone by now."""
    kind = str(await store.type(key))
    left = int(await store.pttl(key))
    if kind == "none" or left == -2:
        return None
    try:
        lines = await _READERS[kind](store, key) if kind in _READERS else ["(not a type of ours)"]
    except ResponseError as error:  # the type changed between the questions
        lines = [f"({error})"]
    return Entry(key=key, type=kind, expires_ms=None if left < 0 else left, lines=tuple(map(printable, lines)))


async def _string(store: Redis, key: str) -> list[str]:
    if key.endswith(SECRET):
        return ["(not shown)"]
    text = str(await store.get(key) or "")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False).split("\n")
    except (ValueError, RecursionError):
        return [text]


async def _hash(store: Redis, key: str) -> list[str]:
    fields: Any = await store.hgetall(key)
    return _aligned(fields)


async def _zset(store: Redis, key: str) -> list[str]:
    pairs: Any = await store.zrange(key, 0, SHOWN - 1, withscores=True)
    return _and_more(_aligned({member: f"{score:.0f}" for member, score in pairs}), await store.zcard(key))


async def _set(store: Redis, key: str) -> list[str]:
    members: Any = await store.smembers(key)
    return sorted(members)


async def _stream(store: Redis, key: str) -> list[str]:
    items: Any = await store.xrevrange(key, count=SHOWN_OF_STREAM)
    lines = [f"{item}  {' '.join(f'{name}={value}' for name, value in fields.items())}" for item, fields in items]
    return _and_more(lines, await store.xlen(key))


_READERS: Mapping[str, Callable[[Redis, str], Any]] = {
    "string": _string,
    "hash": _hash,
    "zset": _zset,
    "set": _set,
    "stream": _stream,
}


def _aligned(fields: Mapping[str, str]) -> list[str]:
    width = max(map(len, fields), default=0)
    return [f"{name:<{width}}  {value}".rstrip() for name, value in fields.items()]


def _and_more(lines: list[str], total: int) -> list[str]:
    return [*lines, f"... {total - len(lines)} more"] if total > len(lines) else lines


def _block(entry: Entry) -> list[str]:
    stays = "stays" if entry.expires_ms is None else f"expires in {duration(entry.expires_ms)}"
    what = meaning(entry.key)
    return [
        f"{printable(entry.key)}  ({entry.type}, {stays})",
        *([f"  # {what}"] if what else []),
        *(f"    {line}" for line in entry.lines),
    ]
