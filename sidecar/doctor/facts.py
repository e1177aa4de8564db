"""What the checks look at: gathered once, and then only read. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.contract.config import Config, HealthCheck
from sidecar.contract.model import Backend
from sidecar.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The head of a response; the names of its ``fields`` are in lower case."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()

    def values(self, name: str) -> list[str]:
        """The values of a field, a list entry for each line of it."""
        return [value for each, value in self.fields if each == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of one request. ``trouble`` says why there is no answer.

    ``closed_after_s`` is how long the connection then rested before the other side closed it; None: it did not within
    ``watched_s``.
    """

    answer: Answer | None = None
    trouble: str = ""
    body: str = ""
    closed_after_s: float | None = None
    watched_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFacts:
    """A backend, the check that it is probed by, and what it answered to one such request of ours."""

    pool: str
    backend: Backend
    check: HealthCheck
    asked: Asked

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.pool}/{self.backend.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """The store. None: it does not say, or does not let us ask. ``trouble``: why it tells nothing at all.

    ``skew_s`` is how far its clock is ahead of ours; ``is_encrypted`` and ``is_local`` are about the way to it.
    ``is_open``: it lets in whoever asks. ``user`` is who we are there, ``rules`` what the user default may do.
    """

    shown: str
    trouble: str = ""
    is_local: bool = True
    is_encrypted: bool = False
    is_open: bool = False
    skew_s: float = 0.0
    user: str | None = None
    rules: str | None = None
    role: str | None = None
    policy: str | None = None
    max_bytes: int | None = None
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """The machine that the workers run on, where it is this one.

    ``open_files`` is the limit of each worker; ``kill_after`` who ends a container or a service that does not end by
    itself, and after how many seconds by default.
    """

    open_files: int | None = None
    kill_after: tuple[str, float] | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it. ``config`` is None where none was named, and no worker runs here that could be asked for its own.

    ``endpoints`` are our own addresses that were asked, by the key that names each; ``through`` is what a request
    brought that went through our public address, by pool. ``store_ids`` are the lives of the store that each pool's
    heartbeat named at the beginning and at the end.
    """

    status: Status
    store: StoreFacts
    config: Config | None = None
    machine: MachineFacts = MachineFacts()
    backends: tuple[BackendFacts, ...] = ()
    endpoints: Mapping[str, Asked] = field(default_factory=dict)
    through: Mapping[str, Asked] = field(default_factory=dict)
    store_ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
