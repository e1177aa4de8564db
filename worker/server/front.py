"""The user's own ASGI app in front of the pools (``listen.app``): found, started, served, drained.

It forwards by calling ``scope["state"]["gateway"]``, in FastAPI ``request.state.gateway``, an ASGI app itself.
uvicorn runs its lifespan and its WebSockets; for everything else see ``worker.server.connection``.
"""

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from functools import reduce
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from sidecar.contract.config import ConfigError
from worker.gateway import App, Gateway
from worker.lane import Home
from worker.server.connection import AppConnection
from worker.server.turn import Turn

OURS = ("sidecar", "worker")
DRAIN_SHARE = 0.5
"""The part of a drain over which WebSockets are closed; the rest is for their goodbyes."""


def load_app(name: str) -> App:
    """Import ``module:attribute``, from the current directory too, which comes last.

    Raises:
        ConfigError: it is not there, or cannot be called.
        Exception: whatever the user's module raises.
    """
    module_name, _, path = name.partition(":")
    if (top := module_name.partition(".")[0]) in OURS:
        raise ConfigError([f"listen.app: {top!r} is a package of sidebeat's; give your module another name"])
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError([f"listen.app: {name}: {error}"]) from error
    try:
        app = reduce(getattr, path.split("."), cast("Any", module))
    except AttributeError as error:
        raise ConfigError([f"listen.app: {module.__file__} has no {path!r}"]) from error
    if not callable(app):
        raise ConfigError([f"listen.app: {path!r} in {module.__file__} is not an ASGI app"])
    return cast("App", app)


class Front:
    """The app's place in the server: one lifespan, and a protocol for each connection."""

    def __init__(self, app: App, service: Home) -> None:
        self.app = app
        self.turns: set[Turn] = set()
        self.loop = asyncio.get_running_loop()
        self._service = service
        self._config = uvicorn.Config(
            app,
            http="httptools",  # never asked; its default looks for what is installed
            ws="websockets-sansio",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            access_log=False,
            log_config=None,
        )
        self._config.load()
        self._lifespan = self._config.lifespan_class(self._config)
        self.state = self._lifespan.state
        self.state["gateway"] = Gateway(service)
        self._websockets = ServerState()

    @property
    def busy(self) -> int:
        """Requests and WebSockets in the app's hands."""
        return len(self.turns) + len(self._websockets.tasks)

    async def startup(self) -> None:
        """Have the app start.

        Raises:
            RuntimeError: it says that it cannot; the log has its reason.
        """
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise RuntimeError("listen.app: its own start-up failed")

    def protocol(self) -> asyncio.Protocol:
        """For a new connection."""
        return AppConnection(self._service, self)

    def websocket(self) -> asyncio.Protocol:
        """For a connection whose request asks for a WebSocket."""
        self._config.ws_max_size = self._service.listen.max_message_bytes  # as of now: a reload may have changed it
        make = cast("Callable[..., asyncio.Protocol]", self._config.ws_protocol_class)
        return make(config=self._config, server_state=self._websockets, app_state=self.state)

    def drain(self) -> None:
        """Close WebSockets with 1012, one after the other: their clients come back at once, to whoever is left.

        The runtime asks for no more requests on the other connections.
        """
        connections = list(self._websockets.connections)
        spread_s = DRAIN_SHARE * self._service.listen.drain_timeout_s
        for at, connection in enumerate(connections):
            self.loop.call_later(spread_s * at / len(connections), self._close, connection)

    def _close(self, connection: object) -> None:
        """Close a WebSocket, unless it has come to its own end by now."""
        if connection in self._websockets.connections:
            cast("Any", connection).shutdown()

    async def aclose(self) -> None:
        """Abort what is left, and have the app shut down."""
        for turn in list(self.turns):
            turn.cancel()
        for task in list(self._websockets.tasks):
            task.cancel()
        await self._lifespan.shutdown()
