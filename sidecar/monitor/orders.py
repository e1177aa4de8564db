"""What the operator wants of one pool, as this monitor knows it: from the store, through the store's losses.

Every monitor follows the hash ``admin``, also one that stands by, and keeps a copy on disk. Within one life of the
store the hash is the truth. In another life it is what was asked for since then, and all the rest is put back.
"""

import logging
import time
from collections.abc import Collection, Mapping

from redis.asyncio import Redis

from sidecar.admin import Desk, read, restore
from sidecar.contract.events import Event, line
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin, Intent
from sidecar.monitor.saved import Saved, SavedIntents
from sidecar.monitor.watch import Watch
from sidecar.verdict import Condition

log = logging.getLogger(__name__)


class Orders:
    """The intents in force. A backend in ``maint`` is not probed; ids that are no members are kept and ignored."""

    def __init__(self, redis: Redis, keys: PoolKeys, *, watch: Watch, copy: SavedIntents, owner: str) -> None:
        self._redis = redis
        self._keys = keys
        self._watch = watch
        self._copy = copy
        self._owner = owner
        self._saved = copy.load()
        self._problems: Mapping[str, str] = {}
        self.intents: Mapping[str, Intent] = {}
        self._obey(self._saved.intents)

    async def follow(self) -> None:
        """Read the hash, and act on what is new in it; whatever stands there, it is no error.

        Raises:
            RedisError, OSError: the store does not answer; the intents stay in force.
        """
        desk = await read(self._redis, self._keys)
        if self._has_lost(desk):
            restored = await restore(self._redis, self._keys, self._saved.intents, by=self._owner)
            if restored:
                log.warning(line(Event.INTENT, pool=self._keys.pool, restored=",".join(restored)))
            self._tell(desk.problems)
            desk = await read(self._redis, self._keys)
        self._tell(desk.problems)
        known = {name: self._saved.intents[name] for name in desk.problems if name in self._saved.intents}
        intents = known | dict(desk.intents) if desk.is_readable else self._saved.intents
        self._keep(Saved(store_id=desk.store_id or self._saved.store_id, intents=intents))
        self._obey(intents)

    def _has_lost(self, desk: Desk) -> bool:
        """Whether what we know may be missing there: another life of the store, or garbage in place of it."""
        is_same = desk.store_id == self._saved.store_id and not desk.problems
        return bool(self._saved.intents) and not is_same

    def _obey(self, intents: Mapping[str, Intent]) -> None:
        """Have it published, and pause or resume the probes."""
        before, self.intents = self.intents, intents
        if intents == before:
            return
        for name in self._watch.members:
            was, now = before.get(name, Intent()), intents.get(name, Intent())
            if (was.admin, was.weight) == (now.admin, now.weight):
                continue
            log.info(
                line(
                    Event.INTENT, pool=self._keys.pool, backend=name, admin=now.admin, weight=now.weight,
                    by=now.by or None,
                )
            )  # fmt: skip
            self._keep_out(name, now)
            self._watch.news.set()

    def meet(self, names: Collection[str]) -> None:
        """These have joined the pool; what is wanted of them may have been said before."""
        for name in names:
            if (intent := self.intents.get(name, Intent())).admin is Admin.MAINT:
                self._keep_out(name, intent)

    def _keep_out(self, name: str, intent: Intent) -> None:
        """Not probed is not known: what was healthy may be gone when it returns."""
        is_out = intent.admin is Admin.MAINT
        if is_out:
            self._watch.adopt(name, Condition(reason="in maintenance: not probed", since=time.monotonic()))
        self._watch.pause(name, is_out)

    def _keep(self, saved: Saved) -> None:
        if saved != self._saved:
            self._saved = saved
            self._copy.save(saved)

    def _tell(self, problems: Mapping[str, str]) -> None:
        for name in problems.keys() - self._problems.keys():
            log.warning(line(Event.STORE_GARBAGE, pool=self._keys.pool, key="admin", backend=name or None,
                             error=problems[name]))  # fmt: skip
        self._problems = problems
