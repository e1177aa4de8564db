"""`sidebeat reload` where there is nothing to reload; with all that runs it is in ``tests/process/test_reload.py``."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from processes import Program
from redis_server import RedisServer
from sidecar.cli.commands import run
from sidecar.contract.masters import MASTER, MONITOR

Captured = pytest.CaptureFixture[str]

# Says that it is a monitor or a master, and what became of a reload whenever it is told to.
STANDS_IN = """
import os, signal, sys
from dataclasses import replace
from sidecar.contract.masters import Presence

def reload(number, frame):
    presence.tell(replace(presence.master, reloads=presence.master.reloads + 1, refusal=sys.argv[2] or None))

presence = Presence("default", os.environ, instance="test", kind=sys.argv[1])
signal.signal(signal.SIGHUP, reload)
presence.show()
os.write(1, b"is there\\n")
while True:
    signal.pause()
"""


def stand_in(kind: str, refusal: str = "") -> Program:
    program = Program([sys.executable, "-P", "-c", STANDS_IN, kind, refusal], env=dict(os.environ))
    program.wait_for_line("is there")
    return program


def test_without_anything_that_runs_it_says_so(capsys: Captured):
    assert run(["reload"]) == 1
    assert "neither a monitor nor workers of the namespace 'default' run here" in capsys.readouterr().err


def test_a_file_that_is_named_is_checked_before_anybody_is_asked(tmp_path: Path, capsys: Captured):
    file = tmp_path / "sidebeat.toml"
    file.write_text('[listen]\nworkerz = 1\n[pools.api]\nbackends = ["http://127.0.0.1:1"]\ntimeouts.idle_s = -1\n')
    with stand_in(MASTER, "was asked"):
        assert run(["reload", "-c", str(file)]) == 2
    said = capsys.readouterr().err
    assert "listen.workerz: no such key" in said
    assert "pools.api.timeouts.idle_s" in said
    assert "was asked" not in said


def test_all_that_run_are_asked_and_each_refusal_is_told(capsys: Captured):
    with stand_in(MONITOR) as monitor, stand_in(MASTER, "a.b: wrong\nc.d: wrong, too") as master:
        assert run(["reload"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith(f"monitor (pid {monitor.pid}): applied after ")
    assert said.err.splitlines() == [
        f"sidebeat: worker (pid {master.pid}): a.b: wrong",
        f"sidebeat: worker (pid {master.pid}): c.d: wrong, too",
    ]


def test_one_that_was_killed_is_not_asked(capsys: Captured):
    with stand_in(MASTER) as gone:
        gone.send(signal.SIGKILL)
        gone.wait()
        assert run(["reload"]) == 1
    assert "run here" in capsys.readouterr().err


def test_programs_are_told_of_each_in_one_record(capsys: Captured):
    with stand_in(MONITOR) as monitor, stand_in(MASTER, "a.b: wrong") as master:
        assert run(["reload", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert [(each["program"], each["pid"], each["applied"], each["problems"]) for each in told] == [
        ("monitor", monitor.pid, True, []),
        ("worker", master.pid, False, ["a.b: wrong"]),
    ]


def test_status_shows_what_became_of_the_last_reload(shared_redis: RedisServer, capsys: Captured, tmp_path: Path):
    file = tmp_path / "sidebeat.toml"
    file.write_text(f'[store]\nurl = "{shared_redis.url}"\n[pools.api]\nbackends = ["http://127.0.0.1:1"]\n')
    with stand_in(MONITOR), stand_in(MASTER, "a.b: wrong") as master:
        assert run(["reload"]) == 2
        capsys.readouterr()
        assert run(["status", "-c", str(file)]) == 0
        assert f"last reload of the worker (pid {master.pid}): refused: a.b: wrong\n" in capsys.readouterr().out
        assert run(["status", "-c", str(file), "--json"]) == 0
        assert [each["applied"] for each in json.loads(capsys.readouterr().out)["reloads"]] == [True, False]
