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
        make = cast("Callable[..., asyncio.Protocol]", self._config.ws_protocol_class)
        return make(config=self._config, server_state=self._websockets, app_state=self.state)

    def drain(self) -> None:
        """Close WebSockets with 1012; the runtime asks for no more requests on the other connections."""
        for connection in list(self._websockets.connections):
            connection.shutdown()

    async def aclose(self) -> None:
        """Abort what is left, and have the app shut down."""
        for turn in list(self.turns):
            turn.cancel()
        for task in list(self._websockets.tasks):
            task.cancel()
        await self._lifespan.shutdown()
