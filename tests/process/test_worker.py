"""The real master and its real workers: boot, forwarding, drains, deaths, and every way not to start."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backend import Backend, Connection, Request
from processes import Program, children
from raw_client import Address, RawClient, Response, fetch
from sidecar.contract.rundir import run_directory
from waiting import eventually, eventually_sync, free_port, is_port_open

COMMAND = [sys.executable, "-P", "-m", "worker"]
NO_STORE = "redis://127.0.0.1:1/0"  # nobody listens on port 1, and workers do not need anybody to

# Stands for a worker that goes wrong in a way of the test's choosing.
SABOTAGE = """
import sys
import worker.runtime
{change}
from worker.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


# An app of a user's own, which answers one path and forwards the rest.
FRONT = """
from contextlib import asynccontextmanager
from types import SimpleNamespace
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

@asynccontextmanager
async def lifespan(app):
    yield {"mood": "started"}
    print("shop is closed", flush=True)

app = FastAPI(lifespan=lifespan)

@app.get("/own")
async def own(request: Request):
    return PlainTextResponse(f"own, {request.state.mood}")

class Forward:
    async def __call__(self, scope, receive, send):
        await scope["state"]["gateway"](scope, receive, send)

app.mount("/", Forward())
front = SimpleNamespace(app=app)
"""


