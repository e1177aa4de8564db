"""Every Redis key, channel and expiry, in one table.

Keys of one pool share a hash tag, ``sidebeat:{<namespace>:<pool>}:…``, so that one script may touch them all on a
Cluster. A host-scoped pool is named ``<pool>@<host>`` here. Made to be read by people: see ``MEANINGS``.
"""

from dataclasses import dataclass

LEASE_MS = 3_000
"""How long a lease lives unrenewed; with a renewal each second a paused leader is replaced within 3.25 s."""
WORKER_MS = 5_000
"""A worker that has not reported for five heartbeats is gone."""
SHARE_MS = 5_000
"""Places that an instance has not renewed for so long are anybody's."""
DEPARTED_MS = 3_600_000
"""Keys of a backend that left the config stay an hour for whoever asks why."""
HISTORY_MS = 3_600_000
HISTORY_LENGTH = 300
EVENTS_LENGTH = 1_000

MEANINGS: dict[str, str] = {
    "view": "every backend's eligibility, as the workers route on it (JSON; changes only on change)",
    "beat": "the leading monitor's heartbeat, each second",
    "backend": "one backend: state, reason, since when, latest probe",
    "leader": "which monitor may publish; expires 3 s after its last renewal",
    "worker": "one worker's heartbeat: applied epoch, view age, counters per backend (JSON)",
    "workers": "all workers by the unix ms of their last heartbeat",
    "events": "what changed, from, to, why and by whom (about the last 1000)",
    "history": "latency and outcome of one backend's probes, for a sparkline",
    "admin": "what the operator asked for: drain, maint, weight",
    "share": "how many requests each instance may have under way to a backend, leased each second for five",
    "quota": "how many requests to a backend are leased of a window; its number is unix time by the window's length",
    "pools": "the pools of this namespace",
    "console-token": "what one logs in with at the console; the same for all monitors",
}
"""One line for a person, by the first word after the pool's prefix."""


def pools_index(namespace: str) -> str:
    """The set of pool names (as they stand in keys) of a namespace."""
    return f"sidebeat:{{{namespace}}}:pools"


def console_token(namespace: str) -> str:
    """String: what all monitors of a namespace agree upon for their consoles, where the config does not say it."""
    return f"sidebeat:{{{namespace}}}:console-token"


def meaning(key: str) -> str:
    """One line on what a key of ours is; empty for a key that is not in the table."""
    return MEANINGS.get(key.partition("}:")[2].partition(":")[0], "")


@dataclass(frozen=True, slots=True)
class PoolKeys:
    """The keys and channels of one pool; ``pool`` is its name in keys, with ``@<host>`` where host-scoped."""

    namespace: str
    pool: str

    @property
    def prefix(self) -> str:
        """What all keys of the pool begin with."""
        return f"sidebeat:{{{self.namespace}:{self.pool}}}:"

    @property
    def view(self) -> str:
        """String, JSON; never expires, since a dead monitor must not look like "no backends"."""
        return f"{self.prefix}view"

    @property
    def beat(self) -> str:
        """Hash: seq, epoch, store_id, redis_ms, leader, token; probe_ms where backends are picked by it."""
        return f"{self.prefix}beat"

    @property
    def leader(self) -> str:
        """Hash: owner, token, until_ms."""
        return f"{self.prefix}leader"

    @property
    def workers(self) -> str:
        """Sorted set of ``<host>:<instance>:<slot>`` by unix ms of the last heartbeat."""
        return f"{self.prefix}workers"

    @property
    def events(self) -> str:
        """Stream: epoch, backend, from, to, reason, by, and evidence where there is some."""
        return f"{self.prefix}events"

    @property
    def admin(self) -> str:
        """Hash, durable: backend id to an ``Intent`` as JSON."""
        return f"{self.prefix}admin"

    @property
    def push(self) -> str:
        """Channel: a new epoch, as decimal text."""
        return f"{self.prefix}push"

    @property
    def suspect(self) -> str:
        """Channel: the id of a backend to probe now."""
        return f"{self.prefix}suspect"

    @property
    def intents(self) -> str:
        """Channel: the id of a backend of which the operator has asked something; ``admin`` says what."""
        return f"{self.prefix}intents"

    def backend(self, backend_id: str) -> str:
        """Hash of one backend."""
        return f"{self.prefix}backend:{backend_id}"

    def history(self, backend_id: str) -> str:
        """Stream of one backend's probes."""
        return f"{self.prefix}history:{backend_id}"

    def share(self, backend_id: str) -> str:
        """Hash of one backend's limits: ``<host>:<instance>`` to its places, as JSON; and the limits."""
        return f"{self.prefix}share:{backend_id}"

    def quota(self, backend_id: str, window: int) -> str:
        """String: requests leased of a window, by its number; expires after two."""
        return f"{self.prefix}quota:{backend_id}:{window}"

    def worker(self, member: str) -> str:
        """Hash of one worker; ``member`` is its name in ``workers``."""
        return f"{self.prefix}worker:{member}"


def worker_member(host: str, instance: str, slot: int) -> str:
    """A worker's name in the ``workers`` set and in its own key."""
    return f"{host}:{instance}:{slot}"
