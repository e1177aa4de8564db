"""The secret that a host keeps for sticky cookies where the config names none."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidecar.contract.config import Config, ConfigError, parse
from sidecar.contract.rundir import run_directory
from sidecar.contract.secret import kept_secret
from worker.secret import FILE, with_secrets


def config(**sticky: object) -> Config:
    stuck = {"backends": ["http://127.0.0.1:1"], "sticky": {"cookie": "sb", **sticky}}
    pools = {"api": stuck, "web": {"backends": ["http://127.0.0.1:2"]}}
    return parse({"pools": pools, "routes": [{"pool": "api"}]}, {})


def secret_of(config: Config) -> str | None:
    assert config.pools["api"].sticky is not None
    return config.pools["api"].sticky.secret


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


def test_a_host_keeps_one_secret(environ: dict[str, str]):
    secret = secret_of(with_secrets(config(), environ))
    assert secret is not None
    assert len(secret) == 43
    assert secret_of(with_secrets(config(), environ)) == secret
    directory = run_directory("default", environ)
    assert (directory / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in directory.iterdir()] == [FILE]


def test_the_configs_own_secret_stays_and_nothing_is_written(environ: dict[str, str]):
    own = config(secret="a secret of some length")
    assert with_secrets(own, environ) is own
    assert not run_directory("default", environ).exists()


def test_all_who_come_first_agree(tmp_path: Path):
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(kept_secret, [tmp_path / FILE] * 32))) == 1


@pytest.mark.parametrize("content", ["", "short", "x" * 44])
def test_what_is_no_secret_of_ours_is_not_used(tmp_path: Path, content: str):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(OSError, match="remove it"):
        kept_secret(tmp_path / FILE)


def test_a_place_that_is_open_to_others_is_named(environ: dict[str, str]):
    directory = run_directory("default", environ)
    directory.mkdir(parents=True, mode=0o777)
    directory.chmod(0o777)
    with pytest.raises(ConfigError, match=r"pools\.api\.sticky\.secret is missing"):
        with_secrets(config(), environ)
