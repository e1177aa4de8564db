"""What `up` says to the person who started it."""

import asyncio
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sidecar.contract.config import Config
from sidecar.contract.connect import without_password
from sidecar.contract.keys import PoolKeys
from sidecar.status import PoolStatus, Status, UnreadableError, read_status

POLL_S = 0.1
FRESH_MS = 3_000
Say = Callable[[str], None]


def aloud(text: str) -> None:
    """One line on stdout, at once; a reader that went away does not end what it was reading about."""
    try:
        print(text, flush=True)  # noqa: T201 - this is the user's terminal, not a log
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def greeting() -> str:
    """The first line."""
    return f"sidebeat {version('sidebeat')}"


def opening(config: Config, store_url: str, *, found_by_itself: bool) -> Iterator[str]:
    """Where everything is, in lines.

    Args:
        found_by_itself: whether a second terminal finds the store through the run directory.
    """
    for address in config.listen.public_sockets:
        yield f"proxy    {address.url}"
    yield f"admin    {config.listen.admin_socket.url}"
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
    """Say what is being waited for, each part as it is reached, and one line on how it stands then."""
    wanted = sum(len(pool.members) for pool in config.pools.values())
    workers = config.listen.workers
    say(f"waiting  for the first probes of {_count(wanted, 'backend')}, and for {_count(workers, 'worker')}")
    await _until(config, store_url, lambda status: all(_probed(config, status)))
    say("probes   every backend was probed")
    await _until(config, store_url, lambda status: _booted(config, status, master) >= workers)
    say(f"workers  {_count(workers, 'worker')} booted")
    status = await _until(config, store_url, lambda _: True)
    healthy = sum(backend.state == "healthy" for pool in _own(config, status) for backend in pool.backends.values())
    say(f"ready    {healthy} of {_count(wanted, 'backend')} healthy; Ctrl-C drains and ends")


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


def _probed(config: Config, status: Status) -> Iterator[bool]:
    """For each pool: whether a monitor that lives has published all its backends."""
    for configured, pool in zip(config.pools.values(), _own(config, status), strict=True):
        is_fresh = pool.age_ms is not None and pool.age_ms <= FRESH_MS
        yield is_fresh and all(backend.id in pool.backends for backend in configured.members)


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
    namespace = "" if config.store.namespace == "default" else f" --namespace {config.store.namespace}"
    return namespace if found_by_itself else f" --redis {shlex.quote(without_password(store_url))}{namespace}"
