"""A console that is served: in a thread of its own, from ``start`` to ``stop``.

The monitor's loop does nothing for it. What they share is the interpreter, which goes from one thread to the other
after 5 ms at most, and the setting, which is replaced whole.
"""

import asyncio
import logging
import os
import socket
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread

import uvicorn

from sidecar.console.app import create_app
from sidecar.console.connection import Connection
from sidecar.console.listen import address_of, listen_on
from sidecar.console.look import Look
from sidecar.console.setting import Exposition, Live, Setting
from sidecar.console.stream import Stream
from sidecar.contract.config import Socket
from sidecar.contract.events import Event, line

KEEP_ALIVE_S = 30
GOODBYE_S = 1
"""What answers under way get at the end; a monitor that stops has three seconds."""

log = logging.getLogger(__name__)


class Console:
    """One console. To be started and stopped once."""

    def __init__(self, setting: Setting, metrics: Exposition | None = None) -> None:
        """``metrics`` None: it has no ``/metrics``."""
        self._live = Live(setting)
        self._metrics = metrics
        self._bound: socket.socket | None = None
        self._loop: Future[asyncio.AbstractEventLoop | None] = Future()
        self._asked = asyncio.Event()
        self._thread = Thread(target=self._run, name="console", daemon=True)

    def start(self) -> Socket:
        """Listen, and serve from now on; where that is.

        Raises:
            OSError: the address is in use, or cannot be listened on.
        """
        self._bound = listen_on(self._live.setting.address)
        self._thread.start()
        return address_of(self._bound)

    @property
    def is_alive(self) -> bool:
        """Whether it goes on serving; why not is in the log."""
        return self._thread.is_alive()

    def change(self, setting: Setting) -> None:
        """Go on under another setting; where it listens stays as it is."""
        self._live.setting = setting

    async def stop(self) -> None:
        """Serve no more; who listens is told at once, and what is under way has a second to end."""
        if self._bound is None:
            return
        if path := self._live.setting.address.path:
            with suppress(FileNotFoundError):
                os.unlink(path)  # while it is ours: who comes next may have another there
        if loop := await asyncio.wrap_future(self._loop):
            with suppress(RuntimeError):  # it is over already
                loop.call_soon_threadsafe(self._asked.set)
        await asyncio.to_thread(self._thread.join, 2 * GOODBYE_S)
        self._bound.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:  # the root of this thread: the monitor goes on, and makes another
            log.exception(line(Event.STOPPED, task="console"))
        finally:
            if not self._loop.done():
                self._loop.set_result(None)

    async def _serve(self) -> None:
        assert self._bound is not None  # noqa: S101 - start came first
        look = Look(self._live)
        stream = Stream(self._live, look)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(self._live, stream, look, self._metrics), http=Connection, ws="none", lifespan="off",
                access_log=False, log_config=None, log_level=logging.ERROR, server_header=False,
                proxy_headers=False,  # uvicorn believes 127.0.0.1: who guesses would have a new address each time
                timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=GOODBYE_S,
            )
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(stream.run())
            serving = tasks.create_task(server.serve([self._bound]))
            self._loop.set_result(asyncio.get_running_loop())
            await self._asked.wait()
            telling.cancel()
            server.should_exit = True
            await serving
