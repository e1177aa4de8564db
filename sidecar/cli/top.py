"""`sidebeat top`: the system, live."""

import sys
from typing import Annotated

import typer

from sidecar.cli.ask import ask, place_of
from sidecar.cli.options import File, Json, Namespace, Redis
from sidecar.cli.trouble import complain

LEAST_S = 0.1
"""What is published changes each second; a store has other things to do."""


def top(
    *,
    as_json: Json = False,
    count: Annotated[int | None, typer.Option("-n", metavar="N", min=1, help="How many frames; no end.")] = None,
    interval: Annotated[
        float, typer.Option(metavar="S", min=LEAST_S, max=3600, help="Seconds from one to the next.")
    ] = 1,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Watch who is slow, who is out, and why: live, until q."""
    from sidecar.cli.until_told import run_until_told
    from sidecar.top import Reader, print_frames, watch

    place = place_of(file, redis, namespace)
    reader = Reader(place.url, place.namespace, place.pools)
    if as_json or not sys.stdout.isatty():
        work = print_frames(reader, interval_s=interval, count=count, as_json=as_json, warn=complain)
    elif count == 1:
        work = print_frames(reader, interval_s=interval, count=1, as_json=False, warn=complain)
    else:
        work = watch(reader, interval_s=interval, count=count)
    ask(run_until_told(work))
