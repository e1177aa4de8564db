"""The monitor's composition root: from a config to its tasks, and their end."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

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
from sidecar.monitor.lead import Leader
from sidecar.monitor.suspects import heed_suspicions
from sidecar.monitor.told import Told
from sidecar.monitor.watch import Watch
from sidecar.probe import Prober
from sidecar.publish import Publisher
from sidecar.schedule import Schedule
from sidecar.verdict import Policy

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
        watches = {name: _watch(config, name, prober, gate) for name in config.pools}
        pools = ",".join(watch.pool for watch in watches.values())
        log.info(line(Event.STARTED, monitor=owner, pools=pools, namespace=config.store.namespace))
        stack.callback(log.info, line(Event.STOPPED, monitor=owner))
        async with asyncio.TaskGroup() as tasks:
            channels = {}
            for name, watch in watches.items():
                keys = PoolKeys(config.store.namespace, watch.pool)
                channels[keys.suspect] = watch
                for backend_id in watch.members:
                    tasks.create_task(watch.keep_probing(backend_id), name=f"probe {name}/{backend_id}")
                clock = WireClock()
                leader = Leader(
                    watch=watch,
                    told=Told(watch, clock, config.pools[name].hash),
                    clock=clock,
                    lease=Lease(redis, keys, owner),
                    publisher=Publisher(redis, keys, owner),
                    collector=Collector(redis, keys),
                    contact=contact,
                )
                tasks.create_task(leader.run(), name=f"lead {name}")
            tasks.create_task(heed_suspicions(redis, channels), name="suspects")


def _client(url: str) -> Redis:
    try:
        return connect(url)
    except ValueError as error:
        raise ConfigError([f"store.url: {error}"]) from error


def _watch(config: Config, name: str, prober: Prober, gate: Gate) -> Watch:
    pool = config.pools[name]
    check = pool.health_check
    try:
        probes = {backend.id: prober.http_probe(backend, check, pool.tls) for backend in pool.members}
    except OSError as error:
        raise ConfigError([f"pools.{name}.tls: {error}"]) from error
    policy = Policy(
        fall=check.fall,
        rise=check.rise,
        fast_interval_s=check.fast_interval_s,
        slow_start_s=pool.balancing.slow_start_s,
    )
    schedule = Schedule(
        probes, interval_s=check.interval_s, fast_interval_s=check.fast_interval_s, now=time.monotonic()
    )
    return Watch(config.key_name(name), pool.members, probes=probes, policy=policy, schedule=schedule, gate=gate)
