"""The backends of a pool, and how they are probed, tried and picked."""

import hashlib
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sidecar.contract.config.health_check import HealthCheck
from sidecar.contract.config.section import Label, Ratio, Seconds, SecondsOrZero, Section
from sidecar.contract.model import Backend, parse_address


class BackendTable(Section):
    """One backend; written as a plain string it is a table with only ``url``."""

    url: str
    id: Label | None = None
    weight: float = Field(default=1.0, ge=0, le=256, allow_inf_nan=False)
    backup: bool = False
    zone: Label | None = None
    max_inflight: int | None = Field(default=None, ge=1)
    max_requests: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _string_is_url(cls, entry: object) -> object:
        return {"url": entry} if isinstance(entry, str) else entry

    @field_validator("url")
    @classmethod
    def _readable_url(cls, url: str) -> str:
        parse_address(url)
        return url

    def backend(self) -> Backend:
        """The backend as the rest of the program knows it."""
        address = parse_address(self.url)
        return Backend(
            id=self.id or address.name,
            url=self.url,
            address=address,
            weight=self.weight,
            backup=self.backup,
            zone=self.zone,
            max_inflight=self.max_inflight,
            max_requests=self.max_requests,
        )


class Timeouts(Section):
    """Deadlines of one attempt; there is none in total, since a stream may last for days.

    ``queue_s`` is how long a request waits for one of ``max_connections``, or for a place under ``max_inflight`` or
    ``max_requests``, before 503 with Retry-After. ``overall_s`` is from the request's head to the response's, over all
    attempts and all waiting; 0: no limit but those of each attempt.

    ``idle_s`` is how long a response may pause, and its client may take nothing of it; 0: for ever, as an event stream
    without keep-alive comments needs it. A tunnel may be silent for as long as its ends like, a WebSocket for
    ``websocket_idle_timeout_s`` if that is not 0. Peers that are gone without a word are found out by TCP: tunnels and
    event streams are probed after ``tcp_keepalive_s`` of silence, and end when twice that time brought nothing; 0:
    they are not.
    """

    connect_s: Seconds = 1.0
    response_headers_s: Seconds = 60.0
    idle_s: SecondsOrZero = 300.0
    websocket_idle_timeout_s: SecondsOrZero = 0.0
    tcp_keepalive_s: SecondsOrZero = 60.0
    queue_s: SecondsOrZero = 0.1
    overall_s: SecondsOrZero = 0.0


RetryCondition = Literal["connect_failure", "reset", "gateway_error", "timeout"]


class Retry(Section):
    """When another backend may be tried, before the first response byte was passed on.

    All workers of a host share a budget over the last ten seconds: ``budget_ratio`` of the requests, and
    ``min_retries_per_s`` on top (10 as in Finagle and linkerd). ``per_try_timeout_s`` bounds one attempt's time to
    headers where that is to be shorter than ``response_headers_s``; 0: it is not (Envoy's ``per_try_timeout``).
    """

    retry_on: tuple[RetryCondition, ...] = ("connect_failure", "reset", "gateway_error", "timeout")
    num_retries: int = Field(default=1, ge=0, le=10)
    connect_retries: int = Field(default=2, ge=0, le=10)
    budget_ratio: Ratio = 0.2
    min_retries_per_s: float = Field(default=10.0, ge=0, le=10_000, allow_inf_nan=False)
    per_try_timeout_s: SecondsOrZero = 0.0
    replay_buffer_bytes: int = Field(default=65_536, ge=0, le=1 << 24)


class OutlierDetection(Section):
    """When real traffic ejects a backend on this host: by failures in a row, or by the share of failures in a window.

    Each ejection in a row lasts twice as long as the one before. ``max_ejected_ratio`` 0 ejects nobody.
    """

    consecutive_failures: int = Field(default=5, ge=1)
    failure_ratio: Ratio = 0.5
    min_requests: int = Field(default=20, ge=1)
    window_s: Seconds = 10.0
    base_ejection_s: Seconds = 5.0
    max_ejection_s: Seconds = 60.0
    max_ejected_ratio: Ratio = 0.5


Policy = Literal["p2c_ewma", "least_request", "round_robin", "random", "rendezvous", "first", "fastest"]
_HASH_ON = r"^(client_address|path|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|cookie:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$"


class Balancing(Section):
    """How one of the eligible backends is picked. ``choices`` 0: four in ten of them, two to five.

    ``hash_on`` is what ``rendezvous`` tells requests apart by: ``client_address``, ``path``, ``header:NAME`` or
    ``cookie:NAME``; ``max_load_ratio`` how far above the mean load a backend may be that still gets its own.
    ``min_zone_ratio``: this machine's zone (``store.zone``) is preferred while so much of its weight is eligible.
    """

    policy: Policy = "p2c_ewma"
    choices: int = Field(default=0, ge=0, le=64)
    decay_s: Seconds = 1.0
    slow_start_s: SecondsOrZero = 10.0
    hash_on: str = Field(default="client_address", pattern=_HASH_ON)
    max_load_ratio: float = Field(default=1.25, ge=1, le=100, allow_inf_nan=False)
    min_zone_ratio: Ratio = 0.5


