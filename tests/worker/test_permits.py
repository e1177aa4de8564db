"""A worker knows the tokens of its namespace, also those that were issued after it was started."""

import os

import pytest

from sidecar.contract.config import Config, parse
from sidecar.contract.rundir import run_directory
from sidecar.contract.token import FILE, issuing
from worker.permits import LOOK_S, Permits


class Clock:
    """Monotonic time that stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def environ() -> dict[str, str]:
    return dict(os.environ)


def config(**listen: object) -> Config:
    return parse({"pools": {"api": {"backends": ["http://127.0.0.1:1"]}}, "listen": listen}, {})


def test_a_secret_that_is_made_later_is_found_within_a_second(clock: Clock, environ: dict[str, str]):
    permits = Permits(config(), environ, clock)
    assert not permits.allow(b"anything")
    token = issuing(config(), environ).issue(60).encode()
    assert not permits.allow(token), "it has looked a moment ago"
    clock.now += LOOK_S
    assert permits.allow(token)
    assert permits.allow(token)


def test_a_secret_that_was_lost_is_replaced(clock: Clock, environ: dict[str, str]):
    permits = Permits(config(), environ, clock)
    old = issuing(config(), environ).issue(60).encode()
    assert permits.allow(old)
    (run_directory("default", environ) / FILE).unlink()
    new = issuing(config(), environ).issue(60).encode()
    clock.now += LOOK_S
    assert permits.allow(new)
    assert not permits.allow(old)


def test_another_config_has_another_secret(clock: Clock, environ: dict[str, str]):
    before, after = (config(explain_secret=secret * 16) for secret in "ab")
    permits = Permits(before, environ, clock)
    assert permits.allow(issuing(before, environ).issue(60).encode())
    permits.use(after)
    assert permits.allow(issuing(after, environ).issue(60).encode())
    assert not permits.allow(issuing(before, environ).issue(60).encode())


def test_where_nobody_may_keep_a_secret_nobody_may_see(clock: Clock, environ: dict[str, str]):
    token = issuing(config(), environ).issue(60).encode()
    run_directory("default", environ).chmod(0o755)
    assert not Permits(config(), environ, clock).allow(token)
