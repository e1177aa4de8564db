"""The gunicorn master: our Application, which reads nothing but our config, and our Arbiter.

Where it differs from gunicorn's own: sockets come ready from ``listeners``, and unix ones are unlinked last, not before
the workers are told · SIGINT drains, as SIGTERM does · a worker that cannot start ends the master with one line · a
worker that dies young is not replaced at once.
"""

import logging
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from typing_extensions import override

from sidecar.contract.events import Event, line
from worker.server.crew import Crew
from worker.server.listeners import Role
from worker.server.process import ENDING, SidebeatWorker

logger = logging.getLogger(__name__)

LIVENESS_S = 30
"""A worker whose loop has not turned for so long is killed; gunicorn's default. It is not a request timeout."""
YOUNG_S = 1.0
BACKOFF_S = 1.0
"""Something that dies within a second of its start gets a second before the next try."""

_STATUS = {0: 0, Arbiter.APP_LOAD_ERROR: 2}
"""Of the master, by what ended it: wrong config is 2, anything else that is not a stop is 1."""


def settings(crew: Crew) -> dict[str, object]:
    """What gunicorn has to be told, but for the sockets."""
    listen = crew.config.listen
    return {
        "workers": listen.workers,
        "worker_class": SidebeatWorker,
        "timeout": LIVENESS_S,
        "graceful_timeout": math.ceil(listen.graceful_timeout_s),
        "preload_app": False,
        "accesslog": None,
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm" if _is_writable("/dev/shm") else None,  # noqa: S108 (made and unlinked at once)
        "proc_name": "sidebeat",
        "pre_fork": crew.pre_fork,
        "child_exit": crew.child_exit,
    }


def _is_writable(folder: str) -> bool:
    return Path(folder).is_dir() and os.access(folder, os.W_OK)


class Log(Logger):  # type: ignore[misc] # it ships no types
    """gunicorn's warnings and errors in the process's own log; what it says when all is well is ours to say."""

    @override
    def setup(self, cfg: object) -> None:
        self.cfg = cfg
        self.loglevel = logging.WARNING
        self.error_log.setLevel(self.loglevel)
        self.error_log.propagate = True


class Application(BaseApplication):  # type: ignore[misc] # it ships no types
    """Configured by a crew alone: no conf file, no GUNICORN_CMD_ARGS, no current directory in front of ``sys.path``."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        super().__init__(prog="sidebeat worker")

    @override
    def load_config(self) -> None:
        for name, value in (settings(self.crew) | {"logger_class": Log}).items():
            self.cfg.set(name, value)

    @override
    def run(self) -> NoReturn:
        """Be the master; ends by SystemExit."""
        Master(self).run()
        sys.exit(0)


class Master(Arbiter):  # type: ignore[misc] # it ships no types
    """Forks, watches and ends the workers; see the head of this file."""

    def __init__(self, app: Application) -> None:
        super().__init__(app)
        self.crew = app.crew
        self.LISTENERS = [listener.socket for listener in app.crew.listeners]
        self._born: dict[int, float] = {}
        self._spawn_after = 0.0

    @override
    def start(self) -> None:
        super().start()
        where = {role: [each.address.url for each in self.crew.listeners if each.role is role] for role in Role}
        bind, admin = (",".join(where[role]) for role in (Role.PUBLIC, Role.ADMIN))
        logger.info(line(Event.STARTED, pid=self.pid, bind=bind, admin=admin, workers=self.num_workers))

    @override
    def spawn_worker(self) -> int:
        """Fork one; the child ends in here, without Python's tidying up: that copies every page we share (0.3 s)."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            pid: int = super().spawn_worker()
        except SystemExit as end:
            logging.shutdown()
            os._exit(end.code if isinstance(end.code, int) else 1)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        self._born[pid] = time.monotonic()
        return pid

    @override
    def manage_workers(self) -> None:
        """Bring the workers to their number, but not while one has just died young."""
        if time.monotonic() >= self._spawn_after:
            super().manage_workers()

    @override
    def reap_workers(self) -> None:
        """Bury dead workers: take back their slots, say how they ended.

        Raises:
            HaltServer: one could not boot, and we are not stopping anyway.
        """
        halt: HaltServer | None = None
        while (ended := _next_dead()) is not None:
            pid, status = ended
            if (worker := self.WORKERS.pop(pid, None)) is None:
                continue  # an orphan of somebody's that came to us as process 1
            worker.tmp.close()
            self.cfg.child_exit(self, worker)
            lived_s = time.monotonic() - self._born.pop(pid)
            if status in (self.WORKER_BOOT_ERROR, self.APP_LOAD_ERROR):
                halt = halt or HaltServer("a worker could not start", status)
            elif status not in (0, -signal.SIGTERM):
                how = signal.Signals(-status).name if status < 0 else status
                logger.warning(line(Event.WORKER_GONE, slot=worker.slot, pid=pid, status=how, lived_s=lived_s))
            if lived_s < YOUNG_S:
                self._spawn_after = time.monotonic() + BACKOFF_S
        if halt and self.LISTENERS:
            raise halt

    @override
    def stop(self, graceful: bool = True) -> None:
        """Close our copies of the sockets, see the workers to their end, and only then unlink the unix ones."""
        for bound in self.LISTENERS:
            bound.close()
        self.LISTENERS = []
        super().stop(graceful)
        for listener in self.crew.listeners:
            listener.unlink()

    @override
    def halt(self, reason: str | None = None, exit_status: int = 0) -> NoReturn:
        self.stop()
        logger.info(line(Event.STOPPED, pid=os.getpid()))
        sys.exit(_STATUS.get(exit_status, 1))

    def handle_int(self) -> NoReturn:
        """Ctrl-C drains; a second one does not (``Arbiter.stop`` listens for it)."""
        raise StopIteration

    def handle_hup(self) -> None:
        """Nothing changes: gunicorn's reload would block us while old workers drain."""
        logger.warning(line(Event.CONFIG, reload="is not possible in this version; restart to apply changes"))

    def handle_usr2(self) -> None:
        """Nothing changes: a second master would have a board of its own."""
        logger.warning(line(Event.CONFIG, upgrade="in place (SIGUSR2) is not possible; start a new one"))


def _next_dead() -> tuple[int, int] | None:
    """A child that has ended and how, -N for signal N; None when there is none just now."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None
