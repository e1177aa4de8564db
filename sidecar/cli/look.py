"""`sidebeat status`, `keys` and `events`: what there is to see in the store."""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.ask import ask, place_of
from sidecar.cli.options import AnyTarget, File, Json, Namespace, Redis
from sidecar.cli.trouble import complain

if TYPE_CHECKING:
    from sidecar.status import Happening


def status(*, as_json: Json = False, file: File = None, redis: Redis = None, namespace: Namespace = None) -> None:
    """Show every backend and every worker."""
    from sidecar.cli.reload import last_reloads
    from sidecar.status import read_status
    from sidecar.status.table import show_status

    place = place_of(file, redis, namespace)
    found = ask(read_status(place.url, place.namespace, place.pools))
    reloads = [] if redis else last_reloads(place.namespace, os.environ)  # another machine's are not here
    if as_json:
        typer.echo(json.dumps({**found.as_json(), "reloads": [each.as_json() for each in reloads]}, indent=2))
        return
    show_status(found)
    for each in reloads:
        typer.echo(f"last reload of the {each}")


def keys(
    *,
    pattern: Annotated[str | None, typer.Argument(help="Part of a key, or a glob like 'backend:*'.")] = None,
    as_json: Json = False,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Show the keys in the store, and what each is."""
    from sidecar.status import read_keys, show_keys

    place = place_of(file, redis, namespace)
    entries = ask(read_keys(place.url, place.namespace, pattern))
    if as_json:
        typer.echo(json.dumps([entry.as_json() for entry in entries], indent=2))
    else:
        such = "" if pattern is None else f" like {pattern!r}"
        typer.echo(show_keys(entries) or f"no key{such} in the namespace {place.namespace!r}")


def events(
    *,
    target: AnyTarget = None,
    keep_on: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line each; fields are added, never renamed.")] = False,
    count: Annotated[int, typer.Option("-n", metavar="N", min=0, help="How many of the last.")] = 20,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Show what changed, why, on which evidence, and by whom."""
    from sidecar.cli.look_back import follow, look_back

    def show(happenings: "Sequence[Happening]") -> None:
        for each in happenings:
            typer.echo(json.dumps(each.as_json()) if as_json else each.as_text())

    async def look() -> None:
        stood = await look_back(place, target, count=count, show=show)
        if keep_on:
            await follow(place, stood, target, show=show, warn=complain)

    place = place_of(file, redis, namespace)
    ask(look())
