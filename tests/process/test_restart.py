"""Rolling restarts of the real thing: nobody is refused, nothing is lost, and a bad replacement changes nothing."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from backend import Backend, Connection, Request, answers
from chain import sidebeat, started, worker_started, write_config
from load import Load
from processes import Program, children
from raw_client import RawClient, fetch
from waiting import eventually

NO_STORE = {"url": "redis://127.0.0.1:1/0"}

APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"{length}")]}})
        await send({{"type": "http.response.body", "body": b"{text}"}})
"""


SABOTAGED = """
import errno, os, sys
from itertools import count
import worker.board.board

def no_third_fork(fork=os.fork, number=count(1)):
    if next(number) == 3:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()

def two_slots(workers):
    return 2

if "{sabotage}" == "two_slots":
    worker.board.board.board_slots = two_slots
else:
    os.fork = no_third_fork
from worker.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def write_app(folder: Path, text: str) -> None:
    (folder / "shop.py").write_text(APP.format(text=text, length=len(text)))


async def stalls(request: Request, connection: Connection) -> None:
    await connection.stall()


async def outcome(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """How a command ends, and what it says on stdout and stderr."""
    with sidebeat(*arguments, cwd=cwd) as command:
        await eventually(lambda: command.status is not None, within=20)
        status = command.status
        assert status is not None
        return status, command.stdout, command.stderr


async def replaced(master: int, before: Sequence[int]) -> bool:
    """Until none of these workers is left, and as many others are."""
    return await eventually(lambda: len(now := children(master)) == len(before) and not set(now) & set(before))


async def test_restart_under_load_replaces_every_worker_and_no_client_notices(tmp_path: Path, backend: Backend):
    backend.handler = answers(body=b'{"backend": "only"}')
    config = write_config(tmp_path, {"only": backend}, store=NO_STORE)
    with sidebeat("worker", "-c", config, cwd=tmp_path) as program:
        system = await worker_started(program)
        before = children(program.pid)
        async with Load(system.port, "/", per_second=100) as load:
            await eventually(lambda: len(load.answers) > 20)
            status, said, _ = await outcome("restart", cwd=tmp_path)
            assert status == 0, said
            assert "2 of 2 workers replaced" in said
            program.send(signal.SIGUSR2)  # and once more, by signal
            await eventually(lambda: program.output.count("restarted pid=") == 2)
        load.assert_unharmed()
        await replaced(program.pid, before)


async def test_the_signal_to_up_restarts_the_workers_too(tmp_path: Path, backend: Backend):
    with sidebeat(
        "up", "-c", write_config(tmp_path, {"only": backend}, listen={"workers": 1}), cwd=tmp_path
    ) as program:
        await started(program)
        found = program.said(r"started pid=(\d+) bind")
        assert found
        before = children(int(found[1]))
        program.send(signal.SIGUSR2)
        await replaced(int(found[1]), before)
        program.terminate()
        await eventually(lambda: program.status == 0)
        assert not list(Path(os.environ["XDG_RUNTIME_DIR"]).rglob("*.master"))


async def test_a_new_worker_that_does_not_start_leaves_the_old_ones_and_says_why(tmp_path: Path, backend: Backend):
    write_app(tmp_path, "old")
    config = write_config(tmp_path, {"only": backend}, store=NO_STORE, listen={"app": "shop:app"})
    with sidebeat("worker", "-c", config, cwd=tmp_path) as program:
        system = await worker_started(program)
        before = children(program.pid)
        (tmp_path / "shop.py").write_text("1 / 0")
        for attempt in (1, 2):
            status, said, complaint = await outcome("restart", "-c", str(config), cwd=tmp_path)
            assert status == 1, said
            assert "0 of 2 workers replaced, the others serve on" in complaint
            assert "ZeroDivisionError: division by zero" in complaint
            assert program.output.count("restart-failed") == attempt
        assert children(program.pid) == before
        assert (await fetch(system.port)).body == b"old"
        write_app(tmp_path, "new")
        status, said, complaint = await outcome("restart", cwd=tmp_path)
        assert (status, complaint) == (0, "")
        await replaced(program.pid, before)
        assert (await fetch(system.port)).body == b"new"


@pytest.mark.parametrize(
    ("sabotage", "reason"), [("no_third_fork", "no worker could be forked"), ("two_slots", "the board has no slot")]
)
async def test_where_there_is_no_room_for_a_new_worker_the_old_ones_serve_on(
    tmp_path: Path, backend: Backend, sabotage: str, reason: str
):
    """An error of the fork used to end the master, and everything with it."""
    config = write_config(tmp_path, {"only": backend}, store=NO_STORE)
    code = SABOTAGED.format(sabotage=sabotage)
    with Program([sys.executable, "-P", "-c", code, "-c", config], cwd=tmp_path) as program:
        system = await worker_started(program)
        before = children(program.pid)
        status, _, complaint = await outcome("restart", cwd=tmp_path)
        assert status == 1
        assert reason in complaint
        await eventually(lambda: children(program.pid) == before)
        assert (await fetch(system.port)).status == 200


async def test_where_nothing_runs_there_is_nothing_to_restart(tmp_path: Path):
    status, said, complaint = await outcome("restart", "--namespace", "nobody", cwd=tmp_path)
    assert (status, said) == (1, "")
    assert "no workers of the namespace 'nobody' run here" in complaint
    assert len(complaint.splitlines()) == 1


async def test_workers_come_and_go_by_signal_during_a_restart(tmp_path: Path, backend: Backend):
    with sidebeat("worker", "-c", write_config(tmp_path, {"only": backend}, store=NO_STORE), cwd=tmp_path) as program:
        await worker_started(program)
        before = children(program.pid)
        program.send(signal.SIGUSR2)
        program.send(signal.SIGTTIN)
        await eventually(lambda: program.said("restarted pid="))
        await eventually(lambda: len(now := children(program.pid)) == 3 and not set(now) & set(before))
        before = children(program.pid)
        program.send(signal.SIGUSR2)
        program.send(signal.SIGTTOU)
        await eventually(lambda: program.output.count("restarted pid=") == 2)
        await eventually(lambda: len(now := children(program.pid)) == 2 and not set(now) & set(before))


async def test_a_worker_that_is_told_to_end_is_replaced_while_it_drains(tmp_path: Path, backend: Backend):
    backend.handler = stalls
    with sidebeat("worker", "-c", write_config(tmp_path, {"only": backend}, store=NO_STORE), cwd=tmp_path) as program:
        system = await worker_started(program)
        async with RawClient(system.port) as client:
            await client.request()
            await eventually(lambda: backend.requests)
            before = children(program.pid)
            for pid in before:
                os.kill(pid, signal.SIGTERM)
            await eventually(lambda: program.output.count("worker-booted") == 4)
            await eventually(lambda: len(set(children(program.pid)) & set(before)) == 1)
        await replaced(program.pid, before)


async def test_the_dead_are_buried_at_once_while_others_drain(tmp_path: Path, backend: Backend):
    backend.handler = stalls
    listen = {"workers": 3, "drain_timeout_s": 60.0}
    config = write_config(tmp_path, {"only": backend}, store=NO_STORE, listen=listen)
    with sidebeat("worker", "-c", config, cwd=tmp_path) as program:
        system = await worker_started(program, workers=3)
        before = set(children(program.pid))
        async with RawClient(system.port) as client:
            await client.request()
            await eventually(lambda: backend.requests)
            program.send(signal.SIGUSR2)
            await eventually(lambda: program.said("restarted pid="))
            await eventually(lambda: len(children(program.pid)) == 4)
            for pid in list(set(children(program.pid)) - before)[:2]:
                await bury(pid)
            await eventually(lambda: len(children(program.pid)) == 4)
            program.terminate()
            await eventually(lambda: len(children(program.pid)) == 1)
            for pid in children(program.pid):
                await bury(pid)
        await eventually(lambda: program.status == 0)


async def bury(pid: int) -> None:
    """Kill a worker, and see its master reap it while others drain; how soon, `scripts/chaos restart` says."""
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not Path(f"/proc/{pid}").exists(), every=0.002)


async def test_the_master_ends_in_time_though_its_workers_are_stopped(tmp_path: Path, backend: Backend):
    """gunicorn waits for the whole of its graceful timeout, and `up` would have to kill the master."""
    backend.handler = stalls
    config = write_config(tmp_path, {"only": backend}, store=NO_STORE, listen={"drain_timeout_s": 0.1})
    with sidebeat("worker", "-c", config, cwd=tmp_path) as program:
        system = await worker_started(program)
        async with RawClient(system.port) as client:
            await client.request()
            await eventually(lambda: backend.requests)
            for pid in children(program.pid):
                os.kill(pid, signal.SIGSTOP)
            program.terminate()
            await eventually(lambda: program.status == 0)
            program.assert_nothing_left()
