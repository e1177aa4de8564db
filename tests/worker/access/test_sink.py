"""Where lines go: whole, in order, without waiting, and without harm where they cannot go."""

import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.access import Sink
from worker.access.sink import HELD_BYTES


@pytest.fixture
def pipe() -> Iterator[tuple[int, Sink]]:
    """A pipe to a reader who does not read until asked to; it is not blocking at our end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    sink = Sink(writing, "stdout")
    yield reading, sink
    sink.close()
    os.close(reading)


def taken(reading: int) -> str:
    """All that is in the pipe."""
    text = b""
    while True:
        try:
            part = os.read(reading, 65_536)
        except BlockingIOError:
            return text.decode()
        if not part:
            return text.decode()
        text += part


def test_a_file_is_appended_to(tmp_path: Path):
    path = tmp_path / "log"
    path.write_text("before\n")
    first, second = Sink.open(str(path)), Sink.open(str(path))
    first.write(["a\n"])
    second.write(["b\n"])
    first.write(["c\n"])
    assert path.read_text() == "before\na\nb\nc\n"
    for sink in (first, second):
        sink.close()


def test_a_file_of_ours_is_not_for_everybody_to_read(tmp_path: Path):
    Sink.open(str(tmp_path / "log")).close()
    assert not (tmp_path / "log").stat().st_mode & 0o007


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path):
    path = tmp_path / "log"
    sink = Sink.open(str(path))
    sink.write(["a\n"])
    path.rename(tmp_path / "log.1")
    sink.write(["b\n"])
    sink.reopen()
    sink.write(["c\n"])
    assert ((tmp_path / "log.1").read_text(), path.read_text()) == ("a\nb\n", "c\n")
    sink.close()


def test_a_file_that_cannot_be_made_anew_is_gone_on_with(tmp_path: Path):
    folder = tmp_path / "logs"
    folder.mkdir()
    sink = Sink.open(str(folder / "log"))
    folder.rename(tmp_path / "old")
    sink.reopen()
    sink.write(["a\n"])
    assert (tmp_path / "old" / "log").read_text() == "a\n"
    sink.close()


def test_a_slow_reader_gets_every_line_later(pipe: tuple[int, Sink]):
    reading, sink = pipe
    lines = [f"{number:0>99}\n" for number in range(2_000)]
    sink.write(lines)
    text = ""
    while sink.is_behind:
        text += taken(reading)
        sink.write([])
    assert text
    assert text + taken(reading) == "".join(lines)


def test_lines_of_several_processes_do_not_meet_in_a_pipe(pipe: tuple[int, Sink]):
    """A pipe that is almost full takes all of a batch or nothing."""
    reading, sink = pipe
    other = Sink(os.dup(sink._fd), "stdout")
    for number in range(200):
        sink.write([f"a{number:0>900}\n"] * 3)
        other.write([f"b{number:0>700}\n"] * 3)
    text = ""
    while sink.is_behind or other.is_behind:
        text += taken(reading)
        sink.write([])
        other.write([])
    text += taken(reading)
    other.close()
    assert {(each[0], len(each)) for each in text.splitlines()} == {("a", 901), ("b", 701)}
    assert len(text.splitlines()) == 1_200


def test_a_reader_that_is_far_behind_loses_lines_and_is_told_so_once(
    pipe: tuple[int, Sink], caplog: pytest.LogCaptureFixture
):
    reading, sink = pipe
    for _ in range(4):
        sink.write(["x" * 1_000 + "\n"] * (HELD_BYTES // 2_000))
    told = [record for record in caplog.records if record.name == "worker.access.sink"]
    assert [record.levelno for record in told] == [logging.ERROR]
    while sink.is_behind:
        taken(reading)
        sink.write([])
    assert "dropped=" in caplog.messages[-1]


def test_a_full_disk_costs_lines_and_says_so_once(caplog: pytest.LogCaptureFixture):
    sink = Sink(os.open("/dev/full", os.O_WRONLY), "log")
    for _ in range(3):
        sink.write(["a\n"])
    assert len(caplog.messages) == 1
    assert os.strerror(errno.ENOSPC) in caplog.messages[0]
    sink.close()


def test_a_reader_that_is_gone_costs_lines_and_says_so_once(caplog: pytest.LogCaptureFixture):
    reading, writing = os.pipe()
    os.close(reading)
    sink = Sink(writing, "stdout")
    for _ in range(3):
        sink.write(["a\n"])
    assert len(caplog.messages) == 1
    sink.close()


def test_a_socket_is_never_waited_for():
    """The journal of systemd has one for stdout, and it cannot be opened anew."""
    ours, theirs = socket.socketpair()
    sink = Sink(ours.detach(), "stdout")
    lines = ["x" * 1_000 + "\n"] * 900
    sink.write(lines)
    assert sink.is_behind
    theirs.setblocking(False)
    got = theirs.recv(1_000)
    assert got == b"x" * 1_000
    sink.close()
    theirs.close()


SHARED = """
import os
from worker.access import Sink
sink = Sink.open("stdout")
for _ in range(3):
    sink.write(["ours\\n"])
    os.write(1, b"theirs\\n")
"""


def test_a_file_that_is_stdout_is_shared_with_whoever_else_writes_there(tmp_path: Path):
    """What was appended through a description of our own was written over by those who shared the first one."""
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", SHARED], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "ours\ntheirs\n" * 3


def test_a_place_that_cannot_be_opened_is_an_error(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        Sink.open(str(tmp_path / "nowhere" / "log"))
