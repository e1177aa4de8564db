import os

import pytest

from sidecar.contract.rundir import RunDirectoryError, make_run_directory, run_directory


def test_it_lies_below_the_users_runtime_directory(tmp_path):
    assert run_directory("n", {"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "sidebeat" / "n"


def test_without_one_it_is_the_users_own_in_the_temp_directory():
    assert run_directory("n", {}).parent.name == f"sidebeat-{os.getuid()}"


def test_it_is_made_for_the_user_alone(tmp_path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    directory = make_run_directory("n", environ)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert make_run_directory("n", environ) == directory


@pytest.mark.parametrize("spoil", ["open", "link", "file"])
def test_one_that_somebody_else_could_have_made_is_refused(tmp_path, spoil):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    directory = run_directory("n", environ)
    directory.parent.mkdir(mode=0o700)
    match spoil:
        case "open":
            directory.mkdir()
            directory.chmod(0o777)
        case "link":
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            directory.symlink_to(tmp_path / "elsewhere")
        case _:
            directory.write_text("")
    with pytest.raises(RunDirectoryError):
        make_run_directory("n", environ)
