"""A gateway for anybody's app: ``app.mount("/api", Gateway(["http://127.0.0.1:8081", "http://127.0.0.1:8082"]))``.

What the app has in front of it, middleware or dependencies, comes first; what reaches the gateway goes by its routes to
its pools, as under our own master. With a store in the config it follows the shared view of health and reports; without
one it judges by the traffic alone.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sidecar.contract.config import Config, load
from worker.gateway import Gateway as Lane
from worker.gateway import Message, Receive, Scope, Send
from worker.library.engine import Engine
from worker.library.shared import shared_board
from worker.route import Router
from worker.runtime import Runtime

Pools = Mapping[str, Sequence[str | Mapping[str, Any]] | Mapping[str, Any]]
"""By name: backends, or a table as under ``[pools.NAME]``."""


class Gateway:
    """An ASGI application that forwards all it is given, HTTP and WebSockets.

    Args:
        config: the path of a config file, a ``Config``, the backends of one pool, or several pools by name.
        keeps_prefix: whether backends see the path that the app is mounted at, too.

    Raises:
        ConfigError: the file cannot be used.
        ValueError: the pools cannot be; pydantic's, which names the keys.
    """

    def __init__(self, config: str | Path | Config | Pools | Sequence[str], *, keeps_prefix: bool = False) -> None:
        self._config = _config_of(config)
        self._keeps_prefix = keeps_prefix
        self._live: _Live | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request. Mounted apps hear of no lifespan, so it begins with the first one."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._live is None or not self._live.is_here:
            self._live = _Live(self._config)
        if not self._keeps_prefix and scope.get("root_path"):
            scope = _without_prefix(scope)
        await self._live.lane(scope, receive, send)

    async def aclose(self) -> None:
        """Close all connections; the next request opens new ones."""
        live, self._live = self._live, None
        if live is not None:
            await live.aclose()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message: Message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})


class _Live:
    """A gateway at work on one loop."""

    def __init__(self, config: Config) -> None:
        self._loop = asyncio.get_running_loop()
        self.lane: Lane
        if config.store.url is None:
            self._engine: Engine | None = _engine_for(config)
            self._task: asyncio.Task[None] | None = None
            self.lane = Lane(self._engine)
            return
        board, slot = shared_board()
        runtime = Runtime(config, board, slot, str(os.getpid()), dict(os.environ))
        runtime.writer.mark(booted=True)
        self._engine = None
        self._task = self._loop.create_task(_run(runtime), name="sidebeat")
        self.lane = Lane(runtime)

    @property
    def is_here(self) -> bool:
        """Whether it works, on the running loop."""
        if self._engine is not None:
            return self._engine.is_here
        return self._task is not None and not self._task.done() and self._loop is asyncio.get_running_loop()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            await self._engine.aclose()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


async def _run(runtime: Runtime) -> None:
    try:
        await runtime.run()
    finally:
        runtime.writer.mark(draining=True)
        await runtime.aclose()


def _engine_for(config: Config) -> Engine:
    proxies = tuple(str(network) for network in config.listen.trusted_proxies)
    engine = Engine(trusted_proxies=proxies)
    engine.router = Router(config.effective_routes)
    for name, pool in config.pools.items():
        engine.use(name, pool)
    return engine


def _config_of(config: str | Path | Config | Pools | Sequence[str]) -> Config:
    if isinstance(config, Config):
        return config
    if isinstance(config, str | Path):
        return load(Path(config), dict(os.environ))
    pools = config if isinstance(config, Mapping) else {"default": config}
    tables = {name: pool if isinstance(pool, Mapping) else {"backends": list(pool)} for name, pool in pools.items()}
    return Config.model_validate({"pools": tables})


def _without_prefix(scope: Scope) -> Scope:
    """The request as the backend is to see it: without the path that leads to us."""
    root: str = scope["root_path"]
    if not scope["path"].startswith(root):
        return scope
    path: str = scope["path"][len(root) :]
    raw: bytes = scope.get("raw_path") or b""
    prefix = quote(root).encode()
    raw = raw[len(prefix) :] if raw.startswith(prefix) else quote(path).encode()
    return {**scope, "path": path or "/", "raw_path": raw or b"/", "root_path": ""}
