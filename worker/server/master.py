"""The gunicorn master: our Application, which reads nothing but our config, and our Arbiter.

Where it differs from gunicorn's own: sockets come ready from ``listeners``, and unix ones are unlinked last, not before
the workers are told · SIGINT drains, as SIGTERM does · it never sleeps, so that a worker that ends is reaped at once
whatever else goes on · SIGHUP has the file checked, and applied in place · SIGUSR2 replaces all workers, each new one
first, and no drain is waited for · a worker that cannot start ends the master with one line, unless others serve · a
worker that dies young is not replaced at once.
"""

import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
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
from worker.server.reload import Reload
from worker.server.restart import Restart
from worker.server.rolling import BOOT_S, Act, Standing, Step, next_step

logger = logging.getLogger(__name__)

LIVENESS_S = 30
"""A worker whose loop has not turned for so long is killed; gunicorn's default. It is not a request timeout."""
YOUNG_S = 1.0
BACKOFF_S = 1.0
"""Something that dies within a second of its start gets a second before the next try."""
LOOK_S = 0.05
"""How often to look, during a rolling restart, whether a new worker has booted; nobody tells."""
HURRY_S = 0.8
"""What workers get that are to end at once."""
BURIAL_S = 0.3
"""What the kernel gets for those that were killed."""

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
        self._told_to_leave: set[int] = set()
        self._restart = Restart(app.crew.presence)
        self._reload = Reload(app.crew)

    @override
    def start(self) -> None:
        super().start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)  # who made our sockets has held some back
        if self.crew.presence is not None:
            try:
                self.crew.presence.show()
            except OSError as error:
                logger.warning(line(Event.CONFIG, unannounced=str(error)))
        where = {role: [each.address.url for each in self.crew.listeners if each.role is role] for role in Role}
        bind, admin = (",".join(where[role]) for role in (Role.PUBLIC, Role.ADMIN))
        logger.info(line(Event.STARTED, pid=self.pid, bind=bind, admin=admin, workers=self.num_workers))

    @override
    def spawn_worker(self) -> int:
        """Fork one; the child ends in here, without Python's tidying up: that copies every page we share (0.3 s).

        0 where there is no memory, process or file left for one: those that live go on, and it is tried again.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            pid: int = super().spawn_worker()
        except SystemExit as end:
            logging.shutdown()
            os._exit(end.code if isinstance(end.code, int) else 1)
        except OSError as error:
            self._could_not_fork(error)
            return 0
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        self._born[pid] = time.monotonic()
        return pid

    def _could_not_fork(self, error: OSError) -> None:
        logger.error(line(Event.WORKER_GONE, reason=f"it could not be forked: {error.strerror}"))
        self._spawn_after = time.monotonic() + BACKOFF_S
        theirs = {worker.slot for worker in self.WORKERS.values()}
        for state in self.crew.board.states():
            if state.slot not in theirs:  # claimed before the fork
                self.crew.board.release(state.slot)

    @override
    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Those that came, once there is one or the time is over; gunicorn's own loop asks for a second."""
        is_looking = (self._restart.rolling is not None or self._reload.is_under_way) and bool(self.LISTENERS)
        found: list[int] = super().wait_for_signals(min(timeout, LOOK_S) if is_looking else timeout)
        return found

    @override
    def manage_workers(self) -> None:
        """Bring the workers to their number, and a restart or reload forward; a signal that comes meanwhile goes first.

        None is forked while one has just died young.
        """
        self._reload.look()
        while self.SIG_QUEUE.empty():
            step = next_step(self._standings(), self.num_workers, self._restart.rolling, time.monotonic())
            is_fork = step.act in (Act.SPAWN, Act.SPAWN_NEWCOMER)
            if step.act is Act.NOTHING or (is_fork and time.monotonic() < self._spawn_after):
                return
            self._take(step)

    def _standings(self) -> Iterator[Standing]:
        states = {state.slot: state for state in self.crew.board.states()}
        for pid, worker in self.WORKERS.items():
            state = states.get(worker.slot)
            yield Standing(
                pid=pid,
                age=worker.age,
                is_booted=state is None or state.booted,  # past the last slot nobody can see it
                is_leaving=pid in self._told_to_leave or (state is not None and state.draining),
            )

    def _take(self, step: Step) -> None:
        match step.act:
            case Act.SPAWN:
                self.spawn_worker()
            case Act.SPAWN_NEWCOMER:
                self._spawn_newcomer()
            case Act.RETIRE:
                self._retire(step.pid)
            case Act.GIVE_UP:
                self._dismiss(step.pid, f"a new worker had not booted after {BOOT_S:g} s")
            case Act.FINISH:
                self._restart.end()
            case Act.NOTHING:
                pass

    def _spawn_newcomer(self) -> None:
        pid = self.spawn_worker()
        if not pid:
            self._restart.end("no worker could be forked")
            return
        self._restart.awaits(pid)
        if self.WORKERS[pid].slot is None:  # nobody could see it boot
            self._dismiss(pid, "the board has no slot for one more worker until some that drain are gone")

    def _dismiss(self, pid: int, reason: str) -> None:
        """End a new worker that has not served yet, and with it the restart."""
        self._told_to_leave.add(pid)
        self.kill_worker(pid, signal.SIGKILL)
        self._restart.end(reason)

    def _retire(self, pid: int) -> None:
        """Have one drain: it is one too many."""
        self._told_to_leave.add(pid)
        self._restart.retired(self.WORKERS[pid].age)
        self.kill_worker(pid, signal.SIGTERM)

    @override
    def reap_workers(self) -> None:
        """Bury dead workers: take back their slots, say how they ended.

        Raises:
            HaltServer: one could not boot, nobody else serves, and we are not stopping anyway.
        """
        failed = 0
        while (ended := _next_dead()) is not None:
            pid, status = ended
            worker = self.WORKERS.pop(pid, None)
            if worker is not None:
                failed = self._bury(pid, status, worker) or failed
            else:  # or an orphan of somebody's that came to us as process 1
                self._reload.ended(pid, status)
        if failed and self.LISTENERS:
            if not any(each.is_booted and not each.is_leaving for each in self._standings()):
                raise HaltServer("a worker could not start", failed)
            logger.warning(line(Event.WORKER_GONE, status=failed, reason="it could not start; others serve on"))

    def _bury(self, pid: int, status: int, worker: SidebeatWorker) -> int:
        """See one off; its status if that says that it could not boot, else 0."""
        worker.tmp.close()
        self.cfg.child_exit(self, worker)
        lived_s = time.monotonic() - self._born.pop(pid)
        is_boot_failure = status in (self.WORKER_BOOT_ERROR, self.APP_LOAD_ERROR)
        how = signal.Signals(-status).name if status < 0 else status
        if not is_boot_failure and status not in (0, -signal.SIGTERM) and pid not in self._told_to_leave:
            logger.warning(line(Event.WORKER_GONE, slot=worker.slot, pid=pid, status=how, lived_s=lived_s))
        self._told_to_leave.discard(pid)
        if is_boot_failure or lived_s < YOUNG_S:
            self._spawn_after = time.monotonic() + BACKOFF_S
        if self._restart.is_awaited(pid) and self.LISTENERS:
            self._restart.end(self.crew.hear_complaints() or f"a new worker ended with {how} after {lived_s:.1f} s")
        return status if is_boot_failure else 0

    @override
    def stop(self, graceful: bool = True) -> None:
        """Close our copies of the sockets, see the workers to their end, and only then unlink the unix ones.

        It is over soon after the drain: who has not ended then is killed. SIGINT and SIGQUIT hurry.
        """
        for bound in self.LISTENERS:
            bound.close()
        self.LISTENERS = []
        self._reload.cancel()
        self.kill_workers(signal.SIGTERM if graceful else signal.SIGQUIT)
        self._see_off(self.crew.handover.config.listen.graceful_timeout_s if graceful else HURRY_S)
        self.kill_workers(signal.SIGKILL)
        self._see_off(BURIAL_S)
        for listener in self.crew.listeners:
            listener.unlink()
        if self.crew.presence is not None:
            self.crew.presence.withdraw()

    def _see_off(self, limit_s: float) -> None:
        """Reap workers until none is left, for at most so long."""
        deadline = time.monotonic() + limit_s
        while self.WORKERS and (left_s := deadline - time.monotonic()) > 0:
            told = self.wait_for_signals(left_s)
            if signal.SIGINT in told or signal.SIGQUIT in told:
                self.kill_workers(signal.SIGQUIT)
                deadline = min(deadline, time.monotonic() + HURRY_S)
            self.reap_workers()

    @override
    def halt(self, reason: str | None = None, exit_status: int = 0) -> NoReturn:
        self.stop()
        logger.info(line(Event.STOPPED, pid=os.getpid()))
        sys.exit(_STATUS.get(exit_status, 1))

    def handle_int(self) -> NoReturn:
        """Ctrl-C drains; a second one does not (``stop`` listens for it)."""
        raise StopIteration

    def handle_hup(self) -> None:
        """Have the file checked, and applied in place; gunicorn's reload would block us while old workers drain."""
        self._reload.begin()

    def handle_usr2(self) -> None:
        """Replace all workers there are, one after the other; also those that an earlier restart has brought so far."""
        self.crew.hear_complaints()  # of this restart, the first is to be heard
        self._restart.begin(self.worker_age, sum(not each.is_leaving for each in self._standings()))


def _next_dead() -> tuple[int, int] | None:
    """A child that has ended and how, -N for signal N; None when there is none just now."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None
