"""The commands, as typer sees them."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from sidecar.cli import operate
from sidecar.cli.options import File, Namespace, Redis
from sidecar.cli.reload import reload
from sidecar.cli.restart import restart
from sidecar.cli.title import hide_passwords
from sidecar.cli.trouble import FAILED, WRONG_USE, TroubleError

app = typer.Typer(
    name="sidebeat", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False
)


def main() -> None:
    """Run `sidebeat` with the arguments of this process, and end it."""
    hide_passwords()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit status. What keeps it from being done is said on stderr, a line each."""
    try:
        status = app(list(arguments), prog_name="sidebeat", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _end(WRONG_USE, f"{_one_line(error.format_message())} (see `sidebeat --help`)")
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


@app.command()
def up(
    *,
    urls: Annotated[list[str] | None, typer.Argument(metavar="URL", help="Backends of the pool `default`.")] = None,
    file: File = None,
    bind: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where traffic comes in.")] = None,
    admin: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="/livez, /readyz, /metrics.")] = None,
    console: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The monitor's page.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="How many worker processes.")] = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Run store, monitor and workers until Ctrl-C."""
    import asyncio

    from sidecar.cli.settle import backends_flag, read_config, with_flags
    from sidecar.cli.shadow import refuse_shadow
    from sidecar.contract.log import log_to_stderr
    from sidecar.up import run as run_up

    refuse_shadow()
    given = {
        "--bind": bind, "--admin": admin, "--console": console, "--workers": workers, "--redis": redis,
        "--namespace": namespace, "URL": backends_flag(urls or ()),
    }  # fmt: skip
    environ = with_flags(os.environ, given)
    config = read_config(file, environ, [flag for flag, value in given.items() if value is not None])
    log_to_stderr()
    raise typer.Exit(asyncio.run(run_up(config, environ, file)))


@app.command()
def monitor(*, file: File = None) -> None:
    """Probe the backends and publish the view."""
    import asyncio

    from sidecar.cli.settle import read_config, require_store
    from sidecar.cli.until_told import run_until_told
    from sidecar.contract.log import log_to_stderr

    config = read_config(file, os.environ)
    require_store(config, os.environ, WRONG_USE)
    log_to_stderr()
    from sidecar.monitor import run as run_monitor  # last: HTTP clients take longer to import than a bad file to tell

    async def watch() -> None:
        asked = asyncio.Event()
        work = run_monitor(config, os.environ, file=file and file.absolute(), asked=asked)
        await run_until_told(work, on_hangup=asked.set)

    asyncio.run(watch())


@app.command()
def worker(
    *,
    file: File = None,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="This master's name in keys.")] = None,
) -> None:
    """Become the gunicorn master that forwards traffic."""
    from sidecar.cli.shadow import refuse_shadow

    refuse_shadow()
    given = {"-c": file, "--instance": instance}
    flags = [text for flag, value in given.items() if value is not None for text in (flag, str(value))]
    command = [sys.executable, "-P", "-m", "worker", *flags]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - our own program, no shell


@app.command()
def check(*, file: File = None) -> None:
    """Say what is wrong with a config, or what it means."""
    from sidecar.cli.settle import all_problems
    from sidecar.cli.summary import summary

    config, problems = all_problems(file, os.environ)
    if config is None:
        raise TroubleError(WRONG_USE, *problems)
    for text in summary(config):
        typer.echo(text)


@app.command()
def schema() -> None:
    """Print the JSON schema of the config file."""
    from sidecar.contract.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


@app.command()
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; fields are added, never renamed.")] = False,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Show every backend and every worker."""
    import asyncio

    from sidecar.cli.settle import look_at
    from sidecar.status import UnreadableError, read_status, show_status

    place = look_at(file, os.environ, {"--redis": redis, "--namespace": namespace})
    try:
        found = asyncio.run(read_status(place.url, place.namespace, place.pools))
    except UnreadableError as error:
        raise TroubleError(FAILED, f"store.url: {error}") from error
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        show_status(found)


@app.command()
def keys(
    *,
    pattern: Annotated[str | None, typer.Argument(help="Part of a key, or a glob like 'backend:*'.")] = None,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Show the keys in the store, and what each is."""
    import asyncio

    from sidecar.cli.settle import look_at
    from sidecar.status import UnreadableError, read_keys, show_keys

    place = look_at(file, os.environ, {"--redis": redis, "--namespace": namespace})
    try:
        entries = asyncio.run(read_keys(place.url, place.namespace, pattern))
    except UnreadableError as error:
        raise TroubleError(FAILED, f"store.url: {error}") from error
    typer.echo(show_keys(entries) or f"no key in the namespace {place.namespace!r}")


@app.command()
def events(
    *,
    target: Annotated[str | None, typer.Argument(metavar="POOL[/BACKEND]", help="Of what; all without.")] = None,
    keep_on: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line each; fields are added, never renamed.")] = False,
    count: Annotated[int, typer.Option("-n", metavar="N", min=0, help="How many of the last.")] = 20,
    file: File = None,
    redis: Redis = None,
    namespace: Namespace = None,
) -> None:
    """Show what changed, from what, to what, why, on which evidence, and by whom."""
    import asyncio

    from sidecar.cli.look_back import follow, look_back
    from sidecar.cli.settle import look_at
    from sidecar.status import Happening, UnreadableError

    def show(happenings: Sequence[Happening]) -> None:
        for each in happenings:
            typer.echo(json.dumps(each.as_json()) if as_json else each.as_text())

    async def look() -> None:
        stood = await look_back(place, target, count=count, show=show)
        if keep_on:
            await follow(place, stood, target, show=show, warn=_complain)

    place = look_at(file, os.environ, {"--redis": redis, "--namespace": namespace})
    try:
        asyncio.run(look())
    except UnreadableError as error:
        raise TroubleError(FAILED, f"store.url: {error}") from error


for _command in (operate.drain, operate.maint, operate.ready, reload, restart):
    app.command()(_command)
app.command(context_settings={"ignore_unknown_options": True})(operate.weight)  # -1 is no option, but no weight either


def _show_version(*, given: bool) -> None:
    if given:
        from importlib.metadata import version

        typer.echo(f"sidebeat {version('sidebeat')}")
        raise typer.Exit


def _end(status: int, *lines: str) -> int:
    for text in lines:
        _complain(text)
    return status


def _complain(text: str) -> None:
    typer.echo(f"sidebeat: {text}", err=True)


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
