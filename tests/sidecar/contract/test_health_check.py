"""What a health check may say, and what is refused by the name of its key."""

from typing import Any

import pytest

from sidecar.contract.config import ConfigError, HealthCheck, parse


def problems(check: dict[str, Any], url: str = "https://10.0.0.1") -> list[str]:
    """What is wrong with a pool of this check; each line without the part that all share."""
    try:
        parse({"pools": {"api": {"backends": [url], "health_check": check}}}, {})
    except ConfigError as error:
        return [problem.removeprefix("pools.api.health_check.") for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "check",
    [
        {"method": "OPTIONS", "host": "api.test:81", "headers": {"Authorization": "Bearer x"}, "expected_body": "ok"},
        {"type": "sse", "path": "/events", "host": "[::1]:80", "headers": {"X-Empty": ""}},
        {"type": "websocket", "path": "/ws?a=1", "headers": {"Origin": "https://a.test"}},
        {"type": "tcp", "down_interval_s": 30},
        {"type": "tls"},
    ],
)
def test_each_type_takes_the_keys_that_fit_it(check: dict[str, Any]):
    assert problems(check) == []


@pytest.mark.parametrize("kind", ["tcp", "tls", "websocket", "sse"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "GET"),
        ("path", "/"),
        ("host", "a"),
        ("headers", {}),
        ("expected_statuses", "200"),
        ("expected_body", "ok"),
    ],
)
def test_a_key_that_says_nothing_to_the_type_is_refused(kind: str, key: str, value: object):
    speaks_http = kind in {"websocket", "sse"} and key in {"path", "host", "headers"}
    expected = [] if speaks_http else [f"{key}: a probe of type {kind} has no {key}"]
    assert problems({"type": kind, key: value}) == expected


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ({"method": "CONNECT"}, "method: a CONNECT asks for a tunnel, not for an answer"),
        ({"method": "HEAD", "expected_body": "ok"}, "expected_body: the answer to HEAD has no body"),
        ({"headers": {"host": "x"}}, "headers: the Host field has a key of its own: host"),
        ({"headers": {"Sec-WebSocket-Key": "x"}}, "headers: 'Sec-WebSocket-Key' is set by the probe itself"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers: 'Transfer-Encoding' is set by the probe itself"),
        ({"headers": {"A": "1", "a": "2"}}, "headers: 'a' stands twice"),
        ({"headers": {"A": "1\r\nB: 2"}}, "headers: 'A' is not a field that can be sent"),
        ({"headers": {"A B": "1"}}, "headers: 'A B' is not a field that can be sent"),
        ({"host": "a b"}, "host: "),
        ({"down_interval_s": 0}, "down_interval_s: "),
        ({"type": "grpc", "path": "/"}, "type: "),
    ],
)
def test_what_cannot_be_asked_is_refused(check: dict[str, Any], problem: str):
    (told,) = problems(check)
    assert told.startswith(problem)


def test_a_backend_without_tls_cannot_be_probed_for_it():
    told = problems({"type": "tls"}, "http://10.0.0.1:80")
    assert told == ["pools.api: health_check.type is tls, but http://10.0.0.1:80 is not https"]


def test_who_expects_something_is_not_lenient():
    assert HealthCheck(method="HEAD").is_lenient
    assert not HealthCheck(expected_body="ok").is_lenient
    assert HealthCheck(expected_body="ok").status_ranges == [(200, 399)]
