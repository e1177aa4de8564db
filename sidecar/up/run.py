"""The life of one `up`: what it starts, what ends it, and in which order it ends the rest."""

import asyncio
import json
import logging
import signal
import sys
import time
from asyncio import Task, TaskGroup
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sidecar.child import Child, adopt_orphans, how_it_ended
from sidecar.contract.config import Config, Listen
from sidecar.contract.events import Event, line
from sidecar.contract.rundir import console_token
from sidecar.store import Claim, ClaimedError, EmbeddedStore, StoreError
from sidecar.terminal import Terminal
from sidecar.up.keeper import WRONG_USE, keep
from sidecar.up.ports import AddressError, settle
from sidecar.up.supply import DEMONSTRATION, announce, private_store, reach
from sidecar.up.tell import Say, aloud, greeting, opening, silent, watch

MONITOR_STOPS_WITHIN_S = 3.0
BEYOND_DRAIN_S = 3.0
"""What gunicorn gets after the drain's own deadline before it is killed; it is gone after two."""
HURRIED_WITHIN_S = 1.0
STOPPING = (signal.SIGINT, signal.SIGTERM)
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
"""To the workers: open the log's file again, and replace yourselves."""

log = logging.getLogger("sidebeat.up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """The programs that `up` starts, as command lines."""

    monitor: tuple[str, ...]
    worker: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an `up` ends; ``reason`` is None when it was asked to."""

    status: int
    reason: str | None = None


def our_commands(config_path: Path | None, *, quiet: bool = False) -> Commands:
    """Our own monitor and worker; -P keeps somebody else's ``worker.py`` in the current directory out."""
    flags = [*(("-c", str(config_path.absolute())) if config_path else ()), *(("--quiet",) if quiet else ())]
    return Commands(
        monitor=(sys.executable, "-P", "-m", "sidecar", "monitor", *flags),
        worker=(sys.executable, "-P", "-m", "worker", *flags),
    )


async def run(
    config: Config,
    environ: Mapping[str, str],
    config_path: Path | None,
    *,
    commands: Commands | None = None,
    quiet: bool = False,
) -> int:
    """Run everything until a signal or until something ends that is not started again.

    The reason of an end that nobody asked for is the last line on stderr.

    Args:
        environ: the environment of the children, which carries what flags said over the file.
        commands: what is started in place of our own programs.
        quiet: say nothing but errors, and have our own programs do so.

    Returns:
        The exit status: 0 after a signal, 1 when something cannot run, 2 when a part does not accept its config.
    """
    programs = commands or our_commands(config_path, quiet=quiet)
    outcome = await Up(config, environ, programs, silent if quiet else aloud).run()
    if outcome.reason:
        print(f"sidebeat up: {outcome.reason}", file=sys.stderr, flush=True)  # noqa: T201 - for the user
    return outcome.status


class Up:
    """Store, monitor and gunicorn of one `up`."""

    def __init__(self, config: Config, environ: Mapping[str, str], commands: Commands, say: Say) -> None:
        self._config = config
        self._environ = dict(environ)
        self._commands = commands
        self._say = say
        self._hurry = asyncio.Event()
        self._ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._tasks: dict[str, Task[None]] = {}
        self._ports = ExitStack()
        self._claim: Claim | None = None
        self._store: EmbeddedStore | None = None
        self._monitor: Child | None = None
        self._worker: Child | None = None

    async def run(self) -> Outcome:
        """Start, wait for the end, stop; nothing is left then."""
        adopt_orphans()
        self._listen_to_signals()
        self._say(greeting())
        async with TaskGroup() as tasks:
            starting = tasks.create_task(self._start(tasks))
            try:
                outcome = await self._ended
            finally:
                await _cancelled(starting)
                await self._stop()
        if outcome.reason is None:
            self._say("stopped  nothing of it runs any more")
        return outcome

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, self._told_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up, Terminal())
        for number in PASSED_ON:
            loop.add_signal_handler(number, self._pass_on, number)

    def _told_to_stop(self) -> None:
        if self._ended.done():
            self._hurry.set()
        else:
            self._end(Outcome(status=0))

    def _hung_up(self, terminal: Terminal) -> None:
        """Stop where the terminal is gone; else have the config read again, first by whoever probes new backends."""
        if terminal.is_gone:
            self._told_to_stop()
            return
        for child in (self._monitor, self._worker):
            if child is not None:
                child.send(signal.SIGHUP)

    def _pass_on(self, number: signal.Signals) -> None:
        """What is for the master of the workers."""
        if self._worker is not None:
            self._worker.send(number)

    def _end(self, outcome: Outcome) -> None:
        """The first reason to end is the one that counts."""
        if not self._ended.done():
            self._ended.set_result(outcome)

    async def _start(self, tasks: TaskGroup) -> None:
        try:
            written = self._config
            self._config = written.model_copy(update={"listen": settle(written.listen, self._ports)})
            url = await self._start_store(tasks)
            environ = self._environ | _told_to_children(written, self._config.listen, url)
            self._monitor = await self._start_child(Child("monitor", self._commands.monitor, environ))
            self._worker = await self._start_child(Child("worker", self._commands.worker, environ))
        except (AddressError, ClaimedError, StoreError, OSError) as error:
            self._end(Outcome(status=1, reason=str(error)))
        else:
            self._tasks["monitor"] = tasks.create_task(keep("monitor", self._monitor, self._give_up))
            self._tasks["worker"] = tasks.create_task(self._watch(self._worker))
            self._tasks["telling"] = tasks.create_task(self._tell(url, self._worker))

    async def _start_store(self, tasks: TaskGroup) -> str:
        """The URL of a store that answers."""
        settings = self._config.store
        if settings.url:
            await reach(settings.url)
            self._claim = announce(settings, settings.url, self._environ)
            return settings.url
        self._claim = Claim.take(settings.namespace, self._environ)
        self._store = private_store(self._claim, self._environ)
        began = time.monotonic()
        await self._store.start()
        self._say(f"store    {self._store.kind} is ready after {time.monotonic() - began:.2f} s")
        if not self._store.engine.is_real:
            self._say(DEMONSTRATION)
        self._tasks["store"] = tasks.create_task(keep("store", self._store, self._give_up))
        return self._store.url

    async def _start_child(self, child: Child) -> Child:
        await child.start()
        return child

    def _give_up(self, reason: str) -> None:
        self._end(Outcome(status=WRONG_USE, reason=reason))

    async def _watch(self, worker: Child) -> None:
        """The master starts its workers again itself: its own end is the end."""
        status = await worker.wait()
        reason = f"the worker (gunicorn's master, pid {worker.pid}) {how_it_ended(status)}"
        if status > 0:
            reason += "; what it said of that is above"
        self._end(Outcome(status=WRONG_USE if status == WRONG_USE else 1, reason=reason))

    async def _tell(self, url: str, worker: Child) -> None:
        try:
            token_file = console_token(self._config.store.namespace, self._environ)
            for text in opening(self._config, url, found_by_itself=self._claim is not None, token_file=token_file):
                self._say(text)
            await watch(self._config, url, worker.pid or 0, self._say)
        except Exception:  # what is only said must not end what runs
            log.exception(line(Event.STOPPED, task="telling"))

    async def _stop(self) -> None:
        """Against the direction of traffic, each part while what it relies on still runs."""
        await self._end_task("telling")
        if self._worker:
            await self._drain(self._worker)
        await self._end_task("monitor")
        if self._monitor:
            await self._monitor.stop(limit_s=MONITOR_STOPS_WITHIN_S)
        await self._end_task("store")
        if self._store:
            await self._store.stop()
        if self._claim:
            self._claim.free()
        self._ports.close()

    async def _drain(self, worker: Child) -> None:
        """Ask gunicorn to end gracefully; by force after the drain's deadline, or soon after a second signal.

        A master that was killed leaves workers behind, which are asked themselves.
        """
        listen = self._config.listen
        if worker.is_running:
            self._say(f"draining for up to {listen.drain_delay_s + listen.drain_timeout_s:g} s; Ctrl-C again hurries")
        async with TaskGroup() as tasks:
            hurrying = tasks.create_task(self._hurry_up(worker))
            await worker.stop(limit_s=listen.drain_delay_s + listen.drain_timeout_s + BEYOND_DRAIN_S)
            hurrying.cancel()

    async def _hurry_up(self, worker: Child) -> None:
        await self._hurry.wait()
        worker.send(signal.SIGQUIT)
        await asyncio.sleep(HURRIED_WITHIN_S)
        worker.send_group(signal.SIGKILL)

    async def _end_task(self, name: str) -> None:
        if task := self._tasks.pop(name, None):
            await _cancelled(task)


def _told_to_children(written: Config, settled: Listen, url: str) -> dict[str, str]:
    """What was only decided here, as the environment says it; what the file says, a reload must be able to compare."""
    bind, told = settled.bind, {}
    if url != written.store.url:
        told["SIDEBEAT_STORE__URL"] = url
    if bind != written.listen.bind:
        told["SIDEBEAT_LISTEN__BIND"] = bind if isinstance(bind, str) else json.dumps(bind)
    if settled.admin != written.listen.admin:
        told["SIDEBEAT_LISTEN__ADMIN"] = settled.admin
    if settled.console != written.listen.console:
        told["SIDEBEAT_LISTEN__CONSOLE"] = settled.console
    return told


async def _cancelled(task: Task[None]) -> None:
    """Cancel a task and wait until it is over; what it raised is its group's affair."""
    task.cancel()
    await asyncio.wait([task])