def config_text(*, backends: list[str], listen: Mapping[str, Any] | None = None) -> str:
    settings = {
        "bind": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "console": "127.0.0.1:0",
        "drain_timeout_s": 30.0,
        **(listen or {}),
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    pool = f"[pools.api]\nbackends = {json.dumps(backends)}\n"
    return "\n".join([f'[store]\nurl = "{NO_STORE}"', "[listen]", *lines, pool])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the config lies; the program runs elsewhere, in an empty folder."""
    (tmp_path / "cwd").mkdir()
    return tmp_path


class Worker:
    """A running master and what one has to know of it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.public: Address = 0
        self.admin: Address = 0

    @property
    def workers(self) -> list[int]:
        return children(self.program.pid)

    async def started(self, *, workers: int = 2) -> None:
        found: Any = await eventually(lambda: self.program.said(r"started pid=\d+ bind=([^\s,]+)\S* admin=(\S+)"))
        self.public, self.admin = _address(found[1]), _address(found[2])
        await eventually(lambda: self.program.output.count("worker-booted") >= workers)

    async def get(self, target: str = "/") -> Response:
        return await fetch(self.public, target)

    async def ready(self) -> tuple[int, Any]:
        response = await fetch(self.admin, "/readyz")
        return response.status, json.loads(response.body)

    async def metric(self, name: str) -> float:
        body = (await fetch(self.admin, "/metrics")).body.decode()
        values = [float(line.rsplit(" ", 1)[1]) for line in body.splitlines() if line.startswith(name + "{")]
        assert values, body
        return sum(values)


def _address(text: str) -> Address:
    return Path(text.removeprefix("unix:")) if text.startswith("unix:") else int(text.rpartition(":")[2])


@contextmanager
def program(
    folder: Path, text: str, *, command: list[str] | None = None, env: Mapping[str, str | None] | None = None
) -> Iterator[Program]:
    config = folder / "sidebeat.toml"
    config.write_text(text)
    with Program([*(command or COMMAND), "-c", config], cwd=folder / "cwd", env=env) as running:
        yield running


@asynccontextmanager
async def worker(
    folder: Path,
    backend: Backend,
    *,
    command: list[str] | None = None,
    env: Mapping[str, str | None] | None = None,
    **listen: object,
) -> AsyncIterator[Worker]:
    text = config_text(backends=[f"http://127.0.0.1:{backend.port}"], listen=listen)
    with program(folder, text, command=command, env=env) as running:
        it = Worker(running)
        await it.started(workers=int(str(listen.get("workers", 2))))
        yield it


def sabotaged(change: str) -> list[str]:
    return [sys.executable, "-P", "-c", SABOTAGE.format(change=change)]


async def stalls(request: Request, connection: Connection) -> None:
    await connection.stall()


def refusal(folder: Path, text: str, **options: Any) -> tuple[int, str]:
    """How a master that does not start ends: status, and the one line it says."""
    with program(folder, text, **options) as running:
        status = running.wait()
        running.assert_nothing_left()
        lines = running.output.splitlines()
        assert len(lines) == 1, running.output
        return status, lines[0]


async def test_public_traffic_is_forwarded_and_ours_is_on_the_admin_socket(folder: Path, backend: Backend):
    """Whatever lies in the current directory, and whatever another gunicorn is to be told."""
    for name in ("worker.py", "sidecar.py", "gunicorn.conf.py", "uvicorn.py"):
        (folder / "cwd" / name).write_text("raise SystemExit('somebody else')")
    async with worker(folder, backend, env={"GUNICORN_CMD_ARGS": "--workers 7", "WEB_CONCURRENCY": "5"}) as it:
        for target in ("/", "/livez", "/readyz", "/metrics"):
            response = await it.get(target)
            assert (response.status, response.body) == (200, b"ok")
            assert not response.all("server")
        assert [request.target for request in backend.requests] == [b"/", b"/livez", b"/readyz", b"/metrics"]
        assert (await fetch(it.admin, "/livez")).status == 200
        status, body = await it.ready()
        assert (status, body["serving"]) == (200, 2)
        assert await it.metric("sidebeat_requests_total") == 4
        assert len(it.workers) == 2


async def test_a_killed_worker_is_replaced_and_leaves_a_clean_slot(folder: Path, backend: Backend):
    async with worker(folder, backend) as it:
        await it.get()
        backend.handler = stalls
        async with RawClient(it.public) as client:
            await client.request()
            await eventually(lambda: len(backend.requests) == 2)
            assert await it.metric("sidebeat_inflight") == 1
            before = it.workers
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            assert await client.read_some() == b""
        await eventually(lambda: len(it.workers) == 2 and not set(it.workers) & set(before))
        await eventually(lambda: it.program.output.count("worker-booted") == 4)
        assert it.program.output.count("worker-gone") == 2
        assert await it.metric("sidebeat_inflight") == 0
        assert await it.metric("sidebeat_requests_total") >= 1
        status, body = await it.ready()
        assert (status, body["serving"], body["starting"]) == (200, 2, 0)


async def test_a_stop_lets_the_request_under_way_finish(folder: Path, backend: Backend):
    finish = asyncio.Event()

    async def waits(request: Request, connection: Connection) -> None:
        await finish.wait()
        await connection.respond(body=b"done")

    backend.handler = waits
    async with worker(folder, backend, workers=1) as it, RawClient(it.public) as client:
        await client.request()
        await eventually(lambda: backend.requests)
        it.program.terminate()
        await eventually(lambda: isinstance(it.public, int) and not is_port_open(it.public))
        status, body = await it.ready()
        assert (status, body["failing"]) == (503, ["all workers are draining"])
        finish.set()
        response = await client.read_response()
        assert response.body == b"done"
        assert response.header("connection") == b"close"
        await eventually(lambda: it.program.status == 0)
        it.program.assert_nothing_left()


async def test_what_does_not_finish_in_time_is_cut(folder: Path, backend: Backend):
    async def never_ends(request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        await connection.chunk(b"and so on")
        await connection.stall()

    backend.handler = never_ends
    async with worker(folder, backend, workers=1, drain_timeout_s=0.5) as it, RawClient(it.public) as client:
        await client.request()
        await client.read_until(b"and so on\r\n")
        began = time.monotonic()
        it.program.terminate()
        assert await client.read_until_close() == b""  # no last chunk: the truncation is visible
        assert time.monotonic() - began >= 0.5  # a slow machine can only be later
        await eventually(lambda: it.program.status == 0)


async def test_ctrl_c_waits_for_what_is_under_way_and_a_second_one_does_not(folder: Path, backend: Backend):
    finish = asyncio.Event()

    async def waits(request: Request, connection: Connection) -> None:
        await finish.wait()
        if request.target == b"/endless":
            await connection.stall()
        await connection.respond(body=b"done")

    backend.handler = waits
    async with (
        worker(folder, backend, workers=1, drain_timeout_s=60.0) as it,
        RawClient(it.public) as client,
        RawClient(it.public) as other,
    ):
        await client.request()
        await other.request(target="/endless")
        await eventually(lambda: len(backend.requests) == 2)
        it.program.interrupt()
        await eventually(lambda: it.program.said("draining"))
        finish.set()
        assert (await client.read_response()).body == b"done"
        assert it.program.status is None
        it.program.interrupt()
        await eventually(lambda: it.program.status == 0)


async def test_during_the_delay_it_serves_though_it_is_not_ready(folder: Path, backend: Backend):
    async with worker(folder, backend, workers=1, drain_delay_s=60.0) as it:
        it.program.terminate()
        await eventually(lambda: it.program.said("draining"))
        assert (await it.ready())[0] == 503
        assert (await it.get()).status == 200
        it.program.interrupt()
        await eventually(lambda: it.program.status == 0)


async def test_signals_that_mean_something_to_gunicorn_or_are_for_the_master_change_nothing(
    folder: Path, backend: Backend
):
    async with worker(folder, backend) as it:
        before = it.workers
        for number in (signal.SIGUSR1, signal.SIGWINCH):
            it.program.send(number)
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGINT):  # a terminal tells the whole group
            for pid in before:
                os.kill(pid, number)
        it.program.send(signal.SIGTTIN)  # heard after those, and by then they have done what they do
        await eventually(lambda: it.program.output.count("worker-booted") == 3)
        assert (await it.get()).status == 200
        assert set(before) < set(it.workers)
        assert not it.program.said("worker-gone")


async def test_when_the_master_is_killed_its_workers_finish_and_go(folder: Path, backend: Backend):
    finish = asyncio.Event()

    async def waits(request: Request, connection: Connection) -> None:
        await finish.wait()
        await connection.respond(body=b"done")

    backend.handler = waits
    path = folder / "admin.sock"
    port = free_port()
    async with (
        worker(folder, backend, bind=f"127.0.0.1:{port}", admin=f"unix:{path}", drain_delay_s=60.0) as it,
        RawClient(port) as client,
    ):
        await client.request()
        await eventually(lambda: backend.requests)
        it.program.kill()
        await eventually(lambda: not is_port_open(port))
        await eventually(lambda: not path.exists())
        finish.set()
        assert (await client.read_response()).body == b"done"
        it.program.assert_nothing_left()
    async with worker(folder, backend, workers=1, bind=f"127.0.0.1:{port}", admin=f"unix:{path}") as it:
        assert (await it.get()).body == b"done"


async def test_when_the_master_is_killed_nothing_outlives_the_drain(folder: Path, backend: Backend):
    backend.handler = stalls
    async with worker(folder, backend, workers=1, drain_timeout_s=0.5) as it, RawClient(it.public) as client:
        await client.request()
        await eventually(lambda: backend.requests)
        it.program.kill()
        it.program.assert_nothing_left()


async def test_all_addresses_are_served_and_a_unix_socket_is_for_its_owner_and_is_gone_in_the_end(
    folder: Path, backend: Backend
):
    paths, port = (folder / "public.sock", folder / "admin.sock"), free_port()
    bind = [f"127.0.0.1:{port}", f"unix:{paths[0]}"]
    async with worker(folder, backend, workers=1, bind=bind, admin=f"unix:{paths[1]}") as it:
        assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600, 0o600]
        assert [(await fetch(address)).body for address in (port, paths[0])] == [b"ok", b"ok"]
        assert (await it.ready())[0] == 200
        it.program.terminate()
        await eventually(lambda: it.program.status == 0)
        assert not any(path.exists() for path in paths)


