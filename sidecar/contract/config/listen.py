"""Where the store is, what we listen on, for how long and how much we accept."""

import re
import socket
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, field_validator, model_validator
from typing_extensions import override

from sidecar.contract.config.section import Label, Name, Seconds, SecondsOrZero, Section


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
    """Where the shared view lives; no ``url`` means the private server that ``up`` starts.

    ``host`` is this machine's name in keys and reports, ``zone`` where it stands; None: in none.
    """

    url: str | None = None
    namespace: Name = "default"
    host: Label = Field(default_factory=_host_name)
    zone: Label | None = None

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("needs redis://, rediss:// or unix:// in front")
        if url is not None:
            urlsplit(url).port  # noqa: B018 - read to have it checked
        return url


class Listen(Section):
    """What we listen on, for how long and how much we accept. Beyond loopback only if the user says so here.

    ``max_backends``: of how many, over all pools, the workers of a master know together; a pool that does not fit is
    balanced by each worker on its own. ``max_message_bytes``: of a WebSocket's message, either way, where it passes
    through an app and so through memory; uvicorn's default. ``explain_secret`` signs the tokens of ``sidebeat explain
    --token``; None: one that is made once and kept in the run directory of this host, so that a fleet needs one here.
    """

    bind: str | list[str] = "127.0.0.1:8000"
    admin: str = "127.0.0.1:9901"
    console: str = "127.0.0.1:9900"
    workers: int = Field(default=2, ge=1, le=256)
    max_backends: int = Field(default=1_024, ge=1, le=16_384)
    app: str | None = Field(default=None, pattern=r"^[\w.]+:[\w.]+$")
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    header_timeout_s: Seconds = 10.0
    body_idle_s: Seconds = 60.0
    keepalive_s: Seconds = 75.0
    max_header_bytes: int = Field(default=65_536, ge=1_024, le=1 << 20)
    max_headers: int = Field(default=100, ge=8, le=10_000)
    max_body_bytes: int = Field(default=0, ge=0)
    max_message_bytes: int = Field(default=16_777_216, ge=1, le=1 << 30)
    explain_secret: str | None = Field(default=None, min_length=16, repr=False)
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
        """How long after SIGTERM a worker is killed that has not ended: the drain, and what aborting the rest takes."""
        return self.drain_delay_s + self.drain_timeout_s + 1.5
