"""`sidebeat reload`: the config read again by what runs on this machine, and applied in place or not at all."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from typing_extensions import override

from sidecar.cli.options import File, Namespace, Redis
from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError
from sidecar.contract.masters import MASTER, MONITOR, Master, find_masters

PATIENCE_S = 20.0
"""How long anybody may take: their own deadlines for the check and for the workers are ten and five seconds."""
LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A program that can reload, as it was before it was asked."""

    kind: str
    master: Master

    @override
    def __str__(self) -> str:
        """What people call it."""
        return f"{'monitor' if self.kind == MONITOR else 'worker'} (pid {self.master.pid})"


def reload(*, file: File = None, redis: Redis = None, namespace: Namespace = None) -> None:
    """Apply the changed config to what runs here, and close nothing; a config with an error changes nothing."""
    where = _namespace(file, redis, namespace)
    running = [*_running(where, MONITOR), *_running(where, MASTER)]  # a new backend is probed before it is used
    if not running:
        raise TroubleError(FAILED, f"neither a monitor nor workers of the namespace {where!r} run here")
    began = time.monotonic()
    for one in running:
        _ask(one)
    refusals = [refusal for one in running for refusal in _outcome(where, one, began)]
    if refusals:
        raise TroubleError(WRONG_USE, *refusals)


def _namespace(file: Path | None, redis: str | None, namespace: str | None) -> str:
    """Whose programs are meant; a file that is named is checked first.

    Raises:
        TroubleError: with all that is wrong with it.
    """
    from sidecar.cli.settle import all_problems, namespace_of, with_flags

    flags = {"--redis": redis, "--namespace": namespace}
    if file is not None:
        _, problems = all_problems(file, with_flags(os.environ, flags))
        if problems:
            raise TroubleError(WRONG_USE, *problems)
    return namespace_of(file, os.environ, flags)


def _running(namespace: str, kind: str) -> Iterator[Running]:
    for master in find_masters(namespace, os.environ, kind):
        yield Running(kind=kind, master=master)


def _ask(one: Running) -> None:
    try:
        os.kill(one.master.pid, signal.SIGHUP)
    except OSError as error:
        raise TroubleError(FAILED, f"{one}: {os.strerror(error.errno or 0).lower()}") from error


def _outcome(namespace: str, one: Running, began: float) -> list[str]:
    """Say that one has applied it; else why it has not, a line each.

    Raises:
        TroubleError: it says neither, or has ended.
    """
    while time.monotonic() < began + PATIENCE_S:
        now = next((each.master for each in _running(namespace, one.kind) if each.master.pid == one.master.pid), None)
        if now is None:
            raise TroubleError(FAILED, f"{one} has ended meanwhile")
        if now.reloads > one.master.reloads:
            if now.refusal is None:
                typer.echo(f"{one}: applied after {time.monotonic() - began:.2f} s")
            return [f"{one}: {problem}" for problem in (now.refusal or "").splitlines()]
        time.sleep(LOOK_S)
    raise TroubleError(FAILED, f"{one} has not said what became of it after {PATIENCE_S:g} s")