def test_a_foreign_package_on_the_python_path_is_named(folder: Path):
    stranger = folder / "cwd" / "sidecar.py"
    stranger.write_text("")
    text = config_text(backends=["http://127.0.0.1:1"])
    status, said = refusal(folder, text, env={"PYTHONPATH": str(stranger.parent)})
    assert status == 1
    assert str(stranger) in said


def test_a_port_in_use_is_said_in_one_line(folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        taken = f"127.0.0.1:{theirs.getsockname()[1]}"
        status, said = refusal(folder, config_text(backends=["http://127.0.0.1:1"], listen={"bind": taken}))
    assert (status, said) == (1, f"sidebeat worker: listen.bind: {taken} is in use")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pools.api]\nbackends = 7\n", "pools.api.backends: "),
        ("[pools.api]\nbackends = ['http://127.0.0.1:1']", "store.url: not set"),
    ],
)
def test_a_config_that_cannot_be_used_is_one_line_and_status_2(folder: Path, text: str, said: str):
    status, line = refusal(folder, text)
    assert status == 2
    assert said in line


def test_wrong_use_is_one_line_and_status_2(folder: Path):
    with Program([*COMMAND, "--instance", "a:b"], cwd=folder / "cwd") as running:
        assert running.wait() == 2
        assert len(running.output.splitlines()) == 1
        assert "--instance" in running.output


