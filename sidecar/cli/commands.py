"""The commands, as typer sees them, and how each run of one ends."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from sidecar.cli import completion, doctor, explain, files, look, operate, programs, top
from sidecar.cli.help import EPILOG, Grouped
from sidecar.cli.reload import reload
from sidecar.cli.restart import restart
from sidecar.cli.title import hide_passwords
from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError, complain

COMMANDS: Mapping[str, Sequence[Callable[..., None]]] = {
    "Run": (programs.up, programs.monitor, programs.worker),
    "Look": (look.status, top.top, look.events, explain.explain, doctor.doctor, look.keys),
    "Operate": (operate.drain, operate.maint, operate.ready, operate.weight, reload, restart),
    "Config": (files.check, files.schema, completion.completion),
}
"""Under the headings of `sidebeat --help`."""
NEGATIVE_NUMBERS = {"ignore_unknown_options": True}
"""-1 is no option, but no weight either."""

app = typer.Typer(
    name="sidebeat", cls=Grouped, epilog=EPILOG, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False, no_args_is_help=False,
)  # fmt: skip
for _heading, _commands in COMMANDS.items():
    for _command in _commands:
        _settings = NEGATIVE_NUMBERS if _command is operate.weight else None
        app.command(rich_help_panel=_heading, context_settings=_settings)(_command)


def main() -> None:
    """Run `sidebeat` with the arguments of this process, and end it."""
    hide_passwords()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit status. What keeps it from being done is said on stderr, a line each."""
    completion.heed_the_shell(os.environ)
    try:
        status = app(list(arguments), prog_name="sidebeat", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _end(WRONG_USE, f"{_one_line(error.format_message())} (see `{_command_of(error)} --help`)")
    except TroubleError as error:
        return _end(error.status, *error.lines)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at the end
        return FAILED
    return status if isinstance(status, int) else 0


@app.callback(invoke_without_command=False)
def _sidebeat(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda given: _show_version(given=given),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """A reverse-proxy sidecar whose workers all route on one shared, explainable view of backend health."""


def _show_version(*, given: bool) -> None:
    if given:
        from importlib.metadata import version

        typer.echo(f"sidebeat {version('sidebeat')}")
        raise typer.Exit


def _end(status: int, *lines: str) -> int:
    for text in lines:
        complain(text)
    return status


def _command_of(error: typer.TyperException) -> str:
    """The command whose words were wrong, as far as one was found."""
    context = getattr(error, "ctx", None)
    return "sidebeat" if context is None else str(context.command_path)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("Value error, ", "").rstrip(".")  # pydantic's word before one of ours
