"""The access log of real workers: one file for all of them, moved away under load, and whole at the end."""

import asyncio
import json
import os
import signal
from pathlib import Path

from backend import Backend
from chain import sidebeat, worker_started
from processes import children
from raw_client import Address, fetch
from waiting import eventually

CONFIG = """
[store]
url = "redis://127.0.0.1:1/0"
[listen]
bind = "127.0.0.1:0"
admin = "127.0.0.1:0"
workers = 2
[log]
access = "json"
file = "{file}"
[pools.api]
backends = ["{backend}"]
"""


def lines_of(*files: Path) -> list[str]:
    """Whole lines; each has to be one object."""
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert {json.loads(line)["status"] for line in lines} <= {200}
    return lines


def has_open(pid: int, file: Path) -> bool:
    """Whether a process can write to this file."""
    return any(handle.readlink() == file for handle in Path(f"/proc/{pid}/fd").iterdir())


async def fetch_often(port: Address, count: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(fetch(port))


async def test_no_line_is_lost_when_the_file_is_moved_away_or_the_workers_end(tmp_path: Path, backend: Backend):
    file, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    config = tmp_path / "sidebeat.toml"
    config.write_text(CONFIG.format(file=file, backend=backend.url))
    with sidebeat("worker", "-c", config, cwd=tmp_path) as program:
        system = await worker_started(program)
        await fetch_often(system.port, 40)
        await eventually(lambda: file.read_bytes().count(b"\n") == 40)
        file.rename(moved)
        os.kill(program.pid, signal.SIGUSR1)
        await eventually(lambda: all(has_open(pid, file) for pid in children(program.pid)))
        await fetch_often(system.port, 40)
        program.terminate()
        await eventually(lambda: program.status == 0)
    assert len(lines_of(file, moved)) == 80
    assert lines_of(file)


async def test_a_log_that_cannot_be_written_is_said_at_the_start(tmp_path: Path, backend: Backend):
    config = tmp_path / "sidebeat.toml"
    config.write_text(CONFIG.format(file=tmp_path / "nowhere" / "log", backend=backend.url))
    with sidebeat("worker", "-c", config, cwd=tmp_path) as program:
        await eventually(lambda: program.status == 2)
        assert "log.file: " in program.stderr
        assert not children(program.pid)
