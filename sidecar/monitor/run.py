"""The monitor's composition root: from a config to its pools, on to another config, and their end."""

import asyncio
import logging
import os
import secrets
from asyncio import Task
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from sidecar.contract.config import Config, ConfigError
from sidecar.contract.config.change import pinned
from sidecar.contract.connect import connect
from sidecar.contract.events import Event, line
from sidecar.contract.masters import MONITOR, Presence, find_masters
from sidecar.contract.rundir import console_token
from sidecar.contract.tracing import provider_for, shut_down, tracer_of
from sidecar.contract.whereabouts import store_url
from sidecar.monitor.console import Hosting
from sidecar.monitor.contact import Contact
from sidecar.monitor.gate import Gate
from sidecar.monitor.hints import heed_hints
from sidecar.monitor.metrics import Exposition
from sidecar.monitor.post import Office, Plan, Post
from sidecar.monitor.reload import heed_reloads
from sidecar.monitor.saved import copy_directory
from sidecar.monitor.tenure import Role
from sidecar.probe import Prober

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)


async def run(
    config: Config, environ: Mapping[str, str], *, file: Path | None = None, asked: asyncio.Event | None = None
) -> None:
    """Probe and publish until cancelled; then the leases are given back and the clients closed.

    A store that cannot be reached is tried again for ever.

    Args:
        config: what to begin with.
        environ: for the run directory, and for reloads.
        file: where the config came from, read again at each reload; None: all of it was in ``environ``.
        asked: set by whoever wants a reload; None: there are none, and nobody is told that this is a monitor.

    Raises:
        ConfigError: it is not said where the store is, or a pool's TLS files cannot be used; names the key.
    """
    url = store_url(config, environ)
    owner = f"{config.store.host}:{os.getpid()}:{secrets.token_hex(3)}"
    namespace = config.store.namespace
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(_client(url))
        prober = await stack.enter_async_context(Prober(_tracer(config, environ, stack)))
        directory = copy_directory(namespace, environ)
        plans = _plans(config, prober)
        pools = ",".join(plan.keys.pool for plan in plans.values())
        log.info(line(Event.STARTED, monitor=owner, pools=pools, namespace=namespace))
        stack.callback(log.info, line(Event.STOPPED, monitor=owner))
        async with asyncio.TaskGroup() as tasks:
            office = Office(
                redis=redis, url=url, owner=owner, contact=Contact(url), gate=Gate(), directory=directory, tasks=tasks
            )
            monitor = Monitor(office, prober, config, plans)
            token_file = directory and console_token(namespace, environ)
            console = Hosting(office, config, monitor.roles, token_file, Exposition(monitor.posts))
            tasks.create_task(console.run(), name="console")
            if asked is not None:
                presence = _shown(namespace, environ, owner)
                stack.callback(presence.withdraw)
                both = [monitor.apply, console.change]
                tasks.create_task(heed_reloads(asked, file, environ, partial(_each, both), presence), name="reloads")


class Monitor:
    """All pools of one monitor, under the config in force."""

    def __init__(self, office: Office, prober: Prober, config: Config, plans: Mapping[str, Plan]) -> None:
        """Begin."""
        self._office = office
        self._prober = prober
        self._config = config
        self._posts: dict[str, Post] = {}
        self._hints: Task[None] | None = None
        self._man(plans)

    def posts(self) -> list[Post]:
        """One for each pool there is now."""
        return list(self._posts.values())

    def roles(self) -> list[Role]:
        """What this monitor is to each pool."""
        return [post.leader.role for post in self._posts.values()]

    def apply(self, config: Config) -> None:
        """Go on under another config: leases are kept, and backends that stay are known as before.

        Raises:
            ConfigError: it needs a restart, or TLS files cannot be used; nothing has changed then.
        """
        if problems := pinned(self._config, config):
            raise ConfigError(problems)
        plans = _plans(config, self._prober)
        self._config = config
        self._man(plans)

    def _man(self, plans: Mapping[str, Plan]) -> None:
        """Have a post for each of the plans, by names in keys, and no others."""
        before = set(self._posts)
        for name in before - plans.keys():
            self._posts.pop(name).end()
        for name, plan in plans.items():
            if name not in self._posts:
                self._posts[name] = Post(self._office, plan)
            elif self._posts[name].pool != plan.pool:
                self._posts[name].change(plan)
        if before != set(self._posts):
            self._listen()

    def _listen(self) -> None:
        """Heed the hints to all pools that there are."""
        if self._hints is not None:
            self._hints.cancel()
        actions: dict[str, Callable[[str], None]] = {}
        for post in self._posts.values():
            actions |= {post.keys.suspect: post.watch.suspect, post.keys.intents: post.leader.hint}
        self._hints = self._office.tasks.create_task(heed_hints(self._office.redis, actions), name="hints")


def _each(appliers: Sequence[Callable[[Config], None]], config: Config) -> None:
    """Apply a config to all of these; the first may refuse it."""
    for apply in appliers:
        apply(config)


def _plans(config: Config, prober: Prober) -> dict[str, Plan]:
    """By the pools' names in keys: under another one it is another pool."""
    return {config.key_name(name): Plan.of(config, name, prober) for name in config.pools}


def _shown(namespace: str, environ: Mapping[str, str], owner: str) -> Presence:
    """This monitor's presence, or a line in the log why it is not to be seen; those that were killed are taken away."""
    presence = Presence(namespace, environ, instance=owner, kind=MONITOR)
    try:
        find_masters(namespace, environ, MONITOR)  # before: our own lock is none to ourselves
        presence.show()
    except OSError as error:
        log.warning(line(Event.CONFIG, unannounced=str(error)))
    return presence


def _tracer(config: Config, environ: Mapping[str, str], stack: AsyncExitStack) -> "Tracer | None":
    """What makes spans of probes, if they are wanted; the last of them are exported when the stack ends."""
    provider = provider_for(config.tracing, environ)
    if provider is None:
        return None
    stack.callback(shut_down, provider)
    return tracer_of(provider)


def _client(url: str) -> Redis:
    try:
        return connect(url)
    except ValueError as error:
        raise ConfigError([f"store.url: {error}"]) from error
