"""What passes between the monitor, Redis and the workers: frozen values, checked on creation.

Pure: no I/O, no clock. Times in these records are unix milliseconds by the clock of Redis (suffix ``_ms``), or
remaining milliseconds where the docstring says so, since hosts' clocks are never compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

MAX_WEIGHT = 256
"""Envoy allows 1 to 128 per endpoint; more would make a fair spread take too long."""


class Health(StrEnum):
    """What the monitor's probes say of a backend; the only judge is ``sidecar.verdict``."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


class Admin(StrEnum):
    """What the operator wants of a backend: ``drain`` takes no new work, ``maint`` is not probed either."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a backend listens: ``host`` and ``port``, or ``path`` of a unix socket; ``tls`` for https."""

    tls: bool
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the address means another backend on another machine: loopback and unix sockets do."""
        if self.path or self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def authority(self) -> str:
        """The Host field a client would send: no default port, brackets around IPv6; a socket is ``localhost``."""
        if self.path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def name(self) -> str:
        """The id of a backend that was given none: ``host:port``, or the path of its socket."""
        return self.path or f"{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Read ``http://host[:port]``, ``https://host[:port]`` or ``unix:/path``.

    Raises:
        ValueError: with the reason, in words for the person who wrote the URL.
    """
    if url.startswith("unix:"):
        path = url.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ValueError(f"{url!r} needs an absolute path, like unix:/run/app.sock")
        return Address(tls=False, path=path)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{url!r} needs a scheme: http://HOST:PORT, https://HOST:PORT or unix:/PATH")
    if not parts.hostname or parts.username is not None:
        raise ValueError(f"{url!r} needs a host, and no user name")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} may not have a path: the client's path is forwarded as it came")
    tls = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if tls else 80)
    if port == 0:
        raise ValueError(f"{url!r} has port 0")
    return Address(tls=tls, host=parts.hostname, port=port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A machine we forward to, as configured. ``None`` in a limit means no limit."""

    id: str
    url: str
    address: Address
    weight: float = 1.0
    backup: bool = False
    zone: str | None = None
    max_inflight: int | None = None
    max_requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A backend's eligibility as the view carries it.

    ``since_ms`` is when ``state`` began (unix ms, Redis' clock; 0 when nobody knows). ``ejected_ms`` and ``ramp_ms``
    are what remained of a fleet ejection and of slow start when the view was published; 0 means none.
    """

    id: str
    url: str
    state: Health = Health.UNKNOWN
    reason: str = "not probed yet"
    since_ms: int = 0
    admin: Admin = Admin.READY
    ejected_ms: int = 0
    ramp_ms: int = 0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0 or self.ejected_ms < 0 or self.ramp_ms < 0 or self.since_ms < 0:
            raise ValueError(f"verdict of {self.id!r}: weight and times may not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The figures of a backend's latest probes, for people; they change with each probe and are not in the view.

    ``probe_ms`` is the whole probe, ``ttfb_ms`` its time to the response head; None before the first probe ended
    or where a probe failed before that point.
    """

    ok_streak: int = 0
    fail_streak: int = 0
    probe_ms: float | None = None
    ttfb_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything a worker needs to choose, as one value; replaced whole, never edited.

    ``epoch`` grows with each change and is close to the unix ms of its publication by Redis' clock; 0 means that
    nothing was published. ``token`` is the lease it was published under, ``store_id`` the life of the store.
    ``suspect`` says why the monitor mistrusts its own probes and holds its verdicts; empty: it does not.
    """

    epoch: int = 0
    token: int = 0
    store_id: str = ""
    config_hash: str = ""
    suspect: str = ""
    backends: Mapping[str, Verdict] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What the operator asked for of one backend: durable, and stronger than any verdict.

    ``weight`` replaces the configured one; None leaves it. ``since_ms`` is when it was asked for (unix ms, Redis'
    clock), ``by`` who did.
    """

    admin: Admin = Admin.READY
    weight: float | None = None
    since_ms: int = 0
    by: str = ""

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 <= self.weight <= MAX_WEIGHT:
            raise ValueError(f"a weight is from 0 to {MAX_WEIGHT}, not {self.weight:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one worker has seen of one backend since the worker started: absolute, never deltas.

    ``latency_s`` is the sum of times to response headers over ``responses``. ``ejected_ms`` is what remains of the
    worker's host's own ejection, 0 for none. ``ok_age_ms`` is how long before the heartbeat the latest of the attempts
    that succeeded had begun; None: none has. ``first_bytes`` counts the responses by their time to headers, one number
    for each of ``latency.BUCKETS`` and one for what took longer; empty: none yet, or nobody counts them.
    """

    inflight: int = 0
    requests: int = 0
    responses: int = 0
    failures: int = 0
    retries: int = 0
    latency_s: float = 0.0
    ejected_ms: int = 0
    ok_age_ms: int | None = None
    first_bytes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """What a worker has to see to its end before it may go.

    ``requests`` wait for their answers, of ``streams`` the response has begun, ``tunnels`` are bytes both ways (a
    WebSocket); ``idle`` connections wait for nothing, and may ask any moment.
    """

    requests: int = 0
    streams: int = 0
    tunnels: int = 0
    idle: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One worker's heartbeat: who it is, which epoch it routes on, how old that knowledge is, what it has seen.

    ``view_age_ms`` is None while the worker has never had a view. ``draining`` is true once it stops taking work.
    """

    host: str
    instance: str
    slot: int
    pid: int
    incarnation: str
    heartbeat_ms: int = 0
    applied_epoch: int = 0
    view_age_ms: int | None = None
    draining: bool = False
    under_way: UnderWay = UnderWay()
    tallies: Mapping[str, Tally] = field(default_factory=dict)
