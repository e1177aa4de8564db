"""`sidebeat reload`: the config read again by what runs on this machine, and applied in place or not at all."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer
from typing_extensions import override

from sidecar.cli.options import File, Json, Namespace, Redis
from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError
from sidecar.contract.masters import MASTER, MONITOR, Master, find_masters, program_of

PATIENCE_S = 30.0
"""How long anybody may take: their own deadlines for the check and for the workers are twenty and five seconds."""
LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A program that can reload, as it was before it was asked."""

    kind: str
    master: Master

    @override
    def __str__(self) -> str:
        """What people call it."""
        return f"{self.program} (pid {self.master.pid})"

    @property
    def program(self) -> str:
        """``monitor`` or ``worker``."""
        return program_of(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a program's latest reload; no ``problems``: it was applied. ``took_s`` None: nobody timed it."""

    one: Running
    problems: tuple[str, ...]
    took_s: float | None = None

    @override
    def __str__(self) -> str:
        if self.problems:
            return f"{self.one}: refused: {'; '.join(self.problems)}"
        return f"{self.one}: applied" + ("" if self.took_s is None else f" after {self.took_s:.2f} s")

    def as_json(self) -> dict[str, object]:
        """One of a list in `--json`: a stable contract, so fields are added and never renamed."""
        return {
            "program": self.one.program, "pid": self.one.master.pid, "applied": not self.problems,
            "problems": self.problems, "took_s": self.took_s,
        }  # fmt: skip


def last_reloads(namespace: str, environ: Mapping[str, str]) -> list[Outcome]:
    """How the latest reload of each monitor and worker of this machine ended; nothing of one that had none."""
    return [
        Outcome(one=one, problems=tuple((one.master.refusal or "").splitlines()))
        for kind in (MONITOR, MASTER)
        for one in _running(namespace, kind, environ)
        if one.master.reloads
    ]


def reload(*, as_json: Json = False, file: File = None, redis: Redis = None, namespace: Namespace = None) -> None:
    """Apply the changed config to what runs here; close nothing. A config with an error changes nothing."""
    where = _namespace(file, redis, namespace)
    kinds = (MONITOR, MASTER)  # a new backend is probed before it is used
    running = [one for kind in kinds for one in _running(where, kind, os.environ)]
    if not running:
        raise TroubleError(FAILED, f"neither a monitor nor workers of the namespace {where!r} run here")
    began = time.monotonic()
    for one in running:
        _ask(one)
    outcomes = []
    for one in running:
        outcomes.append(_outcome(where, one, began))
        if not as_json and not outcomes[-1].problems:
            typer.echo(str(outcomes[-1]))
    if as_json:
        typer.echo(json.dumps([outcome.as_json() for outcome in outcomes], indent=2))
    refusals = [f"{outcome.one}: {problem}" for outcome in outcomes for problem in outcome.problems]
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


def _running(namespace: str, kind: str, environ: Mapping[str, str]) -> Iterator[Running]:
    for master in find_masters(namespace, environ, kind):
        yield Running(kind=kind, master=master)


def _ask(one: Running) -> None:
    try:
        os.kill(one.master.pid, signal.SIGHUP)
    except OSError as error:
        raise TroubleError(FAILED, f"{one}: {os.strerror(error.errno or 0).lower()}") from error


def _outcome(namespace: str, one: Running, began: float) -> Outcome:
    """What became of it, once it has said so.

    Raises:
        TroubleError: it says neither, or has ended.
    """
    while time.monotonic() < began + PATIENCE_S:
        running = _running(namespace, one.kind, os.environ)
        now = next((each.master for each in running if each.master.pid == one.master.pid), None)
        if now is None:
            raise TroubleError(FAILED, f"{one} has ended meanwhile")
        if now.reloads > one.master.reloads:
            problems = tuple((now.refusal or "").splitlines())
            return Outcome(one=one, problems=problems, took_s=round(time.monotonic() - began, 3))
        time.sleep(LOOK_S)
    raise TroubleError(FAILED, f"{one} has not said what became of it after {PATIENCE_S:g} s")
