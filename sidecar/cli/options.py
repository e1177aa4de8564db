"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path | None, typer.Option("-c", "--config", metavar="FILE", help="The config file (TOML).")]
Redis = Annotated[str | None, typer.Option(metavar="URL", help="The store: redis://, rediss:// or unix://.")]
Namespace = Annotated[str | None, typer.Option(metavar="NS", help="Which system in the store.")]
