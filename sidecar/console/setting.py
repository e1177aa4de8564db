"""What a console is told by its monitor, and what follows of that. Replaced whole when the config changes."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sidecar.contract.config import Console as Section
from sidecar.contract.config import Socket
from sidecar.contract.model import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Whose console it is and what it shows.

    ``url`` is the store's, ``pools`` the configured ones by name in keys, ``host`` this machine's name, ``owner`` the
    monitor's. ``token`` is in force; ``token_file`` is where it is kept, None where the config says it.
    """

    address: Socket
    url: str
    namespace: str
    host: str
    owner: str
    pools: tuple[str, ...]
    section: Section
    token: str
    token_file: Path | None

    def __post_init__(self) -> None:
        if not self.token:
            raise ValueError("without a token anybody could log in")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return Address(tls=False, host=self.address.host, port=self.address.port, path=self.address.path).is_local

    @property
    def names(self) -> frozenset[str]:
        """By which it is known, beside ``localhost`` and IP addresses."""
        own = (self.host, socket.gethostname(), self.address.host)
        return frozenset([*self.section.hosts, *(name.lower() for name in own)])


class Live:
    """The setting of the moment."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting


class Exposition(Protocol):
    """The monitor's metrics. Called in the console's thread, while the monitor goes on in its own."""

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text, and its media type by what the Accept field asks for."""
