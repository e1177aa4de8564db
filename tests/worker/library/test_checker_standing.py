"""What users read of a view: the same choice as a worker's."""

from dataclasses import replace

import pytest

from sidecar.contract.model import Admin, Health, Verdict, View
from worker.library.checker.standing import statuses
from worker.view import STALE_S, Knowledge

TIMES = {"a": 12.0, "b": 7.0}


def verdict(name: str, state: Health, **more: object) -> Verdict:
    return replace(Verdict(id=name, url=f"http://{name}"), state=state, **more)  # type: ignore[arg-type]


def seen(*verdicts: Verdict, now: float = 0.0) -> dict[str, float | bool]:
    knowledge = Knowledge()
    if verdicts:
        knowledge.offer(View(epoch=1, store_id="s", backends={each.id: each for each in verdicts}), 0.0, 0.0)
    return statuses({"http://a": "a", "http://b": "b"}, knowledge, TIMES, now)


A_WELL = verdict("a", Health.HEALTHY)


@pytest.mark.parametrize(
    "other",
    [
        verdict("b", Health.UNHEALTHY),
        verdict("b", Health.DRAINING),
        verdict("b", Health.UNKNOWN),
        verdict("b", Health.HEALTHY, admin=Admin.DRAIN),
        verdict("b", Health.HEALTHY, weight=0.0),
        verdict("b", Health.HEALTHY, ejected_ms=1_000),
    ],
)
def test_beside_a_backend_that_is_well_others_are_down(other: Verdict):
    assert seen(A_WELL, other) == {"http://a": 12.0, "http://b": False}


def test_one_that_is_degraded_has_its_milliseconds():
    assert seen(A_WELL, verdict("b", Health.DEGRADED)) == {"http://a": 12.0, "http://b": 7.0}


def test_an_ejection_ends_with_its_time():
    assert seen(A_WELL, verdict("b", Health.HEALTHY, ejected_ms=1_000), now=1.5)["http://b"] == 7.0


def test_where_all_fail_nobody_is_left():
    assert seen(verdict("a", Health.UNHEALTHY), verdict("b", Health.UNHEALTHY)) == {
        "http://a": False,
        "http://b": False,
    }


def test_where_nothing_is_known_everybody_counts():
    assert seen() == {"http://a": 12.0, "http://b": 7.0}


def test_news_too_old_to_believe_leave_those_last_seen_failing_for_the_last():
    late = STALE_S + 1
    assert seen(A_WELL, verdict("b", Health.UNHEALTHY), now=late) == {"http://a": 12.0, "http://b": False}
    failing = verdict("a", Health.UNHEALTHY), verdict("b", Health.UNHEALTHY, admin=Admin.MAINT)
    assert seen(*failing, now=late) == {"http://a": 12.0, "http://b": False}
