"""Who bears a token that is good: issued here, for this namespace, and not over yet."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.config import Config, parse
from sidecar.contract.rundir import run_directory
from sidecar.contract.token import FILE, MAX_TTL_S, Tokens, checking, issuing

SECRET = "a secret of some length"
NOW = 1_800_000_000


def tokens(secret: str = SECRET, namespace: str = "default", now: int = NOW) -> Tokens:
    return Tokens(secret, namespace, lambda: now)


def config(**listen: object) -> Config:
    return parse({"pools": {"api": {"backends": ["http://127.0.0.1:1"]}}, "listen": listen}, {})


GOOD = tokens().issue(60)
FIRST, STAMP, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    ("later_s", "is_good"), [(0, True), (60, True), (61, False), (MAX_TTL_S, False), (-1, False), (-10_000, False)]
)
def test_a_token_is_good_for_as_long_as_it_was_issued_for(later_s: int, is_good: bool):
    assert tokens(now=NOW + later_s).is_good(GOOD.encode()) is is_good


def test_none_is_good_for_longer_than_a_day():
    token = tokens().issue(10 * MAX_TTL_S).encode()
    assert tokens(now=NOW + MAX_TTL_S).is_good(token)
    assert not tokens(now=NOW + MAX_TTL_S + 1).is_good(token)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (f"600.{STAMP}.{SIGNATURE}", "another time"),
        (f"{FIRST}.{tokens(now=NOW + 900).issue(60).split('.')[1]}.{SIGNATURE}", "another stamp"),
        (f"{FIRST}.{STAMP}.{SIGNATURE[:-2]}AA", "another signature"),
        (f"{FIRST}.{STAMP}", "no signature"),
        (GOOD + ", " + GOOD, "two lines of the field"),
        (tokens(secret="another of some length").issue(60), "another host's secret"),
        (tokens(namespace="other").issue(60), "another namespace"),
        ("", "nothing"),
    ],
)
def test_whatever_is_changed_it_is_no_token(token: str, why: str):
    assert not tokens().is_good(token.encode()), why


@given(st.binary(max_size=80))
def test_anything_may_be_asked(token: bytes):
    assert not tokens().is_good(token)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_byte_of_it_may_be_another_one(at: int, other: int):
    token = bytearray(GOOD.encode())
    token[at] ^= other
    # The last character of 32 bytes in base64 has two bits that say nothing: it may be written in several ways.
    if at < len(GOOD) - 1:
        assert not tokens().is_good(bytes(token))


def test_a_host_makes_its_secret_once_and_nobody_else_may_read_it(tmp_path: Path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert checking(config(), environ) is None
    token = issuing(config(), environ).issue(60).encode()
    known = checking(config(), environ)
    assert known is not None
    assert known.is_good(token)
    assert (run_directory("default", environ) / FILE).stat().st_mode & 0o777 == 0o600


def test_the_secret_in_the_config_is_that_of_the_whole_fleet(tmp_path: Path):
    fleet = config(explain_secret=SECRET)
    here, there = ({"XDG_RUNTIME_DIR": str(tmp_path / host)} for host in ("a", "b"))
    token = issuing(fleet, here).issue(60).encode()
    known = checking(fleet, there)
    assert known is not None
    assert known.is_good(token)
    assert not list(tmp_path.iterdir()), "nothing is kept"


def test_without_it_a_token_of_one_host_says_nothing_to_another(tmp_path: Path):
    here, there = ({"XDG_RUNTIME_DIR": str(tmp_path / host)} for host in ("a", "b"))
    token = issuing(config(), here).issue(60).encode()
    assert not issuing(config(), there).is_good(token)
