"""Limits that contradict each other are refused, where both were written down."""

from typing import Any

import pytest

from sidecar.contract.config import Config, ConfigError, parse


def config(**pool: dict[str, Any]) -> Config:
    return parse({"pools": {"api": {"backends": ["http://127.0.0.1:1"], **pool}}}, {})


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ({"timeouts": {"response_headers_s": 2, "overall_s": 1}}, "timeouts.response_headers_s"),
        ({"timeouts": {"overall_s": 1}, "retry": {"per_try_timeout_s": 2}}, "retry.per_try_timeout_s"),
        ({"timeouts": {"response_headers_s": 1}, "retry": {"per_try_timeout_s": 2}}, "retry.per_try_timeout_s"),
    ],
)  # fmt: skip
def test_one_that_another_always_comes_before_is_refused_and_both_are_named(pool: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as refused:
        config(**pool)
    assert said in str(refused.value)
    assert "pools.api" in str(refused.value)


@pytest.mark.parametrize(
    "pool",
    [
        {"timeouts": {"overall_s": 0.5}},  # the others are defaults
        {"timeouts": {"connect_s": 2, "overall_s": 0}},  # none
        {"timeouts": {"connect_s": 1, "overall_s": 1}},
        {"timeouts": {"overall_s": 1}, "retry": {"per_try_timeout_s": 0}},
    ],
)
def test_defaults_equals_and_none_contradict_nothing(pool: dict[str, Any]):
    assert list(config(**pool).pools) == ["api"]
