"""Who of a pool takes traffic, for whoever is about to take one away, and who is slow at it. Pure."""

from collections.abc import Collection

from sidecar.contract.model import Admin
from sidecar.status.records import BackendStatus, PoolStatus


def ends_work(wish: Admin | float | None) -> bool:
    """Whether a backend is to get no more work; a wish of None is for the configured weight."""
    return wish in (Admin.DRAIN, Admin.MAINT) or wish == 0


def warning_without(name: str, pool: PoolStatus, backend: str, members: Collection[str]) -> str | None:
    """What happens to a pool that is left by a backend, in words; None where the others take its traffic.

    Args:
        name: the pool's.
        pool: as it is.
        backend: which is to get no more work.
        members: of the pool; one that nothing was published of is taken for able.
    """
    others = [pool.backends.get(each) for each in members if each != backend]
    if any(other is None or takes_traffic(other) for other in others):
        return None
    return f"no other backend of {name} takes traffic: without {backend} it serves nobody"


def takes_traffic(backend: BackendStatus) -> bool:
    """Whether it is wanted and able to, and nothing is asked for that is not in force yet."""
    is_wanted = backend.admin == Admin.READY and backend.weight > 0 and not backend.pending
    return is_wanted and not backend.ejected_ms and backend.state not in ("unhealthy", "draining")


def slowest(pool: PoolStatus) -> str | None:
    """The backend whose p99 stands out: at least twice the median of the others'; None where none does."""
    times = {name: each.p99_ms for name, each in pool.backends.items() if each.p99_ms is not None}
    if len(times) < 2:
        return None
    name = max(times, key=lambda each: times[each])
    others = sorted(value for each, value in times.items() if each != name)
    return name if times[name] >= 2 * others[len(others) // 2] else None


def is_slow_to_probes(backend: BackendStatus) -> bool | None:
    """Whether a probe takes as long as most of what is slow, or only the requests do; None where none was timed."""
    return None if backend.probe_ms is None else 2 * backend.probe_ms >= (backend.p99_ms or 0.0)
