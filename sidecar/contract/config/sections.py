"""The sections of the config file: every knob with its unit in its name, its bounds and its default.

The checks across fields live in the models too, so that a config which exists is a config that works. Errors are
pydantic's; ``load`` turns them into lines that name the key.
"""

import hashlib
import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import override

from sidecar.contract.model import Backend, parse_address

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$", max_length=64)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]+$", max_length=128)]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Socket:
    """A listening address: ``host`` and ``port``, or ``path`` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @override
    def __str__(self) -> str:
        """The address as it is written in the file."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What a person can open or give to curl."""
        return str(self) if self.path else f"http://{self}"


def parse_socket(text: str) -> Socket:
    """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``; port 0 lets the system choose.

    Raises:
        ValueError: with the reason.
    """
    if text.startswith("unix:"):
        if not (path := text.removeprefix("unix:")):
            raise ValueError("unix: needs a path")
        return Socket(path=path)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not HOST:PORT, [IPV6]:PORT or unix:PATH")
    return Socket(host=host, port=int(port))


def _host_name() -> str:
    """This machine's name, with what a key may not hold replaced."""
    return re.sub(r"[^A-Za-z0-9._:-]", "-", socket.gethostname()) or "localhost"


class Store(Section):
    """Where the shared view lives; no ``url`` means the private server that ``up`` starts."""

    url: str | None = None
    namespace: Name = "default"
    host: Label = Field(default_factory=_host_name)

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("needs redis://, rediss:// or unix:// in front")
        return url


class Listen(Section):
    """What we listen on, for how long and how much we accept. Beyond loopback only if the user says so here."""

    bind: str | list[str] = "127.0.0.1:8000"
    admin: str = "127.0.0.1:9901"
    console: str = "127.0.0.1:9900"
    workers: int = Field(default=2, ge=1, le=256)
    app: str | None = Field(default=None, pattern=r"^[\w.]+:[\w.]+$")
    trusted_proxies: list[IPv4Network | IPv6Network] = []
    header_timeout_s: Seconds = 10.0
    body_idle_s: Seconds = 60.0
    keepalive_s: Seconds = 75.0
    max_header_bytes: int = Field(default=65_536, ge=1_024, le=1 << 20)
    max_headers: int = Field(default=100, ge=8, le=10_000)
    max_body_bytes: int = Field(default=0, ge=0)
    drain_delay_s: SecondsOrZero = 0.0
    drain_timeout_s: Seconds = 25.0

    @field_validator("bind")
    @classmethod
    def _readable_binds(cls, bind: str | list[str]) -> str | list[str]:
        texts = [bind] if isinstance(bind, str) else bind
        if not texts:
            raise ValueError("needs at least one address")
        for text in texts:
            parse_socket(text)
        return bind

    @field_validator("admin", "console")
    @classmethod
    def _readable_socket(cls, text: str) -> str:
        parse_socket(text)
        return text

    @model_validator(mode="after")
    def _sockets_apart(self) -> Self:
        named = [("bind", text) for text in self.binds_as_written] + [("admin", self.admin), ("console", self.console)]
        taken: dict[str, str] = {}
        for key, text in named:
            if text in taken and not text.endswith(":0"):
                raise ValueError(f"{key} and {taken[text]} are both {text}")
            taken[text] = key
        return self

    @property
    def binds_as_written(self) -> list[str]:
        """The public addresses, one or many, as a list."""
        return [self.bind] if isinstance(self.bind, str) else self.bind

    @property
    def public_sockets(self) -> list[Socket]:
        """Where traffic comes in; all of it is forwarded."""
        return [parse_socket(text) for text in self.binds_as_written]

    @property
    def admin_socket(self) -> Socket:
        """Where our own endpoints are."""
        return parse_socket(self.admin)

    @property
    def console_socket(self) -> Socket:
        """Where the leading monitor serves its page."""
        return parse_socket(self.console)

    @property
    def graceful_timeout_s(self) -> float:
        """What gunicorn may wait before it kills: the drain, and five seconds for what is in mid-frame."""
        return self.drain_delay_s + self.drain_timeout_s + 5.0


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


