"""The shape of `sidebeat status --json`: a stable contract, so fields are added and never renamed.

Points in time are unix milliseconds by the clock of Redis. None means that nobody knows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sidecar.contract.model import UnderWay

FRESH_MS = 3_000
"""A view that was heard of within this is fresh, as workers see it, too."""


def is_silent(age_ms: int | None) -> bool:
    """Whether a monitor that was heard from so long ago (None: never) is taken for one that does not live."""
    return age_ms is None or age_ms > FRESH_MS


class UnreadableError(RuntimeError):
    """The store does not answer, or does not let us read; the message says why, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatus:
    """What the fleet may ask of a backend, and who may how much of it.

    ``places`` are those of ``max_inflight`` that each instance may use just now, ``requests`` those of ``max_requests``
    that are leased of the window of this moment. None: there is no such limit.
    """

    max_inflight: int | None
    places: Mapping[str, int]
    max_requests: int | None
    requests: int | None
    window_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """One backend: its eligibility as the workers see it, its latest probe, its traffic.

    ``inflight`` is over all workers that report; ``rps``, ``error_ratio``, ``share`` of the pool's requests, and
    ``p50_ms`` and ``p99_ms`` of the times to headers in the last ten seconds are what the monitor makes of it, None
    where no monitor is heard from. ``ejected_ms`` is what is left for the whole fleet, ``ramp_ms`` of slow start;
    ``ejected_on`` names the instances that eject it for themselves.
    ``asked`` is when the operator asked for what is in force, ``asked_by`` who did; ``pending`` is what was asked for
    and is not in force yet, in words. ``limits`` is None where there are none, or no worker that keeps them.
    """

    url: str
    state: str
    reason: str
    since: int | None
    admin: str
    weight: float
    probe_ms: float | None
    ttfb_ms: float | None
    ok_streak: int
    fail_streak: int
    ejected_ms: int
    ramp_ms: int
    inflight: int | None
    rps: float | None
    error_ratio: float | None
    asked: int | None
    asked_by: str | None
    pending: str | None
    ejected_on: tuple[str, ...] = ()
    limits: LimitStatus | None = None
    share: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker: who it is, which epoch it routes on, how old that knowledge is; ``age_ms`` since its report."""

    host: str
    instance: str
    slot: int
    pid: int
    incarnation: str
    applied_epoch: int
    view_age_ms: int | None
    draining: bool
    age_ms: int
    under_way: UnderWay = field(default_factory=UnderWay)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """One pool; ``age_ms`` since the monitor's last heartbeat, ``leader`` None when no monitor holds the lease.

    ``problem`` says what of it cannot be read, ``suspect`` why the monitor mistrusts its own probes.
    """

    epoch: int | None
    age_ms: int | None
    store_id: str | None
    leader: str | None
    config_hash: str | None
    problem: str | None
    suspect: str | None
    backends: Mapping[str, BackendStatus]
    workers: list[WorkerStatus]

    @property
    def is_silent(self) -> bool:
        """Whether no monitor was heard from lately: what it says of the pool is old."""
        return is_silent(self.age_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Every pool of a namespace by its name in keys, as it was at ``now_ms``."""

    namespace: str
    now_ms: int
    pools: Mapping[str, PoolStatus] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """What ``json.dumps`` takes."""
        return asdict(self)
