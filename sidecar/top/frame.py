"""One frame: a status, and who made the figures of its traffic. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from sidecar.collect import Traffic
from sidecar.status import BackendStatus, PoolStatus, Status

ILL = ("unhealthy", "degraded", "draining")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What there is to see at a moment; ``measured`` names the pools whose traffic was measured here."""

    status: Status
    measured: Collection[str] = field(default_factory=frozenset)

    def as_json(self) -> dict[str, object]:
        """A line of `sidebeat top --json`: the record of `status --json`, and who measured each pool's traffic."""
        by = {name: "top" if name in self.measured else "monitor" for name in self.status.pools}
        return {**self.status.as_json(), "measured_by": by}


def with_traffic(pool: PoolStatus, traffic: Mapping[str, Traffic]) -> PoolStatus:
    """The pool with these figures in the place of a dead monitor's last ones; None where there are none."""
    total = sum(each.rps for each in traffic.values())
    return replace(
        pool, backends={name: _measured(each, traffic.get(name), total) for name, each in pool.backends.items()}
    )


def _measured(backend: BackendStatus, traffic: Traffic | None, total: float) -> BackendStatus:
    if traffic is None:
        return replace(backend, rps=None, error_ratio=None, p50_ms=None, p99_ms=None, share=None)
    return replace(
        backend,
        rps=traffic.rps,
        error_ratio=traffic.error_ratio,
        p50_ms=traffic.p50_ms,
        p99_ms=traffic.p99_ms,
        share=traffic.rps / total if total else None,
    )


def most_telling(pool: PoolStatus, room: int) -> tuple[list[str], int]:
    """The backends to show on so many lines, in the order of the file, and how many are left out.

    Those in trouble come before those that others wait for, which come before the rest.
    """
    ranked = sorted(pool.backends, key=lambda name: _rank(pool.backends[name]))
    chosen = set(ranked[: max(room, 1)])
    return [name for name in pool.backends if name in chosen], len(pool.backends) - len(chosen)


def _rank(backend: BackendStatus) -> tuple[bool, float]:
    return not is_in_trouble(backend), -(backend.p99_ms or 0.0) * (backend.rps or 0.0)


def is_in_trouble(backend: BackendStatus) -> bool:
    """Whether a person wants to see it first."""
    is_out = backend.state in ILL or backend.admin != "ready" or bool(backend.ejected_ms or backend.ejected_on)
    return is_out or bool(backend.pending) or bool(backend.error_ratio)
