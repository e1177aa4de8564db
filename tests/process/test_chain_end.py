"""How the whole product ends: by Ctrl-C in order, by kill -9 without leaving anything behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from backend import Backend, Connection, Request
from chain import SIDEBEAT, ready, sidebeat, started, write_config
from processes import Program, is_running
from raw_client import RawClient, fetch
from waiting import eventually, free_port, is_port_open

DRAIN_S = 1.0

# A terminal in front of a program: SIGUSR1 to it is Ctrl-C on its keyboard.
TERMINAL = """
import os, pty, signal, sys
pid, keyboard = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGUSR1, lambda *_: os.write(keyboard, b"\\x03"))
while True:
    try:
        said = os.read(keyboard, 65536)
    except OSError:  # nobody is left on the other side
        break
    os.write(1, said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def sockets_left(folder: Path) -> list[Path]:
    """Unix sockets in a test's folder and in the run directory."""
    places = (folder, Path(os.environ["XDG_RUNTIME_DIR"]))
    return [path for place in places for path in place.rglob("*") if path.is_socket()]


async def test_ctrl_c_in_a_terminal_lets_the_slow_request_finish_and_ends_everything_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NO_COLOR", "1")
    finish = asyncio.Event()

    async def slow(request: Request, connection: Connection) -> None:
        if request.target == b"/slow":
            await finish.wait()
        await connection.respond(body=b"done")

    async with Backend(slow) as backend:
        config = write_config(tmp_path, {"only": backend})
        with Program([sys.executable, "-c", TERMINAL, SIDEBEAT, "up", "-c", config], cwd=tmp_path) as terminal:
            system = await started(terminal)
            async with RawClient(system.port) as client:
                await client.request("GET", "/slow")
                await eventually(lambda: b"/slow" in [request.target for request in backend.requests])
                terminal.send(signal.SIGUSR1)
                await eventually(lambda: not is_port_open(system.port))
                assert not terminal.said("master stopped|stopped monitor")
                finish.set()
                response = await client.read_response()
                assert (response.status, response.body) == (200, b"done")
            await eventually(lambda: terminal.status is not None)
            assert terminal.status == 0
            terminal.assert_nothing_left()
            order = [r"draining for", r"master stopped pid=\d+", r"stopped monitor=", r"^stopped  nothing"]
            places = [met.start() if (met := terminal.said(pattern)) else -1 for pattern in order]
            assert places == sorted(places)
            assert -1 not in places
            left = [path.name for path in Path(os.environ["XDG_RUNTIME_DIR"]).rglob("*") if not path.is_dir()]
            assert {name.partition(".")[0] for name in left} <= {"console", "intents"}, "a token and orders are kept"


def up_itself(program: Program) -> int:
    return program.pid


def gunicorns_master(program: Program) -> int:
    """Of the processes that run our `worker`, the one whose parent does not."""
    running = {pid for pid, command in program.descendants().items() if "-m worker" in command}
    (master,) = [pid for pid in running if os.getsid(pid) == pid]
    return master


def left(program: Program, parts: Mapping[int, str]) -> dict[int, str]:
    """What still runs of the parts that once were, and of those that were started since."""
    return {**{pid: command for pid, command in parts.items() if is_running(pid)}, **program.descendants()}


async def is_killed_in_a_request(program: Program, backend: Backend, folder: Path, victim: int) -> None:
    """Kill a process of it, and see all of it end although the request never would."""
    backend.requests.clear()
    async with RawClient(ready(program).port) as client:
        await client.request("GET", "/hang")
        await eventually(lambda: b"/hang" in [request.target for request in backend.requests])
        assert len(sockets_left(folder)) == 2
        parts = program.descendants()  # asked before: an orphaned store has no mark, it overwrites its environment
        assert any("store.sock" in command for command in parts.values())
        os.kill(victim, signal.SIGKILL)
        await eventually(
            lambda: program.status is not None and not left(program, parts),
            what=lambda: f"the end of {left(program, parts)}",
        )


async def test_kill_9_leaves_nothing_after_the_drain_and_the_same_command_starts_again(tmp_path: Path):
    async def hangs(request: Request, connection: Connection) -> None:
        if request.target == b"/hang":
            await connection.stall()
        await connection.respond(body=b"here")

    port = free_port()
    listen = {"bind": f"127.0.0.1:{port}", "admin": f"unix:{tmp_path}/admin.sock", "drain_timeout_s": DRAIN_S}
    async with Backend(hangs) as backend:
        command = ("up", "-c", write_config(tmp_path, {"only": backend}, listen=listen))
        for victim, status in ((up_itself, -signal.SIGKILL), (gunicorns_master, 1)):
            with sidebeat(*command, cwd=tmp_path) as program:
                await started(program)
                await is_killed_in_a_request(program, backend, tmp_path, victim(program))
                assert program.status == status
                assert not is_port_open(port)
                assert not sockets_left(tmp_path)
        with sidebeat(*command, cwd=tmp_path) as program:
            await started(program)
            assert (await fetch(port)).body == b"here"
