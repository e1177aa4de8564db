"""What `up` says to the person who started it."""

import asyncio
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote, urlsplit

from sidecar.contract.config import Config, Socket
from sidecar.contract.keys import PoolKeys
from sidecar.contract.whereabouts import without_password
from sidecar.status import PoolStatus, Status, UnreadableError, printable, read_status

POLL_S = 0.1
SAY_EACH_S = 1.0
"""How often it is said that something has come nearer, where there is more to wait for."""
NAMED = 3
"""Backends that are not healthy, by name in the last line; the others are counted."""
COLOURS = {"ready": "1;32", "WARNING": "1;33"}
"""SGR parameters (ECMA-48) of a line's first word; bold for the others."""
CONSOLE_POLLS = 30
"""How often it is looked for the console, which opens soon after the first probes."""
Say = Callable[[str], None]


def aloud(text: str) -> None:
    """One line on stdout, at once; a reader that went away does not end what it was reading about."""
    try:
        print(painted(text) if has_colour(sys.stdout, os.environ) else text, flush=True)  # noqa: T201 - for the user
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def silent(_text: str) -> None:
    """What `up --quiet` says: nothing; errors go elsewhere."""


def has_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to colour: on a terminal that can, unless NO_COLOR (no-color.org) is set to anything."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def painted(text: str) -> str:
    """The line with its first word in colour."""
    word, gap, rest = text.partition(" ")
    return f"\x1b[{COLOURS.get(word, '1')}m{word}\x1b[0m{gap}{rest}"


def greeting() -> str:
    """The first line."""
    return f"sidebeat {version('sidebeat')}"


def opening(config: Config, store_url: str, *, found_by_itself: bool, token_file: Path) -> Iterator[str]:
    """Where everything is, in lines.

    Args:
        found_by_itself: whether a second terminal finds the store through the run directory.
        token_file: what one logs in with at the console, where the config does not say it.
    """
    for address in config.listen.public_sockets:
        yield f"proxy    {address.url}"
    yield f"admin    {config.listen.admin_socket.url}"
    if config.console.enabled:
        token = "console.token of the config" if config.console.token else f"what is in {token_file}"
        yield f"console  {config.listen.console_socket.url}; to change something there, log in with {token}"
    for name, pool in config.pools.items():
        key = PoolKeys(config.store.namespace, config.key_name(name)).backend(pool.members[0].id)
        yield f"keys     {redis_cli(store_url)} HGETALL {in_double_quotes(key)}"
    yield f"keys     {_our_command()} keys{_place(config, store_url, found_by_itself=found_by_itself)}"