class Sticky(Section):
    """A visitor stays with a backend, by a signed cookie; where that backend is gone, with the next one.

    ``secret`` signs it; None: one that is made once and kept in the run directory of this host, so that several hosts
    need one from here. ``max_age_s`` counts from the answer that set the cookie; 0: until the browser closes.
    """

    cookie: str = Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")
    secret: str | None = Field(default=None, min_length=16, repr=False)
    max_age_s: int = Field(default=0, ge=0, le=34_560_000)
    path: str = Field(default="/", pattern=r"^/[!-:<-~]*$")
    domain: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]+$")
    same_site: Literal["lax", "strict", "none"] = "lax"
    secure: bool = False

    @model_validator(mode="after")
    def _none_is_secure(self) -> Self:
        if self.same_site == "none" and not self.secure:
            raise ValueError('same_site = "none" needs secure = true, or browsers drop the cookie')
        return self


class Hedging(Section):
    """When a GET of a route with ``hedge = true`` is asked of a second backend as well, the first answer taken.

    After ``quantile`` of the pool's times to headers, and for at most ``budget_ratio`` of the requests.
    """

    quantile: float = Field(default=0.95, ge=0.5, le=0.999)
    budget_ratio: Ratio = 0.02


class Limits(Section):
    """How ``max_inflight`` and ``max_requests`` hold over a fleet.

    Each master leases its part from the store, and nothing is granted before that has answered once or failed to.
    ``without_store`` is what holds while no store can be asked, and what was leased has run out: each master's
    ``share`` of the limit, by the number of masters last seen, or all of it where none ever was; ``open``, no limit of
    the fleet (``max_inflight`` then holds whole on each master); ``closed``, nothing for backends that have a limit.
    """

    without_store: Literal["share", "open", "closed"] = "share"


class Connections(Section):
    """How many connections each worker has to one backend, and how many requests each of them serves; 0: no limit.

    ``max_pending`` is how many requests of one worker may wait for a backend at a time (Envoy's default); the next is
    refused at once, and with 0 nobody waits.

    Streams and WebSockets hold a connection for as long as they last, so that a limit which nobody chose would turn
    them away: there is none by default. After ``keepalive_requests`` (nginx's name) a connection is
    closed, and the next may reach another machine behind the same name. It is not ``max_requests`` of a backend, which
    counts requests in a window of time.
    """

    max_connections: int = Field(default=0, ge=0, le=65_535)
    keepalive_requests: int = Field(default=10_000, ge=0)
    max_pending: int = Field(default=1_024, ge=0, le=1 << 20)


class UpstreamTLS(Section):
    """How an https backend is trusted: files, the name to expect, and whether to check at all."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    verify: bool = True


def _strings_too(schema: dict[str, Any]) -> None:
    """Tell the JSON schema that a backend may be a plain URL."""
    schema["items"] = {"anyOf": [{"type": "string"}, schema["items"]]}


_PART_OF_WHOLE = (
    ("timeouts.response_headers_s", "timeouts.overall_s"),
    ("retry.per_try_timeout_s", "timeouts.overall_s"),
    ("retry.per_try_timeout_s", "timeouts.response_headers_s"),
)
"""What lies within what."""


class Pool(Section):
    """Backends that serve the same thing. ``scope`` host: the same address on another machine is another backend."""

    backends: list[BackendTable] = Field(min_length=1, max_length=1_024, json_schema_extra=_strings_too)
    max_requests_window_s: Seconds = 10.0
    scope: Literal["fleet", "host"] | None = None
    health_check: HealthCheck = HealthCheck()
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    outlier_detection: OutlierDetection = OutlierDetection()
    balancing: Balancing = Balancing()
    connections: Connections = Connections()
    tls: UpstreamTLS = UpstreamTLS()
    sticky: Sticky | None = None
    hedging: Hedging = Hedging()
    limits: Limits = Limits()

    @field_validator("backends")
    @classmethod
    def _ids_are_unique(cls, backends: list[BackendTable]) -> list[BackendTable]:
        seen: set[str] = set()
        for backend in (entry.backend() for entry in backends):
            if backend.id in seen:
                raise ValueError(f"{backend.id!r} stands twice; give one of them an id of its own")
            seen.add(backend.id)
        return backends

    @model_validator(mode="after")
    def _scope_fits(self) -> Self:
        local = [backend.id for backend in self.members if backend.address.is_local]
        if self.scope is None:
            object.__setattr__(self, "scope", "host" if len(local) == len(self.members) else "fleet")
        if self.scope == "fleet" and local:
            raise ValueError(f'scope is fleet, but {local[0]!r} is another backend on another machine: scope = "host"?')
        return self

    @model_validator(mode="after")
    def _check_fits(self) -> Self:
        if self.health_check.type == "tls":
            for backend in self.members:
                if not backend.address.tls:
                    raise ValueError(f"health_check.type is tls, but {backend.url} is not https")
        return self

    @model_validator(mode="after")
    def _timeouts_agree(self) -> Self:
        """Refuse a limit that was written down and that another one, which was too, always comes before."""
        written = {
            **{f"timeouts.{name}": getattr(self.timeouts, name) for name in self.timeouts.model_fields_set},
            **{f"retry.{name}": getattr(self.retry, name) for name in self.retry.model_fields_set},
        }
        for part, whole in _PART_OF_WHOLE:
            if 0 < written.get(whole, 0) < written.get(part, 0):
                raise ValueError(f"{part} is {written[part]:g}, longer than {whole}, which is {written[whole]:g}")
        return self

    @property
    def members(self) -> list[Backend]:
        """The backends, in file order."""
        return [entry.backend() for entry in self.backends]

    @property
    def hash(self) -> str:
        """A short digest of who the members are (id, url, TLS), to show drift between monitor and workers."""
        told = "\n".join([*(f"{backend.id} {backend.url}" for backend in self.members), self.tls.model_dump_json()])
        return hashlib.sha256(told.encode()).hexdigest()[:12]
