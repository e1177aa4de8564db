"""What ``from worker import …`` gives, and what it costs those who want none of it."""

import subprocess
import sys

import pytest

import worker
from worker import library


def test_the_names_of_the_library_are_those_of_the_package():
    assert worker.__all__ == library.__all__
    assert set(worker.__all__) <= set(dir(worker))
    for name in worker.__all__:
        assert getattr(worker, name) is getattr(library, name)


def test_any_other_name_is_none():
    with pytest.raises(AttributeError, match="has no attribute 'proxy'"):
        _ = worker.proxy


def test_a_part_of_a_worker_does_not_wait_for_what_apps_need():
    code = "import sys, worker.pick; print([name for name in ('fastapi', 'httpx', 'redis') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
