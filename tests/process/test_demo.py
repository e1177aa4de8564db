"""`./scripts/run` without arguments: three demo backends and the whole system in front of them."""

import json
import os
import re
import signal
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


async def test_a_killed_backend_is_told_of_and_comes_back_and_traffic_goes_on(demo: Program, port: int):
    await eventually(lambda: backend_that_answers(port), within=20)
    killed = pid_of(demo, "alpha")
    os.kill(killed, signal.SIGKILL)
    assert "alpha" not in {await backend_that_answers(port) for _ in range(20)}
    await eventually(lambda: demo.said(r"demo: alpha ended \(SIGKILL\); it comes back in 0.5 s"))
    await eventually(lambda: demo.said("demo: alpha is back"))
    assert pid_of(demo, "alpha") != killed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_end_leaves_no_process_and_no_file(demo: Program, port: int, temporary: Path, number: signal.Signals):
    await eventually(lambda: backend_that_answers(port), within=20)
    demo.send(number)
    await eventually(lambda: demo.status is not None, within=10)
    assert demo.status == 0, demo.output
    demo.assert_nothing_left()
    assert not list(temporary.iterdir())


async def test_kill_9_of_the_demo_leaves_no_process(demo: Program, port: int):
    await eventually(lambda: backend_that_answers(port), within=20)
    demo.kill()
    demo.assert_nothing_left(within=10)


async def test_a_signal_before_everything_is_up_ends_it_too(demo: Program, temporary: Path):
    await eventually(demo.descendants)
    demo.interrupt()
    await eventually(lambda: demo.status is not None, within=10)
    demo.assert_nothing_left()
    assert not list(temporary.iterdir())


async def test_what_up_says_and_its_status_are_the_demos(demo: Program, port: int):
    await eventually(lambda: backend_that_answers(port), within=20)
    second = {"SIDEBEAT_LISTEN__BIND": f"127.0.0.1:{port}"}
    with Program([sys.executable, "-P", DEMO], env=second) as other:
        await eventually(lambda: other.status is not None, within=20)
        assert other.status == 1
        assert str(port) in other.output.splitlines()[-1]
        other.assert_nothing_left()
