"""Who may use the console, and by which names it is reached; its address is ``listen.console``."""

from typing import Annotated

from pydantic import Field, field_validator

from sidecar.contract.config.section import Section


class Console(Section):
    """The page and the admin API of the leading monitor. All of it may change while it runs.

    ``token`` is what one logs in with to change anything; None: one is made, the same for all monitors of the
    namespace, and kept in the run directory. ``hosts`` are names by which it is reached beside ``localhost``, this
    machine's name and IP addresses; whoever comes by one of them needs the token to read, too. A login lasts for
    ``session_s``.
    """

    enabled: bool = True
    token: Annotated[str, Field(min_length=16, max_length=512, pattern=r"^[!-~]+$")] | None = None
    hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=253)], ...] = ()
    session_s: int = Field(default=43_200, ge=60, le=86_400)

    @field_validator("hosts")
    @classmethod
    def _in_lower_case(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host.lower() for host in hosts)
