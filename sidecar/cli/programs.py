"""`sidebeat up`, `monitor` and `worker`: what runs until it is told to stop."""

import os
import sys
from typing import Annotated

import typer

from sidecar.cli.options import File, Namespace, Redis
from sidecar.cli.trouble import WRONG_USE
from sidecar.contract.collector import uncollected

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]


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
    quiet: Quiet = False,
) -> None:
    """Run store, monitor and workers until Ctrl-C."""
    with uncollected():
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
        log_to_stderr(quiet=quiet, form=config.log.format)
    raise typer.Exit(asyncio.run(run_up(config, environ, file, quiet=quiet)))


def monitor(*, file: File = None, quiet: Quiet = False) -> None:
    """Probe the backends and publish the view."""
    with uncollected():
        import asyncio

        from sidecar.cli.settle import read_config, require_store
        from sidecar.cli.until_told import run_until_told
        from sidecar.contract.log import log_to_stderr

        config = read_config(file, os.environ)
        require_store(config, os.environ, WRONG_USE)
        log_to_stderr(quiet=quiet, form=config.log.format)
        from sidecar.monitor import run as run_monitor  # last: it takes longer to import than a bad file to tell

    async def watch() -> None:
        asked = asyncio.Event()
        work = run_monitor(config, os.environ, file=file and file.absolute(), asked=asked)
        await run_until_told(work, on_hangup=asked.set)

    asyncio.run(watch())


def worker(
    *,
    file: File = None,
    instance: Annotated[str | None, typer.Option(metavar="NAME", help="This master's name in keys.")] = None,
    quiet: Quiet = False,
) -> None:
    """Become the gunicorn master that forwards traffic."""
    from sidecar.cli.shadow import refuse_shadow

    refuse_shadow()
    given = {"-c": file, "--instance": instance}
    flags = [text for flag, value in given.items() if value is not None for text in (flag, str(value))]
    command = [sys.executable, "-P", "-m", "worker", *flags, *(["--quiet"] if quiet else [])]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - our own program, no shell
