"""The options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.names import complete_backend, complete_target

File = Annotated[Path | None, typer.Option("-c", "--config", metavar="FILE", help="The config file (TOML).")]
Redis = Annotated[str | None, typer.Option(metavar="URL", help="The store: redis://, rediss:// or unix://.")]
Namespace = Annotated[str | None, typer.Option(metavar="NS", help="Which system in the store.")]
Json = Annotated[bool, typer.Option("--json", help="For programs; fields are added, never renamed.")]
Target = Annotated[str, typer.Argument(metavar="POOL/BACKEND", help="Which backend.", autocompletion=complete_backend)]
AnyTarget = Annotated[
    str | None,
    typer.Argument(metavar="POOL[/BACKEND]", help="Of what; all without.", autocompletion=complete_target),
]


def speaker(*, as_json: bool) -> Callable[[str], None]:
    """Where progress is told to people: nowhere, where a program reads what it comes to in the end."""
    return (lambda _: None) if as_json else typer.echo