class HealthCheck(Section):
    """How the monitor probes. A probe never overlaps itself: the next starts at max(start + interval, end)."""

    type: Literal["http"] = "http"
    method: str = Field(default="GET", pattern=r"^[A-Z]+$")
    path: str = Field(default="/", pattern=r"^/[!-~]*$")
    interval_s: Seconds = 1.0
    timeout_s: Seconds = 1.0
    fall: int = Field(default=3, ge=1, le=100)
    rise: int = Field(default=2, ge=1, le=100)
    fast_interval_s: Seconds = 0.25
    expected_statuses: str = "200-399"

    @field_validator("expected_statuses")
    @classmethod
    def _readable_statuses(cls, text: str) -> str:
        _status_ranges(text)
        return text

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if self.fast_interval_s > self.interval_s:
            if "fast_interval_s" in self.model_fields_set:
                raise ValueError(
                    f"fast_interval_s {self.fast_interval_s:g} is longer than interval_s {self.interval_s:g}"
                )
            object.__setattr__(self, "fast_interval_s", self.interval_s)
        return self

    @property
    def status_ranges(self) -> list[tuple[int, int]]:
        """The statuses that pass, as closed ranges.

        Where neither a path nor statuses were configured, any answer below 500 passes: many FastAPI apps have no ``/``.
        """
        if self.model_fields_set.isdisjoint({"path", "expected_statuses"}):
            return [(100, 499)]
        return _status_ranges(self.expected_statuses)


def _status_ranges(text: str) -> list[tuple[int, int]]:
    ranges = []
    for part in text.split(","):
        if not (match := re.fullmatch(r"\s*([1-5]\d\d)(?:-([1-5]\d\d))?\s*", part)):
            raise ValueError(f"{part.strip()!r} is not a status like 204 or a range like 200-399")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise ValueError(f"the range {part.strip()} is empty")
        ranges.append((low, high))
    return ranges


class Timeouts(Section):
    """Deadlines of one attempt; there is none in total, since a stream may last for days."""

    connect_s: Seconds = 1.0
    response_headers_s: Seconds = 60.0
    idle_s: Seconds = 300.0
    queue_s: SecondsOrZero = 0.1


RetryCondition = Literal["connect_failure", "reset", "gateway_error", "timeout"]


class Retry(Section):
    """When another backend may be tried, before the first response byte was passed on."""

    retry_on: list[RetryCondition] = ["connect_failure", "reset", "gateway_error", "timeout"]
    num_retries: int = Field(default=1, ge=0, le=10)
    connect_retries: int = Field(default=2, ge=0, le=10)
    budget_ratio: Ratio = 0.2
    replay_buffer_bytes: int = Field(default=65_536, ge=0, le=1 << 24)


class OutlierDetection(Section):
    """When real traffic ejects a backend on this host."""

    consecutive_failures: int = Field(default=5, ge=1)
    failure_ratio: Ratio = 0.5
    min_requests: int = Field(default=20, ge=1)
    window_s: Seconds = 10.0
    base_ejection_s: Seconds = 5.0
    max_ejection_s: Seconds = 60.0
    max_ejected_ratio: Ratio = 0.5


class Balancing(Section):
    """How one of the eligible backends is picked. ``choices`` 0: three in ten of them, two to five."""

    policy: Literal["p2c_ewma", "round_robin"] = "p2c_ewma"
    choices: int = Field(default=0, ge=0, le=64)
    decay_s: Seconds = 3.0
    slow_start_s: SecondsOrZero = 10.0


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
    tls: UpstreamTLS = UpstreamTLS()

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

    @property
    def members(self) -> list[Backend]:
        """The backends, in file order."""
        return [entry.backend() for entry in self.backends]

    @property
    def hash(self) -> str:
        """A short digest of who the members are (id, url, TLS), to show drift between monitor and workers."""
        told = "\n".join([*(f"{backend.id} {backend.url}" for backend in self.members), self.tls.model_dump_json()])
        return hashlib.sha256(told.encode()).hexdigest()[:12]


class Route(Section):
    """Which requests go to a pool: the longest prefix wins, a host-bound route before a host-less one."""

    pool: Name
    host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.:\[\]_-]+$")
    path_prefix: str = Field(default="/", pattern=r"^/[!-~]*$")
    methods: list[Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]] = []
    strip_prefix: bool = False
    host_header: str = Field(default="preserve", pattern=r"^[A-Za-z0-9.:\[\]_-]+$")


class Config(Section):
    """The whole file."""

    store: Store = Store()
    listen: Listen = Listen()
    pools: dict[Name, Pool] = Field(min_length=1)
    routes: list[Route] = []

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Self:
        for index, route in enumerate(self.routes):
            if route.pool not in self.pools:
                there_is = ", ".join(self.pools)
                raise ValueError(f"routes[{index}].pool: there is no pool {route.pool!r}, only {there_is}")
        if not self.routes and len(self.pools) > 1:
            raise ValueError(f"routes: several pools ({', '.join(self.pools)}) and no route says what goes where")
        return self

    @property
    def effective_routes(self) -> list[Route]:
        """The routes, or the one that sends everything to the only pool."""
        return self.routes or [Route(pool=next(iter(self.pools)))]

    def key_name(self, pool: str) -> str:
        """The pool's name in keys and in ``--json``: ``<pool>@<host>`` where it is host-scoped."""
        return f"{pool}@{self.store.host}" if self.pools[pool].scope == "host" else pool
