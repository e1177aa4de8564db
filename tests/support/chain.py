"""The whole product as its user runs it: demo backends, the commands of `sidebeat`, a second terminal.

with sidebeat("up", "-c", write_config(folder, demos), cwd=folder) as program:
    system = await started(program)
    response = await fetch(system.port)
    pool = (await status_of(private_store())).pools[POOL]
"""

import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from ends import bound_tcp
from processes import Program
from raw_client import Address, fetch
from sidecar.contract.rundir import store_socket
from sidecar.contract.whereabouts import socket_url
from sidecar.status import Status, UnreadableError, read_status
from waiting import eventually, is_port_open

SIDEBEAT = str(Path(sys.executable).with_name("sidebeat"))
HOST = "web-1"
POOL = f"api@{HOST}"

# A port of its own that stays the same over restarts: the test holds it, the backend shares it (SO_REUSEPORT).
SERVE = """
import socket, sys
sys.path.append(sys.argv[1])
import app
bound = socket.socket()
bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
bound.bind(("127.0.0.1", int(sys.argv[2])))
app.serve(bound.detach())
"""
APP = Path(__file__).resolve().parents[2] / "compose" / "demo"


class Demo:
    """A real FastAPI backend in a process of its own, on a port that it keeps over its deaths."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._reserved: socket.socket = bound_tcp(0)
        self._program: Program | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._reserved.close()

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._reserved.getsockname()[1])

    @property
    def url(self) -> str:
        """The address, as `backends` of a pool takes it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; nothing happens when it runs."""
        if self._program is None:
            env = {"DEMO_NAME": self.name, "DEMO_BASE_MS": "0"}
            self._program = Program([sys.executable, "-P", "-c", SERVE, APP, str(self.port)], env=env)

    @property
    def accepts(self) -> bool:
        """Whether it takes connections."""
        return is_port_open(self.port)

    def kill(self) -> None:
        """kill -9; nothing happens when it does not run."""
        program, self._program = self._program, None
        if program is not None:
            with program:
                program.kill()


class Member(Protocol):
    """A backend that a pool can name."""

    @property
    def url(self) -> str:
        """Where it is."""


def write_config(folder: Path, members: Mapping[str, Member], **sections: Mapping[str, Any]) -> Path:
    """A file with the pool `api` on these backends by their names, and every port chosen by the system.

    Sections (`store`, `listen`) add to that.
    """
    listen = {"bind": "127.0.0.1:0", "admin": "127.0.0.1:0", "console": "127.0.0.1:0"}
    settings = {
        "store": {"host": HOST, **sections.get("store", {})},
        "listen": {**listen, **sections.get("listen", {})},
    }
    backends = ", ".join(f'{{ url = "{member.url}", id = "{name}" }}' for name, member in members.items())
    lines = ["[pools.api]", f"backends = [{backends}]", "[pools.api.health_check]", 'path = "/healthz"']
    lines += ["timeout_s = 5.0"]  # a machine that is busy with other tests is no reason for a verdict
    for name, section in settings.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())]
    file = folder / "sidebeat.toml"
    file.write_text("\n".join([*lines, ""]))
    return file


def sidebeat(*arguments: str | Path, cwd: Path, env: Mapping[str, str | None] | None = None) -> Program:
    """A command of ours as a user's shell runs it."""
    return Program([SIDEBEAT, *arguments], cwd=cwd, env=env)


class System:
    """A running `sidebeat up`, or a running `sidebeat worker`: where it listens, and what it counts."""

    def __init__(self, program: Program, public: str, admin: str) -> None:
        self.program = program
        self.port = int(public.rpartition(":")[2])
        self.admin: Address = (
            Path(admin.removeprefix("unix:")) if admin.startswith("unix:") else int(admin.rpartition(":")[2])
        )

    async def metric(self, name: str) -> float:
        """A metric, summed over its labels."""
        body = (await fetch(self.admin, "/metrics")).body.decode()
        values = [float(line.rsplit(" ", 1)[1]) for line in body.splitlines() if line.startswith(name + "{")]
        assert values, body
        return sum(values)


async def started(program: Program) -> System:
    """An `up` that is ready: every backend was probed, every worker has booted."""
    await _says(program, r"^ready ")
    return ready(program)


def ready(program: Program) -> System:
    """An `up` that has said so."""
    public, admin = program.said(r"^proxy +http://(\S+)"), program.said(r"^admin +(?:http://)?(\S+)")
    assert public, program.output
    assert admin, program.output
    return System(program, public[1], admin[1])


async def worker_started(program: Program, *, workers: int = 2) -> System:
    """A `worker` whose processes have booted."""
    met = await _says(program, r"started pid=\d+ bind=http://(\S+) admin=(?:http://)?(\S+)")
    await eventually(lambda: program.output.count("worker-booted") >= workers)
    return System(program, met[1], met[2])


async def _says(program: Program, pattern: str) -> re.Match[str]:
    def match_or_end() -> re.Match[str] | bool:
        ended = program.status is not None
        return program.said(pattern) or ended

    met = await eventually(match_or_end, within=30, what=lambda: f"{pattern!r} in:\n{program.output}")
    assert isinstance(met, re.Match), f"it ended with {program.status}:\n{program.output}"
    return met


async def second_terminal(*arguments: str, cwd: Path, env: Mapping[str, str | None] | None = None) -> str:
    """What a command prints that is called beside the running system, and that succeeds."""
    with sidebeat(*arguments, cwd=cwd, env=env) as program:
        await eventually(lambda: program.status is not None, what=f"the end of {arguments}")
        assert (program.status, program.stderr) == (0, ""), program.output
        return program.stdout


async def status_of(store: str) -> Status:
    """What is known of all pools by this store; an AssertionError, which is waited for, while it does not answer."""
    try:
        return await read_status(store, "default")
    except UnreadableError as error:
        raise AssertionError(str(error)) from error


def private_store() -> str:
    """The address of the store that an `up` without a URL starts for itself."""
    return socket_url(store_socket("default", os.environ))
