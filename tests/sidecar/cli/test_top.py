"""`sidebeat top`: on a terminal, in a pipe, and when its store goes away."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from processes import Program
from published import publish, report
from redis_server import RedisServer
from sidecar.cli.commands import run
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Health, Verdict

UP = Verdict(id="a", url="http://a:1", state=Health.HEALTHY, reason="HTTP 200")

# On a terminal of its own, and of a size that changes: once a backend is seen, it is made small, and q is pressed.
ON_A_TERMINAL = """
import fcntl, os, pty, re, signal, struct, sys, termios
pid, terminal = pty.fork()
if not pid:
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)  # GNU readline exports them, and they would be believed over the terminal
    os.environ["TERM"] = "xterm"
    os.execv(sys.executable, [sys.executable, "-P", "-m", "sidecar", "top", *sys.argv[1:]])
def resize(lines, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    os.kill(pid, signal.SIGWINCH)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
before, seen, step = termios.tcgetattr(terminal), b"", 0
try:
    while said := os.read(terminal, 4096):
        seen += said
        if step == 0 and b"HTTP 200" in seen and b"SHARE" in seen:
            step, seen = 1, seen[:0]
            resize(20, 60)
        elif step == 1 and b"BACKEND" in seen and b"SHARE" not in seen[seen.rindex(b"BACKEND"):] and b"WORKER" in seen:
            step = 2
            os.write(terminal, b"q")
except OSError:
    pass
print("left the screen:", b"\\x1b[?1049l" in seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture
def place(redis_server: RedisServer, namespace: str) -> list[str]:
    """Where a monitor has published a pool."""

    async def write() -> None:
        keys = PoolKeys(namespace, "api")
        async with connect(redis_server.url) as store:
            await publish(store, keys, UP)
            await report(store, keys, 0)

    asyncio.run(write())
    return ["--redis", redis_server.url, "--namespace", namespace]


def test_on_a_terminal_it_follows_its_size_and_ends_with_q(place: list[str]):
    with Program([sys.executable, "-c", ON_A_TERMINAL, *place, "--interval", "0.2"]) as program:
        assert program.wait(within=40) == 0
        assert program.stdout == "left the screen: True\n"


def test_in_a_pipe_there_is_a_frame_after_the_other(place: list[str], capsys: pytest.CaptureFixture[str]):
    assert run(["top", "-n", "2", "--interval", "0.1", *place]) == 0
    out = capsys.readouterr().out
    assert out.count("sidebeat  test-") == 2
    assert "\x1b" not in out
    assert run(["top", "-n", "1", "--json", *place]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["pools"]["api"]["backends"]["a"]["state"] == "healthy"


def test_a_store_that_goes_away_is_said_once_and_waited_for(
    place: list[str], redis_server: RedisServer, tmp_path: Path
):
    command = [sys.executable, "-P", "-m", "sidecar", "top", "--json", "--interval", "0.1", *place]
    with Program(command, cwd=tmp_path) as program:
        program.wait_for_line("healthy")
        redis_server.kill()
        program.wait_for_line(r"^sidebeat: store.url: .*; waiting for it$")
        before = len(program.stdout)
        redis_server.start()
        program.wait_for_line(r'"pools": \{\}')
        assert len(program.stdout) > before
        assert program.stderr.count("\n") == 1
        program.interrupt()
        assert program.wait() == 0


def test_a_store_that_never_answers_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert run(["top", "--json", "--redis", f"unix://{os.devnull}/none"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("sidebeat: store.url: ")
