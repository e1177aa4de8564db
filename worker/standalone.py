"""The gateway under an ASGI server of your own choice, in one process of it and without our master.

    # edge.py; then `uvicorn edge:app`, `hypercorn edge:app` or `gunicorn -k asgi edge:app`
    from worker.standalone import gateway
    app = gateway("sidebeat.toml")

It follows the same view of health and reports like any worker. Each process counts for itself, so what processes of one
host share under our master (requests under way, evidence) is not shared. Of ``[listen]``, what concerns clients'
connections is up to the server: addresses, TLS, head and keep-alive deadlines, head sizes, drain. So is a reload: the
file is read when this function is called, so a server that replaces its processes has it read anew.
"""

import asyncio
import logging
import os
from pathlib import Path

from sidecar.contract.config import Config, load
from sidecar.contract.events import Event, line
from sidecar.contract.whereabouts import store_url
from worker.board import board_for
from worker.gateway import App, Gateway, Receive, Scope, Send
from worker.runtime import Runtime
from worker.secret import with_secrets

logger = logging.getLogger(__name__)


def gateway(path: str | Path | None = None) -> App:
    """An ASGI 3 application that forwards all HTTP and every WebSocket by this config.

    The server must run its lifespan, on asyncio or uvloop. ``path``: None takes everything from ``SIDEBEAT_``
    variables, so ``uvicorn --factory worker.standalone:gateway`` needs no file at all.

    Raises:
        ConfigError: the config cannot be used.
    """
    environ = dict(os.environ)
    config = load(Path(path) if path is not None else None, environ)
    store_url(config, environ)
    return _Standalone(with_secrets(config, environ), environ)


class _Standalone:
    """One app, and the runtime it has while the server is up."""

    def __init__(self, config: Config, environ: dict[str, str]) -> None:
        self._config = config
        self._environ = environ
        self._gateway: Gateway | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._gateway is None:
            raise RuntimeError("sidebeat: the server has not run this app's lifespan")
        else:
            await self._gateway(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Be a worker from the server's start to its end."""
        await receive()
        board = board_for(self._config)  # not in gateway(): a server may fork between the two
        runtime = Runtime(self._config, board, board.claim(), str(os.getpid()), self._environ)
        async with asyncio.TaskGroup() as tasks:
            background = tasks.create_task(runtime.run())
            self._gateway = Gateway(runtime)
            runtime.writer.mark(booted=True)
            logger.info(line(Event.WORKER_BOOTED, pid=os.getpid()))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            runtime.writer.mark(draining=True)
            await runtime.aclose()
            background.cancel()
        await send({"type": "lifespan.shutdown.complete"})
        logger.info(line(Event.STOPPED, pid=os.getpid()))
