"""`sidebeat doctor`: what is wrong, and how to mend it."""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.ask import ask, place_of
from sidecar.cli.options import File, Json, Namespace, Redis
from sidecar.cli.trouble import FAILED

if TYPE_CHECKING:
    from sidecar.doctor import Finding

IDLE_S = 4.5
"""A little longer than workers let a connection rest whose backend does not say how long it may."""
NO_CONFIG = "no config is known: what needs it was not checked; give the file with -c FILE, or run it where workers run"
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    *,
    as_json: Json = False,
    idle: Annotated[
        float, typer.Option(metavar="S", min=0, max=120, help="How long to watch each backend's idle connection.")
    ] = IDLE_S,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Say what is wrong with what runs and its config, and the fix. Exit status 1: something fails."""
    from sidecar.cli.settle import read_config
    from sidecar.doctor import Level, Patient, all_findings, gather
    from sidecar.running import running_config

    place = place_of(file, redis, namespace)
    config = read_config(file, os.environ) if file else running_config(place.namespace, os.environ)
    patient = Patient(url=place.url, namespace=place.namespace, config=config, environ=os.environ, rest_s=idle)
    findings = all_findings(ask(gather(patient)))
    if as_json:
        told = {"findings": [each.as_json() for each in findings], "has_config": config is not None}
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(findings, has_config=config is not None)
    raise typer.Exit(FAILED if any(each.level is Level.FAIL for each in findings) else 0)


def _show(findings: "Sequence[Finding]", *, has_config: bool) -> None:
    """The worst last, where one who reads in a terminal looks first."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
    order = {"ok": 0, "warn": 1, "fail": 2}
    for each in sorted(findings, key=lambda finding: order[finding.level]):
        console.print(Text.assemble((f"{each.level:<5}", COLOURS[each.level]), f" {each.check:<11} {each.seen}"))
        if each.fix:
            console.print(Text.assemble(" " * 18, ("fix: ", "bold"), each.fix))
    if not has_config:
        console.print(NO_CONFIG)
    counts = {level: sum(each.level == level for each in findings) for level in order}
    console.print(f"{counts['fail']} fail, {counts['warn']} warn, {counts['ok']} ok")
