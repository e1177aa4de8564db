"""Programs, servers and waiting: what the process tests lean on."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import redis

from processes import Program, children, is_running
from redis_server import RedisServer
from waiting import eventually, eventually_sync, free_port, is_port_open

CHILD_IN_A_SESSION_OF_ITS_OWN = """
import subprocess, sys
subprocess.Popen(["sleep", "60"], start_new_session=True)
print("started", flush=True)
sys.stdin.read() or sys.exit(3)
"""

WAITS = "import time; print('ready', flush=True); time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_an_orphan_in_another_session_is_still_found_and_ended():
    with Program(python(CHILD_IN_A_SESSION_OF_ITS_OWN)) as program:
        program.wait_for_line("^started$")
        assert program.wait() == 3
        (orphan,) = program.descendants()
        with pytest.raises(AssertionError, match="sleep 60"):
            program.assert_nothing_left(within=0.1)
        os.kill(orphan, signal.SIGKILL)
        program.assert_nothing_left()


def test_the_end_of_the_block_ends_all_descendants():
    with Program(python(CHILD_IN_A_SESSION_OF_ITS_OWN)) as program:
        program.wait_for_line("^started$")
        (sleeper,) = program.descendants()
    assert not is_running(sleeper)


def test_a_program_dies_with_its_starter(tmp_path: Path):
    """kill -9 of a test run must leave nothing."""
    starter = f"""
import sys; sys.path[:0] = {sys.path!r}
from processes import Program
program = Program([sys.executable, "-c", {WAITS!r}])
program.wait_for_line("ready")
print(program.pid, flush=True)
import time; time.sleep(60)
"""
    with Program(python(starter), env={"TMPDIR": str(tmp_path)}) as run:  # its files outlive a kill -9
        pid = int(run.wait_for_line(r"^\d+$")[0])
        assert pid in children(run.pid)
        run.kill()
        eventually_sync(lambda: not is_running(pid))


def test_a_line_that_can_no_longer_come_fails_at_once_and_shows_the_output():
    with Program(python("print('goodbye')")) as program, pytest.raises(AssertionError, match="goodbye"):
        program.wait_for_line("hello", within=60)


def test_ctrl_c_reaches_a_program_even_when_the_test_run_ignores_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        program = Program(python(WAITS))
    finally:
        signal.signal(signal.SIGINT, before)
    with program:
        program.wait_for_line("ready")
        program.interrupt()
        assert program.wait() == -signal.SIGINT
        assert "KeyboardInterrupt" in program.stderr


def test_a_program_gets_the_environment_and_folder_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAKEN_AWAY", "yes")
    code = "import os; print(os.getcwd(), os.environ['GIVEN'], 'TAKEN_AWAY' in os.environ)"
    with Program(python(code), env={"GIVEN": "1", "TAKEN_AWAY": None}, cwd=tmp_path) as program:
        assert program.wait() == 0
        assert program.stdout == f"{tmp_path} 1 False\n"


def test_a_killed_server_comes_back_empty_at_the_same_address(redis_server: RedisServer):
    client = redis.Redis.from_url(redis_server.url, protocol=2)
    try:
        client.set("key", "value")
        redis_server.kill()
        with pytest.raises(redis.exceptions.ConnectionError):
            client.get("key")
        redis_server.start()
        assert client.get("key") is None
        assert redis_server.socket_path.stat().st_mode & 0o777 == 0o600
    finally:
        client.close()


def test_a_paused_server_hangs_and_goes_on(redis_server: RedisServer):
    client = redis.Redis.from_url(redis_server.url, socket_timeout=0.1, protocol=2)
    patient = redis.Redis.from_url(redis_server.url, protocol=2)
    try:
        redis_server.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            client.ping()
        redis_server.resume()
        assert patient.ping()
        redis_server.pause()
        redis_server.stop()
    finally:
        client.close()
        patient.close()


async def test_eventually_awaits_and_returns_what_became_true():
    answers = iter([0, 0, 7])

    async def ask() -> int:
        return next(answers)

    assert await eventually(ask) == 7


async def test_eventually_says_what_never_happened():
    with pytest.raises(AssertionError, match=r"(?s)not within 0.02 s: the moon.*last: OSError\('cloudy'\)"):
        await eventually(cloudy, within=0.02, what="the moon")


def cloudy() -> bool:
    raise OSError("cloudy")


def test_a_free_port_is_closed_until_somebody_listens():
    port = free_port()
    assert not is_port_open(port)
    with socket.create_server(("127.0.0.1", port)):
        assert is_port_open(port)
