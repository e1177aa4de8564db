"""The worker process: gunicorn's worker class, from the fork to the exit status.

What fails before it serves is a failure to boot, by gunicorn's status for that: the master stops with the reason,
where it would otherwise fork the next one for ever.
"""

import asyncio
import logging
import os
import signal
import sys
import traceback
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter
from typing_extensions import override
from uvicorn_worker import UvicornWorker

from sidecar.contract.config import ConfigError, Listen
from sidecar.contract.events import Event, line
from worker.app import create_app
from worker.explain import serve_explanations
from worker.runtime import Runtime
from worker.server.crew import Crew
from worker.server.front import Front, load_app
from worker.server.handover import heed
from worker.server.serve import Server

logger = logging.getLogger(__name__)


ENDING = frozenset({signal.SIGTERM, signal.SIGQUIT})
"""Kept from a child of the master until it has handlers of its own: the master's would swallow them."""


class SidebeatWorker(UvicornWorker):  # type: ignore[misc] # it ships no types
    """Serves the public sockets with the runtime's protocol and the admin socket with FastAPI, under any gunicorn.

    ``crew`` and ``slot`` are put here by ``Crew.pre_fork``.
    """

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",  # 3.8 µs less per request than asyncio (measured 2026-11)
        "http": "httptools",
        "ws": "none",
        "lifespan": "off",  # the runtime's life is the server's
        "interface": "asgi3",  # guessed wrongly for a bound method
        "proxy_headers": False,  # uvicorn believes 127.0.0.1; whom we believe is in the config
        "server_header": False,
        "date_header": False,
        "access_log": False,
    }

    crew: Crew
    slot: int | None

    def __init__(self, *args: object) -> None:
        """Called in the master, before the fork."""
        super().__init__(*args)
        self.server: Server | None = None
        self._loop_factory = self.config.get_loop_factory()  # its import is shared then
        told = logging.getLogger("uvicorn.error")
        told.handlers = []
        told.propagate = True
        told.setLevel(logging.WARNING)

    @override
    def init_signals(self) -> None:
        """A terminal tells the whole group; whether to end is for the master to say."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # the master's; gunicorn's default would end us
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    @override
    def load_wsgi(self) -> None:
        """Nothing: what is served comes from the config, not from gunicorn's command line."""

    @override
    def init_process(self) -> None:
        """Run to the end; every way out is an exit status that the master understands."""
        try:
            super().init_process()
        except ConfigError as error:
            self._complain(str(error))
            sys.exit(Arbiter.APP_LOAD_ERROR)
        except Exception as error:
            if self.server is not None and self.server.started:
                logger.exception(line(Event.STOPPED, pid=os.getpid(), reason="something broke"))
                sys.exit(1)
            self._complain(_in_a_line(error))
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    @override
    def run(self) -> None:
        """Own the loop."""
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._serve())

    @override
    async def _serve(self) -> None:
        crew, handover = self.crew, self.crew.handover
        listen = handover.config.listen
        _refuse_contradiction(self.cfg.graceful_timeout, crew.config.listen)
        runtime = Runtime(handover.config, crew.board, self.slot, crew.instance, crew.environ)
        runtime.writer.applied(handover.number)
        front = Front(load_app(listen.app), runtime) if listen.app else None
        self.config.app = app = create_app(runtime)
        serve_explanations(app, runtime)
        self.server = Server(self.config, runtime, is_admin=crew.is_admin, front=front)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, runtime.reopen_logs)
        try:
            async with asyncio.TaskGroup() as tasks:
                heeding = tasks.create_task(heed(handover, runtime.apply, runtime.writer))
                await self.server.serve(self.sockets)
                heeding.cancel()
        finally:
            runtime.close_logs()

    @override
    async def callback_notify(self) -> None:
        """Tell the master that the loop turns. If it was killed, end: nobody else would do it for us."""
        self.notify()
        if self.server is None or os.getppid() == self.ppid:
            return
        if not self.server.should_exit:
            logger.error(line(Event.DRAINING, reason="the master is gone"))
            self.server.stop(delay_s=0)
        for listener in self.crew.listeners:
            listener.unlink()
        if self.crew.presence is not None:
            self.crew.presence.withdraw()

    def _complain(self, reason: str) -> None:
        if self.crew.complain(reason):
            logger.error("%s", reason)


def _refuse_contradiction(graceful_timeout_s: int, listen: Listen) -> None:
    """Under a master that somebody else started, with settings of their own.

    Raises:
        ConfigError: it would kill workers that drain.
    """
    if graceful_timeout_s < listen.graceful_timeout_s:
        need = f"with its delay, workers need {listen.graceful_timeout_s:g} s to drain"
        raise ConfigError(
            [f"listen.drain_timeout_s: {need}, and gunicorn's graceful_timeout is {graceful_timeout_s} s"]
        )


def _in_a_line(error: BaseException) -> str:
    """What went wrong and where, of the first error in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"a worker could not start: {type(error).__name__}: {error}{where}"
