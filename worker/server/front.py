"""The user's own ASGI app in front of the pools (``listen.app``): found, started, served, drained.

It forwards by calling ``scope["state"]["gateway"]``, in FastAPI ``request.state.gateway``, an ASGI app itself. It is
uvicorn that reads its requests: deadline and size of a request's head, which the config sets, hold in the direct lane
alone.
"""

import asyncio
import importlib
import math
import os
import sys
from collections.abc import Awaitable, Callable
from functools import reduce
from typing import Any, cast

import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sidecar.contract.config import ConfigError, Listen
from worker.gateway import Gateway, Receive, Scope, Send
from worker.server.held import HeldTransport

App = Callable[[Scope, Receive, Send], Awaitable[None]]
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


class _Protocol(HttpToolsProtocol):
    """uvicorn's own, writing a head and its body at once."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast("asyncio.Transport", HeldTransport(transport, self.loop)))


class Front:
    """The app's place in the server: one lifespan, and a protocol for each connection."""

    def __init__(self, app: App, gateway: Gateway, listen: Listen) -> None:
        self._config = uvicorn.Config(
            app,
            http="httptools",
            ws="websockets-sansio",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            access_log=False,
            log_config=None,
            timeout_keep_alive=math.ceil(listen.keepalive_s),
        )
        self._config.load()
        self._lifespan = self._config.lifespan_class(self._config)
        self._lifespan.state["gateway"] = gateway
        self._state = ServerState()

    @property
    def busy(self) -> int:
        """Requests and WebSockets in the app's hands."""
        return len(self._state.tasks)

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
        return _Protocol(self._config, self._state, self._lifespan.state)

    def drain(self) -> None:
        """Close what is idle; the rest ends with its response."""
        for connection in list(self._state.connections):
            connection.shutdown()

    async def aclose(self) -> None:
        """Abort what is left, and have the app shut down."""
        for task in list(self._state.tasks):
            task.cancel()
        await self._lifespan.shutdown()
