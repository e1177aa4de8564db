"""A child process of ours: how it ends, and that nothing of it stays."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from processes import is_running
from sidecar.child import Child, how_it_ended
from waiting import eventually

DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
LEAVES_A_CHILD = """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(left.pid, flush=True)
"""


def child(code: str) -> Child:
    return Child("part", [sys.executable, "-c", code], os.environ)


async def test_what_ignores_sigterm_is_ended_by_force_after_the_limit(tmp_path: Path):
    deaf = child(DEAF)
    with (tmp_path / "out").open("wb") as output:
        await deaf.start(output)
    await eventually(lambda: (tmp_path / "out").read_text() == "ready\n")
    assert await deaf.stop(limit_s=0.1) is False
    assert await deaf.wait() == -signal.SIGKILL


async def test_what_ends_when_it_is_asked_needs_no_force():
    sleeper = child("import time; time.sleep(60)")
    await sleeper.start()
    assert await sleeper.stop(limit_s=20) is True
    assert not sleeper.is_running


async def test_what_a_dead_child_left_behind_is_asked_to_end_too(tmp_path: Path):
    """A gunicorn master that is killed leaves its workers."""
    parent = child(LEAVES_A_CHILD)
    with (tmp_path / "out").open("wb") as output:
        await parent.start(output)
    assert await parent.wait() == 0
    left = int((tmp_path / "out").read_text())
    assert is_running(left)
    assert await parent.stop(limit_s=20) is True
    assert not is_running(left)


async def test_a_signal_to_what_has_ended_does_nothing():
    quick = child("")
    quick.send(signal.SIGTERM)
    await quick.start()
    await quick.wait()
    quick.send(signal.SIGTERM)
    quick.send_group(signal.SIGKILL)
    await asyncio.wait_for(quick.gone(), 20)


async def test_what_is_passed_on_does_not_end_a_child_that_has_no_handlers_yet():
    code = "import os, signal as s; [os.kill(os.getpid(), each) for each in (s.SIGHUP, s.SIGUSR1, s.SIGUSR2)]"
    young = child(code)
    await young.start()
    assert await young.wait() == 0


async def test_a_program_that_is_not_there_is_an_error_of_the_system():
    missing = Child("part", ["/nonexistent/program"], os.environ)
    with pytest.raises(FileNotFoundError):
        await missing.start()
    assert await missing.stop(limit_s=1) is True


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "ended with exit status 0"), (1, "ended with exit status 1"), (-9, "was ended by SIGKILL")],
)
def test_an_end_is_said_in_words(status: int, words: str):
    assert how_it_ended(status) == words
