"""The whole file: its sections, and the checks across them.

A config that exists is a config that works. Errors are pydantic's; ``load`` turns them into lines that name the key.
"""

import re
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from sidecar.contract.config.console import Console
from sidecar.contract.config.listen import Listen, Store
from sidecar.contract.config.observe import Log, Tracing
from sidecar.contract.config.pools import Pool
from sidecar.contract.config.section import Name, Section

_PROTOCOL = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")
"""A name, and a version where it has one (RFC 9110 §7.8)."""


class Route(Section):
    """Which requests go to a pool: the longest prefix wins, a host-bound route before a host-less one.

    ``hedge``: a slow GET of it is asked of a second backend, too; see ``Hedging``.
    ``upgrade``: the protocols that a connection may be switched to, such as ``["websocket"]``; ``[]`` for none.
    """

    pool: Name
    host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.:\[\]_-]+$")
    path_prefix: str = Field(default="/", pattern=r"^/[!-~]*$")
    methods: tuple[Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")], ...] = ()
    strip_prefix: bool = False
    hedge: bool = False
    upgrade: str | tuple[str, ...] = "any"
    host_header: str = Field(default="preserve", pattern=r"^[A-Za-z0-9.:\[\]_-]+$")

    @field_validator("upgrade")
    @classmethod
    def _protocols_have_names(cls, upgrade: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(upgrade, str) and upgrade != "any":
            raise ValueError(f'needs "any" or a list: ["{upgrade}"]')
        for name in () if isinstance(upgrade, str) else upgrade:
            if not _PROTOCOL.fullmatch(name):
                raise ValueError(f"{name!r} is no protocol")
        return upgrade


class Config(Section):
    """The whole file."""

    store: Store = Store()
    listen: Listen = Listen()
    console: Console = Console()
    log: Log = Log()
    tracing: Tracing = Tracing()
    pools: dict[Name, Pool] = Field(min_length=1)
    routes: tuple[Route, ...] = ()

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
    def effective_routes(self) -> tuple[Route, ...]:
        """The routes, or the one that sends everything to the only pool."""
        return self.routes or (Route(pool=next(iter(self.pools))),)

    def key_name(self, pool: str) -> str:
        """The pool's name in keys and in ``--json``: ``<pool>@<host>`` where it is host-scoped."""
        return f"{pool}@{self.store.host}" if self.pools[pool].scope == "host" else pool
