"""`sidebeat drain`, `maint`, `ready` and `weight`, as typer sees them."""

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.options import File, Namespace, Redis
from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError
from sidecar.contract.model import MAX_WEIGHT, Admin

WATCH_S = 3.0
"""Two heartbeats and a little: by then a monitor and workers that live have said so."""
PATIENCE_S = 30.0
"""With --wait: as long as workers give their own drain, and a little more."""

Where = tuple[Path | None, str | None, str | None]
Target = Annotated[str, typer.Argument(metavar="POOL/BACKEND", help="Which backend.")]
Wait = Annotated[bool, typer.Option("--wait", help="Fail unless every worker acts on it, and no work is left.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help=f"How long to watch: {WATCH_S:g}, or {PATIENCE_S:g}."),
]


def drain(
    *,
    target: Target,
    wait: Wait = False,
    timeout: Timeout = None,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Give a backend no new work; what it has begun goes on."""
    _order(target, Admin.DRAIN, (file, redis, namespace), waits=wait, timeout_s=timeout)


def maint(
    *,
    target: Target,
    wait: Wait = False,
    timeout: Timeout = None,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Give a backend no new work, and do not probe it."""
    _order(target, Admin.MAINT, (file, redis, namespace), waits=wait, timeout_s=timeout)


def ready(
    *,
    target: Target,
    wait: Wait = False,
    timeout: Timeout = None,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Take a drain or maintenance back."""
    _order(target, Admin.READY, (file, redis, namespace), waits=wait, timeout_s=timeout)


def weight(
    *,
    target: Target,
    value: Annotated[str, typer.Argument(metavar="N|default", help=f"From 0, no new work, to {MAX_WEIGHT}.")],
    wait: Wait = False,
    timeout: Timeout = None,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Give a backend another weight than the configured one."""
    _order(target, _weight(value), (file, redis, namespace), waits=wait, timeout_s=timeout)


def _order(target: str, wish: Admin | float | None, where: Where, *, waits: bool, timeout_s: float | None) -> None:
    import asyncio

    from sidecar.cli.order import Order, carry_out
    from sidecar.cli.settle import look_at
    from sidecar.status import UnreadableError

    if timeout_s is not None and not 0 <= timeout_s < math.inf:
        raise TroubleError(WRONG_USE, f"--timeout: {timeout_s:g} is no number of seconds")
    file, redis, namespace = where
    place = look_at(file, os.environ, {"--redis": redis, "--namespace": namespace})
    watch_s = timeout_s if timeout_s is not None else PATIENCE_S if waits else WATCH_S
    order = Order(target=target, wish=wish, waits=waits, timeout_s=watch_s)
    try:
        status = asyncio.run(carry_out(place, order, say=typer.echo, warn=_warn))
    except UnreadableError as error:
        raise TroubleError(FAILED, f"store.url: {error}") from error
    raise typer.Exit(status)


def _weight(text: str) -> float | None:
    """The weight, None for the configured one.

    Raises:
        TroubleError: it is no weight.
    """
    if text == "default":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_WEIGHT:
        raise TroubleError(WRONG_USE, f"a weight is a number from 0 to {MAX_WEIGHT}, or default, not {text!r}")
    return abs(value)  # there is a -0


def _warn(text: str) -> None:
    typer.echo(f"sidebeat: warning: {text}", err=True)
