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
        self._home: Engine | _Hosted | None = None
        self._lane: Lane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request. Mounted apps hear of no lifespan, so it begins with the first one."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._home is None or not self._home.is_here:
            self._open()
        if not self._keeps_prefix and scope.get("root_path"):
            scope = _without_prefix(scope)
        await self._lane(scope, receive, send)

    async def aclose(self) -> None:
        """Close all connections; the next request opens new ones."""
        home, self._home = self._home, None
        if home is not None:
            await home.aclose()

    def _open(self) -> None:
        """Begin on the running loop: a whole worker where there is a store to follow, else an engine."""
        if self._config.store.url is None:
            engine = _engine_for(self._config)
            self._home, self._lane = engine, Lane(engine)
        else:
            hosted = _Hosted(self._config)
            self._home, self._lane = hosted, Lane(hosted.runtime)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message: Message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})


class _Hosted:
    """A worker of ours on a loop of somebody else's."""

    def __init__(self, config: Config) -> None:
        board, slot = shared_board()
        self.runtime = Runtime(config, board, slot, str(os.getpid()), dict(os.environ))
        self.runtime.writer.mark(booted=True)
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="sidebeat")

    @property
    def is_here(self) -> bool:
        """Whether it works, on the running loop."""
        return not self._task.done() and self._loop is asyncio.get_running_loop()

    async def aclose(self) -> None:
        """Close all connections."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        try:
            await self.runtime.run()
        finally:
            self.runtime.writer.mark(draining=True)
            await self.runtime.aclose()


def _engine_for(config: Config) -> Engine:
    proxies = tuple(str(network) for network in config.listen.trusted_proxies)
    engine = Engine(trusted_proxies=proxies)
    engine.listen = config.listen
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
