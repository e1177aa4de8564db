"""One backend's latest figures, a point for each interval of its probes: the stream ``history:<id>``. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from sidecar.contract.keys import PoolKeys
from sidecar.status.figures import number_of, whole_of
from sidecar.status.read import replies_to


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Columns of the same length, the oldest first. ``at_ms`` is unix ms by the clock of Redis; None: nobody knows."""

    at_ms: tuple[int, ...]
    passed: tuple[bool, ...]
    probe_ms: tuple[float | None, ...]
    rps: tuple[float | None, ...]
    error_ratio: tuple[float | None, ...]
    inflight: tuple[int | None, ...]
    p50_ms: tuple[float | None, ...]
    p99_ms: tuple[float | None, ...]


async def histories(store: Redis, keys: PoolKeys, backends: Sequence[str], *, count: int) -> dict[str, History]:
    """The last so many points of each of these; empty columns for one that has none.

    Raises:
        RedisError, OSError: the store does not answer.
    """
    asked = (("XREVRANGE", keys.history(name), "+", "-", "COUNT", str(count)) for name in backends)
    replies = await replies_to(store, *asked)
    return {name: _history(entries or ()) for name, entries in zip(backends, replies, strict=True)}


def _history(entries: Sequence[tuple[str, Mapping[str, str]]]) -> History:
    points = [fields for _, fields in reversed(entries)]

    def column(name: str) -> tuple[float | None, ...]:
        return tuple(number_of(point.get(name)) for point in points)

    return History(
        at_ms=tuple(int(entry.partition("-")[0]) for entry, _ in reversed(entries)),
        passed=tuple(point.get("passed") == "1" for point in points),
        probe_ms=column("probe_ms"),
        rps=column("rps"),
        error_ratio=column("error_ratio"),
        inflight=tuple(whole_of(point.get("inflight")) for point in points),
        p50_ms=column("p50_ms"),
        p99_ms=column("p99_ms"),
    )
