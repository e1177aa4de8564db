"""`./scripts/run` without arguments: three demo backends and the whole system in front of them."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import Program
from raw_client import fetch
from waiting import eventually, free_port

DEMO = Path(__file__).resolve().parents[2] / "compose" / "demo" / "run.py"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo makes its temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def demo(port: int, temporary: Path) -> Iterator[Program]:
    env = {
        "DEMO_RESTART_S": "0.5",
        "SIDEBEAT_LISTEN__BIND": f"127.0.0.1:{port}",
        "SIDEBEAT_LISTEN__ADMIN": f"127.0.0.1:{free_port()}",
        "SIDEBEAT_LISTEN__CONSOLE": f"127.0.0.1:{free_port()}",
        "TMPDIR": str(temporary),
    }
    with Program([sys.executable, "-P", DEMO], env=env) as program:
        yield program


async def backend_that_answers(port: int) -> str:
    response = await fetch(port)
    assert response.status == 200, response.raw
    return str(json.loads(response.body)["backend"])


def pid_of(demo: Program, name: str) -> int:
    """The pid of a backend's newest process, as the demo tells it."""
    return int(re.findall(rf"{name} .*pid (\d+)", demo.stdout)[-1])


async def test_a_killed_backend_comes_back_while_traffic_goes_on_and_ctrl_c_leaves_nothing(
    demo: Program, port: int, temporary: Path
):
    await is_up(port)
    killed = pid_of(demo, "alpha")
    os.kill(killed, signal.SIGKILL)
    for _ in range(20):
        await backend_that_answers(port)
    await eventually(lambda: demo.said(r"demo: alpha ended \(SIGKILL\); it comes back in 0.5 s"))
    await eventually(lambda: demo.said("demo: alpha is back"))
    assert pid_of(demo, "alpha") != killed
    demo.interrupt()
    await leaves_nothing(demo, temporary)


async def test_sigterm_leaves_nothing(demo: Program, port: int, temporary: Path):
    await is_up(port)
    demo.terminate()
    await leaves_nothing(demo, temporary)


async def test_what_up_says_and_its_status_are_the_demos(demo: Program, port: int):
    with socket.create_server(("127.0.0.1", port)):
        await eventually(lambda: demo.status is not None, within=30)
    assert demo.status == 1
    assert str(port) in demo.output.splitlines()[-1]
    demo.assert_nothing_left()


async def test_kill_9_of_the_demo_leaves_no_process(demo: Program, port: int):
    await is_up(port)
    demo.kill()
    demo.assert_nothing_left()


async def test_a_signal_before_everything_is_up_ends_it_too(demo: Program, temporary: Path):
    await eventually(demo.descendants)
    demo.interrupt()
    await eventually(lambda: demo.status is not None)
    demo.assert_nothing_left()
    assert not list(temporary.iterdir())


async def is_up(port: int) -> None:
    """Wait until the backends and `up` are."""
    await eventually(lambda: backend_that_answers(port), within=45)


async def leaves_nothing(demo: Program, temporary: Path) -> None:
    """Wait until it has ended well, without a process or a file."""
    await eventually(lambda: demo.status is not None)
    assert demo.status == 0, demo.output
    demo.assert_nothing_left()
    assert not list(temporary.iterdir())
