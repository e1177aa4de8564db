"""Visitors of real workers stay where they were, though nobody has configured a secret."""

import json
import os
import signal
import sys
from pathlib import Path

from backend import Backend, answers
from processes import Program, children
from raw_client import Response, fetch
from sidecar.contract.rundir import run_directory
from waiting import eventually, free_port

CONFIG = """
[store]
url = "redis://127.0.0.1:1/0"
[listen]
bind = "127.0.0.1:{port}"
admin = "127.0.0.1:0"
console = "127.0.0.1:0"
drain_timeout_s = 1.0
[pools.api]
backends = {backends}
sticky.cookie = "home"
"""


async def visit(port: int, cookie: str = "") -> Response:
    response = await fetch(port, headers=[("Host", "a"), ("Cookie", cookie)])
    assert response.status == 200
    return response


async def stays(port: int, cookie: str, home: bytes | None) -> None:
    """Each request is a connection, and goes to whichever worker takes it."""
    for _ in range(12):
        response = await visit(port, cookie)
        assert (response.body, response.all("set-cookie")) == (home, [])


async def test_a_visitor_stays_over_the_death_of_workers_and_a_restart_of_the_master(tmp_path: Path):
    port, config = free_port(), tmp_path / "sidebeat.toml"
    command: list[str | Path] = [sys.executable, "-P", "-m", "worker", "-c", config]
    async with Backend(answers(body=b"one")) as one, Backend(answers(body=b"two")) as two:
        config.write_text(CONFIG.format(port=port, backends=json.dumps([one.url, two.url])))
        with Program(command, cwd=tmp_path) as master:
            await eventually(lambda: master.output.count("worker-booted") == 2)
            first = await visit(port)
            [line] = first.all("set-cookie")
            cookie = line.decode().partition(";")[0]
            await stays(port, cookie, first.body)
            # A temp directory is cleaned now and then; it must not part the workers that come from those that are here.
            for kept in run_directory("default", os.environ).glob("sticky.*"):
                kept.rename(tmp_path / "kept")
            os.kill(children(master.pid)[0], signal.SIGKILL)
            await eventually(lambda: master.output.count("worker-booted") == 3)
            await stays(port, cookie, first.body)
        (tmp_path / "kept").rename(run_directory("default", os.environ) / "sticky.secret")
        with Program(command, cwd=tmp_path) as master:
            await eventually(lambda: master.output.count("worker-booted") == 2)
            await stays(port, cookie, first.body)
