"""`sidebeat restart`: new workers in place of the old ones, one after the other, on this machine."""

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from sidecar.cli.options import File, Json, Namespace, Redis, speaker
from sidecar.cli.trouble import FAILED, TroubleError
from sidecar.contract.masters import Master, find_masters

NOTICE_S = 5.0
"""How long a master may take to begin; it looks up within a few milliseconds."""
LOOK_S = 0.05

Look = Callable[[], Master | None]


def restart(
    *,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="Which master; all of this host.")] = None,
    as_json: Json = False,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Replace all workers, each new one first. The config stays the one in force; streams are asked to end."""
    from sidecar.cli.settle import namespace_of
    from sidecar.contract.rundir import run_directory

    where = namespace_of(file, os.environ, {"--redis": redis, "--namespace": namespace})
    masters = [each for each in find_masters(where, os.environ) if instance in (None, each.instance)]
    if not masters:
        named = f" under the name {instance!r}" if instance else ""
        place = run_directory(where, os.environ)
        raise TroubleError(FAILED, f"no workers of the namespace {where!r} run here{named}; looked in {place}")
    say = speaker(as_json=as_json)
    done = [_restart(master, partial(_look, where, master.pid), say) for master in masters]
    if as_json:
        typer.echo(json.dumps(done, indent=2))


def _look(namespace: str, pid: int) -> Master | None:
    return next((each for each in find_masters(namespace, os.environ) if each.pid == pid), None)


def _restart(before: Master, look: Look, say: Callable[[str], object]) -> dict[str, object]:
    """Have one master do it, and wait until it has; what `--json` tells of it.

    Raises:
        TroubleError: not all of its workers are replaced.
    """
    name, began = f"{before.instance} (pid {before.pid})", time.monotonic()
    try:
        os.kill(before.pid, signal.SIGUSR2)
    except OSError as error:
        raise TroubleError(FAILED, f"{name}: {os.strerror(error.errno or 0).lower()}") from error
    say(f"{name}: restarting")
    after = _until_over(before, look, began)
    done = f"{after.replaced} of {after.to_replace} workers replaced"
    if after.failure is not None:
        raise TroubleError(FAILED, f"{name}: {done}, the others serve on: {after.failure}")
    took_s = time.monotonic() - began
    say(f"{name}: {done} in {took_s:.1f} s; the old ones drain")
    return {"instance": after.instance, "pid": after.pid, "replaced": after.replaced, "took_s": round(took_s, 3)}


def _until_over(before: Master, look: Look, began: float) -> Master:
    """What it says once its restart is over, by success or not."""
    while (now := look()) is not None:
        if now.restarts > before.restarts and not now.is_restarting:
            return now
        if now.restarts == before.restarts and time.monotonic() > began + NOTICE_S:
            raise TroubleError(FAILED, f"{now.instance} (pid {now.pid}) has not begun after {NOTICE_S:g} s")
        time.sleep(LOOK_S)
    raise TroubleError(FAILED, f"{before.instance} (pid {before.pid}) has ended meanwhile")
