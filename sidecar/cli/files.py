"""`sidebeat check` and `schema`: the config file, without anything that runs."""

import json
import os

import typer

from sidecar.cli.options import File
from sidecar.cli.trouble import WRONG_USE, TroubleError


def check(*, file: File = None) -> None:
    """Say what is wrong with a config, or what it means."""
    from sidecar.cli.settle import all_problems
    from sidecar.cli.summary import summary

    config, problems = all_problems(file, os.environ)
    if config is None:
        raise TroubleError(WRONG_USE, *problems)
    for text in summary(config):
        typer.echo(text)


def schema() -> None:
    """Print the JSON schema of the config file."""
    from sidecar.contract.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))
