"""The real system: `sidebeat up` with four workers on its private store, or its parts started one by one."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from redis.asyncio import Redis

from backends import Backend
from mortal import children, command_line, start
from sidecar.contract.keys import PoolKeys

WORKERS = 4
NAMES = ("alpha", "bravo", "charlie", "delta")
HOST = "chaos"
READY_WITHIN_S = 30.0
ROOT = Path(__file__).resolve().parents[2]


class ChaosError(Exception):
    """Something could not be measured; the text is for the user."""


class System:
    """Four backends, and everything of ours in front of them.

    ``sections`` of the pool (``timeouts``, ``retry``, …) as TOML tables, ``listen`` more of that section; ``names`` of
    the backends to start.
    """

    def __init__(
        self,
        *,
        names: tuple[str, ...] = NAMES,
        workers: int = WORKERS,
        listen: Mapping[str, Any] | None = None,
        **sections: Mapping[str, Any],
    ) -> None:
        self._stack = AsyncExitStack()
        self._sections = sections
        self._names = names
        self._listen = {"workers": workers, **(listen or {})}
        self.backends: dict[str, Backend] = {}
        self.folder = Path()
        self.port = self.admin_port = 0
        self.keys = PoolKeys("default", f"api@{HOST}")
        self.redis: Redis

    async def __aenter__(self) -> Self:
        """Start everything, and wait until it serves."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started, last first."""
        await self._stack.aclose()

    async def _start(self) -> None:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        for name in self._names:
            self.backends[name] = backend = Backend(name, self.folder)
            self._stack.callback(backend.close)
            await backend.start()
        self.config = self._write_config()
        self.up = self.run("up", "up", "-c", str(self.config))
        said = await self.wait_for_log("up", r"^proxy +http://\S+:(\d+)[\s\S]+?^admin +http://\S+:(\d+)[\s\S]+?^ready ")
        self.port, self.admin_port = int(said[1]), int(said[2])
        [socket] = self.folder.rglob("store.sock")
        self.redis = Redis(unix_socket_path=str(socket), decode_responses=True, socket_timeout=2.0)
        self._stack.push_async_callback(self.redis.aclose)

    def _write_config(self) -> Path:
        lines = ["[store]", f'host = "{HOST}"']
        lines += ["[listen]", 'bind = "127.0.0.1:0"', 'admin = "127.0.0.1:0"', 'console = "127.0.0.1:0"']
        lines += [f"{name} = {_toml(value)}" for name, value in self._listen.items()]
        lines += ["[pools.api]", "backends = ["]
        lines += [f'  {{url = "http://127.0.0.1:{each.port}", id = "{each.name}"}},' for each in self.backends.values()]
        lines += ["]", "[pools.api.health_check]", 'path = "/healthz"']
        for section, keys in self._sections.items():
            lines += [f"[pools.api.{section}]", *(f"{name} = {_toml(value)}" for name, value in keys.items())]
        file = self.folder / "sidebeat.toml"
        file.write_text("\n".join([*lines, ""]))
        return file

    def run(self, log: str, *arguments: str, code: str | None = None) -> subprocess.Popen[bytes]:
        """A command of ours, or Python code in its place; it ends with the system."""
        environ = {"XDG_RUNTIME_DIR": str(self.folder)}
        how = ["-c", code] if code else ["-m", "sidecar"]
        process = start([sys.executable, "-P", *how, *arguments], log=self.folder / f"{log}.log", environ=environ)
        self._stack.callback(_end, process)
        return process

    def log(self, name: str) -> str:
        """What a command has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    async def wait_for_log(self, name: str, pattern: str) -> re.Match[str]:
        """Until a command has said something.

        Raises:
            ChaosError: it does not.
        """
        try:
            found = await eventually(lambda: re.search(pattern, self.log(name), re.MULTILINE), within_s=READY_WITHIN_S)
        except TimeoutError as error:
            raise ChaosError(f"{name} did not say {pattern!r}:\n{self.log(name)[-3000:]}") from error
        return cast("re.Match[str]", found)

    def pid_of(self, part: str) -> int:
        """The process of a part of `up`: store, monitor, worker (the gunicorn master)."""
        marks = {"monitor": "sidecar monitor", "worker": "-m worker", "store": "store.sock"}
        for pid in children(self.up.pid):
            line = command_line(pid)
            if marks[part] in line or (part == "store" and "sidecar" not in line and "-m worker" not in line):
                return pid
        raise ChaosError(f"`up` has no {part}")

    def worker_pids(self) -> list[int]:
        """The workers of the master."""
        return children(self.pid_of("worker"))

    async def verdict(self, backend: str) -> str:
        """The state of a backend as Redis has it."""
        return str(await self.redis.hget(self.keys.backend(backend), "state"))

    async def until_verdict(self, backend: str, state: str, *, within_s: float = 30.0) -> float:
        """Wait for a state in Redis; when it was there (monotonic)."""
        await eventually_async(lambda: self._is(backend, state), within_s=within_s)
        return time.monotonic()

    async def _is(self, backend: str, state: str) -> bool:
        return await self.verdict(backend) == state

    async def events(self, after: str = "-") -> list[dict[str, str]]:
        """The events of the pool, oldest first; ``after`` an id of the stream."""
        low = after if after == "-" else f"({after}"
        found = cast("list[tuple[str, dict[str, str]]]", await self.redis.xrange(self.keys.events, low))
        return [fields for _, fields in found]

    async def metrics(self) -> str:
        """The page for Prometheus."""
        async with asyncio.timeout(5.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: chaos\r\nConnection: close\r\n\r\n")
            page = await reader.read()
            writer.close()
        return page.decode()

    async def metric(self, name: str, **labels: str) -> float:
        """A metric, summed over what the labels leave open; 0 where it is missing."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in (await self.metrics()).splitlines() if line.startswith(name + "{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in wanted))

    async def command(self, *arguments: str) -> tuple[int, str]:
        """A command of ours as a person calls it: exit status and what it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "sidecar", *arguments,
            env={**os.environ, "XDG_RUNTIME_DIR": str(self.folder)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()


async def eventually(condition: Callable[[], Any], *, within_s: float, every_s: float = 0.01) -> Any:  # noqa: ANN401
    """What a condition gives once it is true.

    Raises:
        TimeoutError: it does not become true.
    """
    async with asyncio.timeout(within_s):
        while not (value := condition()):
            await asyncio.sleep(every_s)
    return value


async def eventually_async(condition: Callable[[], Awaitable[bool]], *, within_s: float, every_s: float = 0.01) -> None:
    """The same for a condition that has to ask somebody."""
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(every_s)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then see to it."""
    process.terminate()
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(15.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
