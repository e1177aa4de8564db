"""Who may publish a pool: a lease in Redis, for three seconds at a time.

The hash ``leader`` says who holds it, under which token, until when. Tokens only grow; a write under an older one is
refused by the script that was to do it (FENCED). A holder stops by its own monotonic clock before the lease can end.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from redis.asyncio import Redis

from sidecar.contract.keys import EVENTS_LENGTH, LEASE_MS, PoolKeys

RENEW_S = 1.0
RETRY_S = 0.25
"""How often a standby tries: with the expiry, a leader that hangs is replaced within 3.25 s."""
MARGIN_S = 0.5
"""A holder stops so long before the end of its lease; clocks drift, and a write takes its time."""

_SCRIPTS = resources.files("sidecar")
_CLAIM = _SCRIPTS.joinpath("fence.lua").read_text() + _SCRIPTS.joinpath("lease.lua").read_text()
_RELEASE = """
local held = redis.pcall('HMGET', KEYS[1], 'owner', 'token')
if held[1] == ARGV[1] and (held[2] == ARGV[2] or ARGV[2] == '') then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The lease is ours. ``store_id`` names this life of the store, ``redis_ms`` is its time."""

    token: int
    store_id: str
    redis_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Somebody else's it is. ``fenced``: they took what we believed to be ours, and the events say so."""

    owner: str
    token: int
    redis_ms: int
    fenced: bool


class Lease:
    """One pool's lease, as one monitor sees it. Every method may raise ``RedisError`` or ``OSError``."""

    def __init__(
        self, redis: Redis, keys: PoolKeys, owner: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.owner = owner
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._token: int | None = None
        self._store_id = ""
        self._may_be_ours = False
        self._ends = 0.0

    @property
    def token(self) -> int | None:
        """Under which token we hold it; None when we do not, or could not renew it in time."""
        return self._token if self._clock() < self._ends else None

    async def claim(self) -> Grant | Held:
        """Take it if it is free, renew it if it is ours."""
        keys = self._keys
        sent, self._may_be_ours = self._clock(), True
        arguments = (self.owner, self._token or "", self._store_id, LEASE_MS, EVENTS_LENGTH, secrets.token_hex(8))
        reply: list[str] = await self._redis.eval(_CLAIM, 4, keys.leader, keys.view, keys.beat, keys.events, *arguments)
        if reply[0] == "HELD":
            fenced, self._token, self._may_be_ours = self._token is not None, None, False
            return Held(owner=reply[1], token=_number(reply[2]), redis_ms=int(reply[3]), fenced=fenced)
        # Redis counts the expiry from when it had our words, which was after we sent them.
        self._token, self._ends = int(reply[1]), sent + LEASE_MS / 1000 - MARGIN_S
        self._store_id = reply[2]
        return Grant(token=self._token, store_id=self._store_id, redis_ms=int(reply[3]))

    def lose(self) -> None:
        """Forget the lease: a script found that it is not ours any more."""
        self._token = None

    async def release(self) -> None:
        """Give it back if it is ours, so that a standby need not wait for its end; also one whose grant never came."""
        if self._may_be_ours:
            token, self._token, self._may_be_ours = self._token, None, False
            await self._redis.eval(_RELEASE, 1, self._keys.leader, self.owner, token or "")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 20 else 0