def test_a_stop_before_the_first_worker_leaves_no_socket_behind(folder: Path):
    path = folder / "s"
    with program(folder, config_text(backends=["http://127.0.0.1:1"], listen={"bind": f"unix:{path}"})) as running:
        eventually_sync(path.exists)
        running.terminate()
        assert running.wait() == 0
        running.assert_nothing_left()
    assert not path.exists()


STOPPED_WHILE_IT_BINDS = """
import os, signal, socket, worker.server.listeners as listeners
class Bound(socket.socket):
    def bind(self, path):
        super().bind(path)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGQUIT):
            os.kill(os.getpid(), number)
listeners.socket.socket = Bound
"""
STOPPED_WHILE_IT_WRITES = """
import os, signal, sidecar.contract.secret as secret
def written(path, content, write=secret._written):
    fresh = write(path, content)
    os.kill(os.getpid(), signal.SIGTERM)
    return fresh
secret._written = written
"""


STOPPED_WHERE_NOTHING_CAN_BE_RAISED = """
import os, signal, worker.server.crew as crew
class Moment:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
crew.new_instance = lambda: str(Moment())
"""


@pytest.mark.parametrize(
    "change",
    [STOPPED_WHILE_IT_BINDS, STOPPED_WHILE_IT_WRITES, STOPPED_WHERE_NOTHING_CAN_BE_RAISED],
    ids=["binds", "writes", "nothing can be raised"],
)
def test_a_stop_in_the_moment_when_something_is_made_leaves_nothing_half_made_behind(folder: Path, change: str):
    """What is for a master that has handlers does not end one that has none yet."""
    path = folder / "s"
    text = config_text(backends=["http://127.0.0.1:1"], listen={"bind": f"unix:{path}"})
    with program(folder, f'{text}sticky.cookie = "home"\n', command=sabotaged(change)) as running:
        assert running.wait() == 0
        running.assert_nothing_left()
    assert not path.exists()
    assert [each.name for each in run_directory("default", os.environ).iterdir()] == ["sticky.secret"]


async def test_an_app_of_the_users_own_stands_in_front(folder: Path, backend: Backend):
    (folder / "cwd" / "shop.py").write_text(FRONT)
    finish = asyncio.Event()

    async def waits(request: Request, connection: Connection) -> None:
        await finish.wait()
        await connection.respond(body=b"done")

    async with worker(folder, backend, app="shop:front.app", workers=1) as it:
        assert (await it.get("/own")).body == b"own, started"
        forwarded = await it.get("/else?a=b")
        assert (forwarded.status, forwarded.body) == (200, b"ok")
        assert backend.requests[-1].target == b"/else?a=b"
        backend.handler = waits
        async with RawClient(it.public) as client:
            await client.request()
            await eventually(lambda: len(backend.requests) == 2)
            it.program.terminate()
            await eventually(lambda: it.program.said("draining"))
            finish.set()
            assert (await client.read_response()).body == b"done"
        await eventually(lambda: it.program.status == 0)
        assert it.program.said("shop is closed")


@pytest.mark.parametrize(
    ("code", "expected", "said"),
    [
        ("seven = 7", 2, "shop.py has no 'app'"),
        ("1 / 0", 1, "a worker could not start: ZeroDivisionError: division by zero"),
    ],
)
def test_workers_that_cannot_start_end_the_master_with_one_reason(folder: Path, code: str, expected: int, said: str):
    (folder / "cwd" / "shop.py").write_text(code)
    with program(folder, config_text(backends=["http://127.0.0.1:1"], listen={"app": "shop:app"})) as running:
        assert running.wait() == expected
        running.assert_nothing_left()
        assert running.output.count(said) == 1
        assert "Traceback" not in running.output
        assert said in running.output.splitlines()[-2]  # then: stopped


def test_a_worker_that_dies_young_is_not_replaced_at_once(folder: Path):
    change = """
async def fail(self): raise RuntimeError("broken later")
worker.runtime.Runtime.run = fail
"""
    text = config_text(backends=["http://127.0.0.1:1"], listen={"workers": 1})
    with program(folder, text, command=sabotaged(change)) as running:
        died = re.compile(r"^(\S+) .* worker-gone slot=0 .*lived_s=([\d.]+)", re.MULTILINE)
        (first, _), (second, lived_s) = eventually_sync(lambda: two(died.findall(running.output)))
        apart = datetime.fromisoformat(second) - datetime.fromisoformat(first)
        assert apart.total_seconds() - float(lived_s) > 0.9
        assert running.status is None


def two(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first two, once there are two: a condition to wait for."""
    return found[:2] if len(found) >= 2 else []