def redis_cli(url: str) -> str:
    """The command that opens this store; a password stays out of it."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"redis-cli -s {shlex.quote(unquote(parts.path))}"
    if parts.password is None:
        return f"redis-cli -u {shlex.quote(url)}"
    return f"REDISCLI_AUTH=... redis-cli -u {shlex.quote(url.replace(f':{parts.password}@', '@').replace('//@', '//'))}"


def in_double_quotes(key: str) -> str:
    """A key as a shell takes it."""
    return f'"{key}"' if re.fullmatch(r"[\w{}:@./, -]+", key) else shlex.quote(key)


async def watch(config: Config, store_url: str, master: int, say: Say) -> None:
    """Say what is being waited for, how far each part has come, and in one line how it stands then, and where."""
    wanted = sum(len(pool.members) for pool in config.pools.values())
    workers = config.listen.workers
    say(f"waiting  for the first probes of {_count(wanted, 'backend')}, and for {_count(workers, 'worker')}")
    probes = Progress("probes", "backend", "probed", wanted, say)
    await _until(config, store_url, lambda status: probes.reached(_probed(config, status)))
    boots = Progress("workers", "worker", "booted", workers, say)
    status = await _until(config, store_url, lambda status: boots.reached(_booted(config, status, master)))
    if config.console.enabled:
        await _answers(config.listen.console_socket)
    say(f"ready    {_health(config, status, wanted)}; {whereabouts(config)}; Ctrl-C drains and ends")


async def _answers(console: Socket) -> None:
    """Wait for the console, but not for long: who else has its address is told by the monitor."""
    for _ in range(CONSOLE_POLLS):
        if await _is_open(console):
            return
        await asyncio.sleep(POLL_S)


async def _is_open(address: Socket) -> bool:
    try:
        if address.path:
            _, writer = await asyncio.open_unix_connection(address.path)
        else:
            _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    writer.close()
    return True


class Progress:
    """How much of something there is, said when it changes: all of it at once, less of it once a second."""

    def __init__(
        self, label: str, what: str, done: str, wanted: int, say: Say, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label, self._done, self._say = label, done, say
        self._of = _count(wanted, what)
        self._wanted = wanted
        self._clock = clock
        self._told = 0
        self._told_at = clock()

    def reached(self, number: int) -> bool:
        """Whether all of it is there, with the number that is there now."""
        is_over, now = number >= self._wanted, self._clock()
        if is_over or (number != self._told and now - self._told_at >= SAY_EACH_S):
            self._say(f"{self._label:<8} {min(number, self._wanted)} of {self._of} {self._done}")
            self._told, self._told_at = number, now
        return is_over


def whereabouts(config: Config) -> str:
    """Where traffic goes in, and where to look at it."""
    listen, command = config.listen, _our_command()
    traffic = ", ".join(address.url for address in listen.public_sockets)
    look = f"`{command} top{_in_namespace(config)}` watches it, `doctor` checks it"
    console = f", console {listen.console_socket.url}" if config.console.enabled else ""
    return f"traffic {traffic}, admin {listen.admin_socket.url}{console}; {look}"


def _health(config: Config, status: Status, wanted: int) -> str:
    """How many are healthy, and the first of those that are not, with the reason."""
    ill = [
        f"{name}/{backend} {found.state} ({printable(found.reason)})"
        for name, pool in zip(config.pools, _own(config, status), strict=True)
        for backend, found in pool.backends.items()
        if found.state != "healthy"
    ]
    more = f" and {len(ill) - NAMED} more" if len(ill) > NAMED else ""
    but = f", but {', '.join(ill[:NAMED])}{more}" if ill else ""
    return f"{wanted - len(ill)} of {_count(wanted, 'backend')} healthy{but}"


async def _until(config: Config, store_url: str, reached: Callable[[Status], bool]) -> Status:
    """The first status that will do."""
    names = [config.key_name(name) for name in config.pools]
    while True:
        try:
            status = await read_status(store_url, config.store.namespace, names)
        except UnreadableError:  # the store is being started again; its keeper tells
            pass
        else:
            if reached(status):
                return status
        await asyncio.sleep(POLL_S)


def _own(config: Config, status: Status) -> list[PoolStatus]:
    return [status.pools[config.key_name(name)] for name in config.pools]


def _probed(config: Config, status: Status) -> int:
    """How many backends a monitor that lives has published."""
    return sum(
        backend.id in pool.backends
        for configured, pool in zip(config.pools.values(), _own(config, status), strict=True)
        for backend in configured.members
        if not pool.is_silent
    )


def _booted(config: Config, status: Status, master: int) -> int:
    """How many workers of this master report on every pool."""
    return min(sum(_is_of(worker.pid, master) for worker in pool.workers) for pool in _own(config, status))


def _is_of(pid: int, master: int) -> bool:
    try:
        return os.getpgid(pid) == master
    except (ProcessLookupError, OverflowError):
        return False


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _our_command() -> str:
    """How this `sidebeat` is called from the user's shell."""
    beside = Path(sys.executable).with_name("sidebeat")
    found = shutil.which("sidebeat")
    return "sidebeat" if found or not beside.exists() else shlex.quote(str(beside))


def _place(config: Config, store_url: str, *, found_by_itself: bool) -> str:
    namespace = _in_namespace(config)
    return namespace if found_by_itself else f" --redis {shlex.quote(without_password(store_url))}{namespace}"


def _in_namespace(config: Config) -> str:
    return "" if config.store.namespace == "default" else f" --namespace {config.store.namespace}"
