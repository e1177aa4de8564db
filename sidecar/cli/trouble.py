"""How a command ends when it cannot do what it was asked: a line for each reason, and an exit status."""

import typer

FAILED = 1
WRONG_USE = 2


class TroubleError(Exception):
    """What keeps a command from being done; ``lines`` are for stderr."""

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__(*lines)
        self.status = status
        self.lines = lines


def complain(text: str) -> None:
    """Say it on stderr."""
    typer.echo(f"sidebeat: {text}", err=True)
