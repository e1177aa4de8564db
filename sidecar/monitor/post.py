"""One pool at work in the monitor: its watch, its leader and the tasks of both, as the config has it for the moment.

A change of config changes the watch in place: the lease is kept, and a backend that is the same is known as before.
"""

import time
from asyncio import Task, TaskGroup
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from sidecar.collect import Collector
from sidecar.contract.config import Config, ConfigError, Pool
from sidecar.contract.keys import PoolKeys
from sidecar.lease import Lease
from sidecar.monitor.clock import WireClock
from sidecar.monitor.contact import Contact
from sidecar.monitor.gate import Gate
from sidecar.monitor.lead import Leader
from sidecar.monitor.orders import Orders
from sidecar.monitor.saved import SavedIntents
from sidecar.monitor.tenure import Tenure
from sidecar.monitor.told import Told
from sidecar.monitor.watch import Probe, Watch
from sidecar.probe import Prober
from sidecar.publish import Publisher
from sidecar.schedule import Schedule
from sidecar.verdict import Policy
from sidecar.veto import Veto


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done for a pool; made before anything is, since its TLS files may be unusable."""

    keys: PoolKeys
    pool: Pool
    probes: Mapping[str, Probe]

    @classmethod
    def of(cls, config: Config, name: str, prober: Prober) -> "Plan":
        """The plan for a pool by its name in the config.

        Raises:
            ConfigError: its TLS files cannot be used; names the key.
        """
        pool = config.pools[name]
        try:
            probes = {backend.id: prober.probe(backend, pool.health_check, pool.tls) for backend in pool.members}
        except OSError as error:
            raise ConfigError([f"pools.{name}.tls: {error}"]) from error
        return cls(keys=PoolKeys(config.store.namespace, config.key_name(name)), pool=pool, probes=probes)

    @property
    def policy(self) -> Policy:
        """How probes are judged."""
        check = self.pool.health_check
        return Policy(
            fall=check.fall,
            rise=check.rise,
            fast_interval_s=check.fast_interval_s,
            slow_start_s=self.pool.balancing.slow_start_s,
        )

    def schedule(self) -> Schedule:
        """Timers for all of its backends, due now."""
        check = self.pool.health_check
        return Schedule(
            self.probes,
            interval_s=check.interval_s,
            fast_interval_s=check.fast_interval_s,
            down_interval_s=check.down_interval_s,
            now=time.monotonic(),
        )

    @property
    def tells_probes(self) -> bool:
        """Whether workers pick by what probes took."""
        return self.pool.balancing.policy == "fastest"

    def veto(self) -> Veto:
        """A new one."""
        check = self.pool.health_check
        return Veto(interval_s=check.interval_s, timeout_s=check.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What all pools of one monitor share."""

    redis: Redis
    url: str
    owner: str
    contact: Contact
    gate: Gate
    directory: Path | None
    tasks: TaskGroup


class Post:
    """One pool, from the first probe to the end of its leader."""

    def __init__(self, office: Office, plan: Plan) -> None:
        """Begin."""
        self.keys = keys = plan.keys
        self.pool = plan.pool
        self._tasks = office.tasks
        clock = WireClock()
        self.watch = Watch(
            keys.pool, plan.pool.members, probes=plan.probes, policy=plan.policy, schedule=plan.schedule(),
            gate=office.gate,
        )  # fmt: skip
        self.told = Told(self.watch, clock, plan.pool.hash, plan.veto, tells_probes=plan.tells_probes)
        copy = SavedIntents(office.directory, keys.pool, office.url)
        self._orders = Orders(office.redis, keys, watch=self.watch, copy=copy, owner=office.owner)
        self.leader = Leader(
            watch=self.watch,
            told=self.told,
            tenure=Tenure(Lease(office.redis, keys, office.owner), clock, keys.pool),
            orders=self._orders,
            publisher=Publisher(office.redis, keys, office.owner),
            collector=Collector(office.redis, keys),
            contact=office.contact,
        )
        self._probing: dict[str, Task[None]] = {}
        self._leading = self._tasks.create_task(self.leader.run(), name=f"lead {keys.pool}")
        self._probe_all()

    def change(self, plan: Plan) -> None:
        """Go on by another plan, when the leader is between two turns: within a second, whatever the store does."""
        self.leader.between_turns(partial(self._change, self.pool, plan))
        self.pool = plan.pool

    def _change(self, before: Pool, plan: Plan) -> None:
        known = {backend.id: backend.url for backend in before.members} if before.tls == plan.pool.tls else {}
        same = {backend.id for backend in plan.pool.members if known.get(backend.id) == backend.url}
        for name in self._probing.keys() - same:
            self._probing.pop(name).cancel()
        self.watch.change(
            plan.pool.members, same, probes=plan.probes, policy=plan.policy, schedule=plan.schedule()
        )  # fmt: skip
        self.told.change(plan.pool.hash, plan.veto, tells_probes=plan.tells_probes)
        self._orders.meet(self.watch.members.keys() - same)
        self._probe_all()

    def _probe_all(self) -> None:
        for name in self.watch.members.keys() - self._probing.keys():
            task = self._tasks.create_task(self.watch.keep_probing(name), name=f"probe {self.keys.pool}/{name}")
            self._probing[name] = task

    def end(self) -> None:
        """The pool is not ours any more: its lease is given back."""
        for task in (self._leading, *self._probing.values()):
            task.cancel()
