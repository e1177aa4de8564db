"""``python -P -m worker -c FILE``: the gunicorn master. One line on stderr and a status say why it would not start.

Config first, then the sockets, and only then the imports that take most of a second: what is wrong is said at once.
"""

import argparse
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from typing_extensions import override

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
FOR_LATER = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What the master will have handlers for, and what would end us before; there is nothing to do anew yet."""
INSTANCE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class _Parser(argparse.ArgumentParser):
    @override
    def error(self, message: str) -> NoReturn:
        """Say it in one line, without the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def intruder() -> Path | None:
    """The file that Python takes for our ``sidecar``, if it is somebody else's: a name that projects have too."""
    found = importlib.util.find_spec("sidecar")
    ours = Path(__file__).resolve().parents[1] / "sidecar" / "__init__.py"
    if found is None or found.origin is None or Path(found.origin).resolve() == ours:
        return None
    return Path(found.origin)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the master until it is told to stop; the exit status is 0, 1 (could not) or 2 (wrong use or config)."""
    options = _options(arguments)
    if stranger := intruder():
        _say(f"{stranger} is in the way of sidebeat's own package `sidecar`; run it without that on the Python path")
        return 1
    from sidecar.contract.collector import uncollected

    with uncollected():
        from sidecar.contract.config import ConfigError
        from sidecar.contract.log import log_to_stderr
        from worker.server.listeners import BindError

    for number in ENDING:
        signal.signal(number, _end)
    for number in FOR_LATER:
        signal.signal(number, signal.SIG_IGN)
    log_to_stderr(quiet=options.quiet)
    try:
        _serve(options.config, options.instance)
    except ConfigError as error:
        _say(str(error))
        return 2
    except BindError as error:
        _say(str(error))
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="sidebeat worker", description="The workers that forward traffic, and their gunicorn master.")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="the config; variables SIDEBEAT_… go over it")
    parser.add_argument("-q", "--quiet", action="store_true", help="log nothing but errors")
    parser.add_argument("--instance", type=_instance, help="name of this master in keys and reports; default: made up")
    return parser.parse_args(arguments)


def _instance(text: str) -> str:
    if not INSTANCE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of letters, digits, dots, dashes and underscores")
    return text


def _serve(path: Path | None, instance: str | None) -> None:
    from sidecar.contract.collector import uncollected
    from sidecar.contract.config import load
    from sidecar.contract.log import write_log_as
    from sidecar.contract.masters import Presence
    from sidecar.contract.whereabouts import store_url
    from worker.secret import with_secrets
    from worker.server.listeners import admin_of, bind_all

    environ = dict(os.environ)
    config = load(path, environ)
    write_log_as(config.log.format)
    store_url(config, environ)
    with ExitStack() as undo:
        # From here on there are files to take away, and an exception may come where Python ignores it, in a weak
        # reference's callback: what would end us waits until the master has handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        undo.callback(signal.pthread_sigmask, signal.SIG_UNBLOCK, ENDING)
        config = with_secrets(config, environ)
        listeners = tuple(bind_all(config.listen))
        for listener in listeners:
            undo.callback(listener.unlink)
        with uncollected():
            from worker.board import board_for
            from worker.server.crew import Crew, new_instance
            from worker.server.master import Application

        name = instance or new_instance()
        crew = Crew(
            config=config,
            board=board_for(config),
            listeners=listeners,
            instance=name,
            environ=environ,
            file=path.absolute() if path else None,
            presence=Presence(config.store.namespace, environ, instance=name, admin=admin_of(listeners)),
        )
        Application(crew).run()


def _end(number: int, frame: object) -> NoReturn:  # noqa: ARG001
    sys.exit(0)


def _say(text: str) -> None:
    sys.stderr.write(f"sidebeat worker: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
