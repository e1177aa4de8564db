"""What a backend says of itself, and what is made of it."""

import pytest

from sidecar.contract.model import Health
from sidecar.probe.advertised import heed
from sidecar.verdict import Evidence

PASS = Evidence(passed=True, answered=True, reason="HTTP 200")
FAIL = Evidence(passed=False, answered=True, reason="HTTP 503")


@pytest.mark.parametrize(
    ("evidence", "text", "passed", "state", "reason"),
    [
        (PASS, None, True, None, "HTTP 200"),
        (PASS, "healthy", True, Health.HEALTHY, "HTTP 200"),
        (PASS, " Degraded ", True, Health.DEGRADED, "HTTP 200, the backend says degraded"),
        (PASS, "DRAINING", True, Health.DRAINING, "HTTP 200, the backend says draining"),
        (PASS, "unhealthy", False, Health.UNHEALTHY, "HTTP 200, the backend says unhealthy"),
        (FAIL, "draining", False, Health.DRAINING, "HTTP 503, the backend says draining"),
        (PASS, "unknown", True, None, "HTTP 200 (X-Health-State 'unknown' is no state)"),
        (PASS, "healthy, degraded", True, None, "HTTP 200 (X-Health-State 'healthy, degraded' is no state)"),
    ],
)
def test_a_state_is_heeded_and_what_is_none_is_told(
    evidence: Evidence, text: str | None, passed: bool, state: Health | None, reason: str
):
    told = heed(evidence, text, None)
    assert (told.passed, told.advertised, told.reason, told.answered) == (passed, state, reason, True)


@pytest.mark.parametrize(
    ("text", "factor"),
    [("0.5", 0.005), ("75", 0.75), ("75%", 0.75), (" 12.5 % ", 0.125), ("100", 1.0), ("100.0%", 1.0)],
)
def test_a_weight_is_a_percentage_of_the_configured_one(text: str, factor: float):
    told = heed(PASS, None, text)
    assert (told.advertised_weight, told.reason) == (factor, "HTTP 200")


@pytest.mark.parametrize(
    ("evidence", "state", "told", "reason"),
    [
        (PASS, None, Health.DRAINING, "HTTP 200, the backend asks for no work"),
        (PASS, "draining", Health.DRAINING, "HTTP 200, the backend says draining"),
        (PASS, "unhealthy", Health.UNHEALTHY, "HTTP 200, the backend says unhealthy"),
        (FAIL, None, None, "HTTP 503"),
    ],
)
def test_no_weight_is_draining_so_that_a_pool_of_such_backends_still_answers(
    evidence: Evidence, state: str | None, told: Health | None, reason: str
):
    found = heed(evidence, state, "0%")
    assert (found.advertised, found.advertised_weight, found.reason) == (told, None, reason)


@pytest.mark.parametrize("text", ["", "-1", "101", "100.5", "1e2", "nan", "half", "50, 60", "\u0665", "9" * 400])
def test_a_weight_that_is_none_is_ignored_and_told(text: str):
    told = heed(PASS, None, text)
    assert told.advertised_weight is None
    assert told.reason == f"HTTP 200 (X-Health-Weight {text[:20]!r} is no percentage from 0 to 100)"
