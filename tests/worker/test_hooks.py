import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from gunicorn.config import Config

from backend import Backend
from processes import Program, children
from raw_client import fetch
from waiting import eventually, free_port
from worker import hooks

CONFIG = """
[store]
url = "redis://127.0.0.1:1/0"
[listen]
bind = "127.0.0.1:{bind}"
admin = "127.0.0.1:{admin}"
drain_timeout_s = 2.0
[pools.api]
backends = ["http://127.0.0.1:{backend}"]
"""

CONF = """
from worker.hooks import settings
globals().update(settings("sidebeat.toml"))
"""


def write_config(folder: Path, **ports: int) -> Path:
    path = folder / "sidebeat.toml"
    path.write_text(CONFIG.format(**{"bind": 0, "admin": 0, "backend": 1} | ports))
    return path


def close(settings: dict[str, object]) -> None:
    binds = settings["bind"]
    assert isinstance(binds, list)
    for bind in binds:
        os.close(int(bind.removeprefix("fd://")))


def test_what_outlives_a_reload_is_made_once(tmp_path: Path):
    path = write_config(tmp_path)
    first = hooks.settings(path)
    path.write_text("not even TOML")
    assert hooks.settings(str(path)) == first
    close(first)


def test_a_worker_gets_a_slot_and_gives_it_back(tmp_path: Path):
    class GunicornWorker:
        pass

    settings = hooks.settings(write_config(tmp_path))
    close(settings)
    pre_fork, child_exit = settings["pre_fork"], settings["child_exit"]
    assert callable(pre_fork)
    assert callable(child_exit)
    workers = [GunicornWorker() for _ in range(66)]
    for worker in workers:
        pre_fork(None, worker)
    assert [vars(worker)["slot"] for worker in workers] == [*range(64), None, None]
    for worker in workers:
        child_exit(None, worker)
    pre_fork(None, workers[5])
    assert vars(workers[5])["slot"] == 0


@pytest.mark.parametrize(("text", "status"), [("[pools", 2), (None, 1)])
def test_what_cannot_be_used_ends_gunicorn_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, status: int
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = write_config(tmp_path, bind=taken.getsockname()[1])
        if text is not None:
            path.write_text(text)
        with pytest.raises(SystemExit) as end:
            hooks.settings(path)
    assert end.value.code == status
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_gunicorn_takes_the_hooks_alone_and_combined():
    config = Config()  # it counts their parameters
    for name, hook in hooks.combined().items():
        config.set(name, getattr(hooks, name))
        config.set(name, hook)


async def gets(port: int, status: int) -> bool:
    return (await fetch(port)).status == status


@pytest.mark.timeout(180)  # it starts six processes one after the other
async def test_plain_gunicorn_serves_and_survives_a_reload(tmp_path: Path, backend: Backend):
    public, admin = free_port(), free_port()
    write_config(tmp_path, bind=public, admin=admin, backend=backend.port)
    (tmp_path / "gunicorn.conf.py").write_text(CONF)
    with Program([sys.executable, "-P", "-m", "gunicorn.app.wsgiapp"], cwd=tmp_path) as program:
        await eventually(lambda: len(children(program.pid)) == 2)
        assert (await fetch(public)).body == b"ok"
        assert json.loads((await fetch(admin, "/readyz")).body)["serving"]
        before = children(program.pid)
        (tmp_path / "sidebeat.toml").write_text("broken")
        program.send(signal.SIGHUP)
        await eventually(lambda: len(after := children(program.pid)) == 2 and not set(after) & set(before))
        assert (await fetch(public)).body == b"ok"
        assert json.loads((await fetch(admin, "/readyz")).body)["serving"]
        assert program.said("reload=refused problem=.*not valid TOML")
        write_config(tmp_path, bind=public, admin=admin, backend=free_port())
        program.send(signal.SIGHUP)
        await eventually(lambda: gets(public, 502))
        program.terminate()
        await eventually(lambda: program.status == 0)
        program.assert_nothing_left()


def test_gunicorn_may_not_kill_what_drains(tmp_path: Path):
    write_config(tmp_path)
    (tmp_path / "gunicorn.conf.py").write_text(CONF + "graceful_timeout = 3\n")
    with Program([sys.executable, "-P", "-m", "gunicorn.app.wsgiapp"], cwd=tmp_path) as program:
        assert program.wait(within=15) != 0
        said = "listen.drain_timeout_s: with its delay, workers need 3.5 s to drain, and gunicorn's graceful_timeout is"
        assert program.output.count(said) == 1
        program.assert_nothing_left()
