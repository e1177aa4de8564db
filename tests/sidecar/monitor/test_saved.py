"""The copy of the intents on disk."""

import os
from pathlib import Path

import pytest

from sidecar.contract.model import Admin, Intent
from sidecar.monitor.saved import Saved, SavedIntents, copy_directory

SAVED = Saved(
    store_id="s1",
    intents={"/run/a b.sock": Intent(admin=Admin.MAINT, weight=0.0, since_ms=7, by="ada"), "b": Intent()},
)
URL = "redis://:secret@h/0"


def copy_of(folder: Path | None, pool: str = "api@web-1", url: str = URL) -> SavedIntents:
    return SavedIntents(folder, pool, url)


def test_what_was_saved_is_loaded_by_the_next_monitor(tmp_path: Path):
    assert copy_of(tmp_path).load() == Saved()
    copy_of(tmp_path).save(SAVED)
    assert copy_of(tmp_path).load() == SAVED
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "secret" not in file.name + file.read_text()


def test_another_pool_and_another_store_have_copies_of_their_own(tmp_path: Path):
    copy_of(tmp_path).save(SAVED)
    assert copy_of(tmp_path, pool="web").load() == Saved()
    assert copy_of(tmp_path, url="redis://elsewhere/0").load() == Saved()
    assert copy_of(tmp_path, url="redis://:other@h/0").load() == SAVED, "the password is not the store"


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xff", b"[]", b"{", b"null", b'{"store_id":1}', b'{"store_id":"s","intents":{"a":{"weight":-1}}}'],
)
def test_a_copy_that_cannot_be_read_counts_as_none_and_is_said(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
):
    copy_of(tmp_path).save(SAVED)
    next(tmp_path.iterdir()).write_bytes(garbage)
    assert copy_of(tmp_path).load() == Saved()
    assert len(caplog.records) == 1


def test_a_copy_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    copy = copy_of(tmp_path / "gone")
    copy.save(SAVED)
    copy.save(SAVED)
    assert len(caplog.records) == 1


def test_without_a_directory_nothing_is_kept():
    copy_of(None).save(SAVED)
    assert copy_of(None).load() == Saved()


def test_a_run_directory_that_is_not_safe_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert copy_directory("default", os.environ) == Path(os.environ["XDG_RUNTIME_DIR"], "sidebeat", "default")
    (tmp_path / "sidebeat").mkdir(mode=0o777)
    (tmp_path / "sidebeat").chmod(0o777)
    assert copy_directory("default", {"XDG_RUNTIME_DIR": str(tmp_path)}) is None
    assert len(caplog.records) == 1
