"""Masters that say that they run, and whoever looks for them."""

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from forks import forked
from sidecar.contract.masters import Master, Presence, find_masters
from waiting import eventually_sync

NAMESPACE = "default"


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


def files(environ: Mapping[str, str]) -> list[Path]:
    return list(Path(environ["XDG_RUNTIME_DIR"], "sidebeat", NAMESPACE).glob("*"))


@contextmanager
def master(environ: Mapping[str, str], then: Callable[[Presence], None] = lambda _: None) -> Iterator[int]:
    """Another process that is one, until it is killed."""
    reading, writing = os.pipe()

    def be() -> None:
        presence = Presence(NAMESPACE, environ, instance="a")
        presence.show()
        then(presence)
        os.read(reading, 1)

    with forked(be) as child:
        eventually_sync(lambda: any(path.suffix == ".master" for path in files(environ)))
        yield child.pid
    os.close(reading)
    os.close(writing)


def test_where_there_is_no_run_directory_nobody_runs(environ: Mapping[str, str]):
    assert find_masters(NAMESPACE, environ) == []


def test_a_master_is_found_by_its_pid_and_name_and_its_file_is_for_its_owner(environ: Mapping[str, str]):
    with master(environ) as pid:
        assert find_masters(NAMESPACE, environ) == [Master(pid=pid, instance="a")]
        (path,) = files(environ)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert find_masters("other", environ) == []


def test_of_one_that_was_killed_nothing_is_found_and_its_file_goes(environ: Mapping[str, str]):
    with master(environ):
        pass
    assert len(files(environ)) == 1
    assert find_masters(NAMESPACE, environ) == []
    assert files(environ) == []


def test_a_pid_in_a_file_that_nobody_locks_is_not_believed(environ: Mapping[str, str]):
    with master(environ):
        planted = files(environ)[0].with_name("worker-1.master")
        planted.write_text(json.dumps({"pid": 1, "instance": "init"}))
        assert [found.instance for found in find_masters(NAMESPACE, environ)] == ["a"]


def test_what_a_master_tells_is_read_whole_however_long_the_reason(environ: Mapping[str, str]):
    def tell(presence: Presence) -> None:
        presence.tell(replace(presence.master, restarts=2, is_restarting=True, failure="no disk \u20ac" * 900))
        presence.tell(replace(presence.master, restarts=3, is_restarting=False, to_replace=4, replaced=1))

    with master(environ, tell):

        def told() -> Master | None:
            (found,) = find_masters(NAMESPACE, environ)
            return found if found.restarts == 3 else None

        found = eventually_sync(told)
        assert found
        assert (found.is_restarting, found.to_replace, found.replaced) == (False, 4, 1)
        assert found.failure
        assert found.failure.startswith("no disk \u20acno disk")


def test_one_that_ends_takes_its_file_along_but_not_that_of_another(environ: Mapping[str, str]):
    presence = Presence(NAMESPACE, environ, instance="b")
    presence.withdraw()  # not shown yet
    presence.show()
    (path,) = files(environ)
    path.unlink()
    path.write_text("somebody else's")
    presence.withdraw()
    assert files(environ) == [path]
    path.unlink()
    presence.show()
    presence.withdraw()
    assert files(environ) == []
