"""`sidebeat drain`, `maint`, `ready` and `weight`, as typer sees them."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.ask import ask, place_of
from sidecar.cli.options import File, Json, Namespace, Redis, Target, speaker
from sidecar.cli.trouble import WRONG_USE, TroubleError, complain
from sidecar.contract.model import MAX_WEIGHT, Admin

WATCH_S = 3.0
"""Two heartbeats and a little: by then a monitor and workers that live have said so."""
PATIENCE_S = 30.0
"""With --wait: as long as workers give their own drain, and a little more."""

Where = tuple[Path | None, str | None, str | None]
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
    as_json: Json = False,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Give a backend no new work; what it has begun goes on."""
    _order(target, Admin.DRAIN, (file, redis, namespace), waits=wait, timeout_s=timeout, as_json=as_json)


def maint(
    *,
    target: Target,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Give a backend no new work, and do not probe it."""
    _order(target, Admin.MAINT, (file, redis, namespace), waits=wait, timeout_s=timeout, as_json=as_json)


def ready(
    *,
    target: Target,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Take a drain or maintenance back."""
    _order(target, Admin.READY, (file, redis, namespace), waits=wait, timeout_s=timeout, as_json=as_json)


def weight(
    *,
    target: Target,
    value: Annotated[str, typer.Argument(metavar="N|default", help=f"From 0, no new work, to {MAX_WEIGHT}.")],
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Give a backend another weight than the configured one."""
    _order(target, _weight(value), (file, redis, namespace), waits=wait, timeout_s=timeout, as_json=as_json)


def _order(
    target: str, wish: Admin | float | None, where: Where, *, waits: bool, timeout_s: float | None, as_json: bool
) -> None:
    from sidecar.cli.order import Order, carry_out

    if timeout_s is not None and not 0 <= timeout_s < math.inf:
        raise TroubleError(WRONG_USE, f"--timeout: {timeout_s:g} is no number of seconds")
    watch_s = timeout_s if timeout_s is not None else PATIENCE_S if waits else WATCH_S
    order = Order(target=target, wish=wish, waits=waits, timeout_s=watch_s)
    outcome = ask(carry_out(place_of(*where), order, say=speaker(as_json=as_json), warn=_warn))
    if as_json:
        typer.echo(json.dumps(outcome.as_json(), indent=2))
    raise typer.Exit(outcome.status)


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
    complain(f"warning: {text}")
