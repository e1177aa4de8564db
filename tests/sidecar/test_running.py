"""What the kernel tells of a program of ours that runs."""

from pathlib import Path

import pytest

from sidecar.running import Process


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("python", "-m", "worker", "-c", "a.toml"), "/proc/7/cwd/a.toml"),
        (("worker", "--config", "/b"), "/b"),
        ((), None),
    ],
)
def test_the_file_of_a_process_is_looked_for_where_the_process_is(words: tuple[str, ...], file: str | None):
    assert Process(pid=7, words=words, environ={}).file == (Path(file) if file else None)
