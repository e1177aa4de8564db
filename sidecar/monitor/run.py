"""The monitor's composition root: from a config to its tasks, and their end."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

from redis.asyncio import Redis

from sidecar.collect import Collector
from sidecar.contract.config import Config, ConfigError
from sidecar.contract.connect import connect, store_url
from sidecar.contract.events import Event, line
from sidecar.contract.keys import PoolKeys
from sidecar.lease import Lease
from sidecar.monitor.clock import WireClock
from sidecar.monitor.contact import Contact
from sidecar.monitor.gate import Gate
from sidecar.monitor.hints import heed_hints
from sidecar.monitor.lead import Leader
from sidecar.monitor.orders import Orders
from sidecar.monitor.saved import SavedIntents, copy_directory
from sidecar.monitor.tenure import Tenure
from sidecar.monitor.told import Told
from sidecar.monitor.watch import Watch
from sidecar.probe import Prober
from sidecar.publish import Publisher
from sidecar.schedule import Schedule
from sidecar.verdict import Policy
from sidecar.veto import Veto

log = logging.getLogger(__name__)


async def run(config: Config, environ: Mapping[str, str]) -> None:
    """Probe and publish until cancelled; then the leases are given back and the clients closed.

    A store that cannot be reached is tried again for ever.

    Raises:
        ConfigError: it is not said where the store is, or a pool's TLS files cannot be used; names the key.
    """
    url = store_url(config, environ)
    owner = f"{config.store.host}:{os.getpid()}:{secrets.token_hex(3)}"
    contact = Contact(url)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(_client(url))
        prober = await stack.enter_async_context(Prober())
        gate = Gate()
        directory = copy_directory(config.store.namespace, environ)
        watches = {name: _watch(config, name, prober, gate) for name in config.pools}
        pools = ",".join(watch.pool for watch in watches.values())
        log.info(line(Event.STARTED, monitor=owner, pools=pools, namespace=config.store.namespace))
        stack.callback(log.info, line(Event.STOPPED, monitor=owner))
        async with asyncio.TaskGroup() as tasks:
            actions: dict[str, Callable[[str], None]] = {}
            for name, watch in watches.items():
                keys = PoolKeys(config.store.namespace, watch.pool)
                for backend_id in watch.members:
                    tasks.create_task(watch.keep_probing(backend_id), name=f"probe {name}/{backend_id}")
                pool, clock = config.pools[name], WireClock()
                check = pool.health_check
                new_veto = partial(Veto, interval_s=check.interval_s, timeout_s=check.timeout_s)
                copy = SavedIntents(directory, watch.pool, url)
                leader = Leader(
                    watch=watch,
                    told=Told(watch, clock, pool.hash, new_veto, tells_probes=pool.balancing.policy == "fastest"),
                    tenure=Tenure(Lease(redis, keys, owner), clock, watch.pool),
                    orders=Orders(redis, keys, watch=watch, copy=copy, owner=owner),
                    publisher=Publisher(redis, keys, owner),
                    collector=Collector(redis, keys),
                    contact=contact,
                )
                actions |= {keys.suspect: watch.suspect, keys.intents: leader.hint}
                tasks.create_task(leader.run(), name=f"lead {name}")
            tasks.create_task(heed_hints(redis, actions), name="hints")


def _client(url: str) -> Redis:
    try:
        return connect(url)
    except ValueError as error:
        raise ConfigError([f"store.url: {error}"]) from error


def _watch(config: Config, name: str, prober: Prober, gate: Gate) -> Watch:
    pool = config.pools[name]
    check = pool.health_check
    try:
        probes = {backend.id: prober.probe(backend, check, pool.tls) for backend in pool.members}
    except OSError as error:
        raise ConfigError([f"pools.{name}.tls: {error}"]) from error
    policy = Policy(
        fall=check.fall,
        rise=check.rise,
        fast_interval_s=check.fast_interval_s,
        slow_start_s=pool.balancing.slow_start_s,
    )
    schedule = Schedule(
        probes,
        interval_s=check.interval_s,
        fast_interval_s=check.fast_interval_s,
        down_interval_s=check.down_interval_s,
        now=time.monotonic(),
    )
    return Watch(config.key_name(name), pool.members, probes=probes, policy=policy, schedule=schedule, gate=gate)
