"""What probes make of a backend: the active health machine, judged by its promises."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.model import Backend, Health, Reading, Verdict, parse_address
from sidecar.schedule import Pace, Schedule
from sidecar.verdict import FLAP_CAP_S, Condition, Evidence, Policy, adopt, hold_s, judge, verdict_of

PASS = Evidence(passed=True, reason="HTTP 200")
FAIL = Evidence(passed=False, reason="HTTP 503")
REFUSED = Evidence(passed=False, reason="connection refused", refused=True)
DEGRADED = Evidence(passed=True, reason="says degraded", advertised=Health.DEGRADED)
DRAINING = Evidence(passed=True, reason="says draining", advertised=Health.DRAINING)
ENDING = Evidence(passed=False, reason="HTTP 503, says draining", advertised=Health.DRAINING)
ILL = Evidence(passed=False, reason="says unhealthy", advertised=Health.UNHEALTHY)
POLICY = Policy(fall=3, rise=2, fast_interval_s=0.25, slow_start_s=10.0)
HEALTHY = Condition(state=Health.HEALTHY, reason="HTTP 200", since=0.0, ok_streak=9, passing_since=0.0)
UNHEALTHY = Condition(state=Health.UNHEALTHY, reason="HTTP 503", since=0.0, fail_streak=3)

probed = [PASS, FAIL, REFUSED]
evidence = st.sampled_from([*probed, DEGRADED, DRAINING, ENDING, ILL])
policies = st.builds(
    Policy,
    fall=st.integers(1, 5),
    rise=st.integers(1, 5),
    fast_interval_s=st.floats(0.01, 1.0),
    slow_start_s=st.floats(0.0, 10.0),
)


def after(condition: Condition, *results: Evidence, policy: Policy = POLICY, start: float = 0.0) -> Condition:
    """The condition after these probes, one each second."""
    for place, result in enumerate(results):
        condition = judge(condition, result, policy, start + place).condition
    return condition


def test_nothing_is_known_before_the_first_probe():
    assert not Condition().is_known
    assert Condition().state is Health.UNKNOWN
    assert Condition().reason == "not probed yet"


@pytest.mark.parametrize(
    ("before", "results", "state", "reason"),
    [
        (Condition(), [PASS], Health.HEALTHY, "HTTP 200"),
        (Condition(), [FAIL], Health.UNKNOWN, "HTTP 503"),
        (Condition(), [FAIL, FAIL, FAIL], Health.UNHEALTHY, "HTTP 503"),
        (Condition(), [FAIL, PASS], Health.HEALTHY, "HTTP 200"),
        (HEALTHY, [FAIL, FAIL], Health.HEALTHY, "HTTP 200"),
        (HEALTHY, [FAIL, FAIL, FAIL], Health.UNHEALTHY, "HTTP 503"),
        (HEALTHY, [FAIL, FAIL, PASS, FAIL, FAIL], Health.HEALTHY, "HTTP 200"),
        (HEALTHY, [REFUSED], Health.HEALTHY, "HTTP 200"),
        (HEALTHY, [REFUSED, REFUSED], Health.UNHEALTHY, "connection refused"),
        (HEALTHY, [FAIL, REFUSED], Health.UNHEALTHY, "connection refused"),
        (UNHEALTHY, [PASS], Health.UNHEALTHY, "HTTP 503"),
        (UNHEALTHY, [PASS, PASS], Health.HEALTHY, "HTTP 200"),
        (UNHEALTHY, [PASS, FAIL, PASS], Health.UNHEALTHY, "HTTP 503"),
        (UNHEALTHY, [REFUSED], Health.UNHEALTHY, "HTTP 503"),
        (replace(HEALTHY, state=Health.DEGRADED), [PASS], Health.HEALTHY, "HTTP 200"),
        (replace(HEALTHY, state=Health.DEGRADED), [FAIL, FAIL, FAIL], Health.UNHEALTHY, "HTTP 503"),
        (replace(HEALTHY, state=Health.DRAINING), [PASS], Health.HEALTHY, "HTTP 200"),
        (replace(HEALTHY, state=Health.DRAINING), [FAIL, FAIL, FAIL], Health.UNHEALTHY, "HTTP 503"),
    ],
)
def test_the_table_of_transitions(before: Condition, results: list[Evidence], state: Health, reason: str):
    condition = after(before, *results)
    assert (condition.state, condition.reason) == (state, reason)


@pytest.mark.parametrize(
    ("before", "results", "state", "reason"),
    [
        (Condition(), [DEGRADED], Health.DEGRADED, "says degraded"),
        (HEALTHY, [DEGRADED], Health.DEGRADED, "says degraded"),
        (HEALTHY, [DRAINING], Health.DRAINING, "says draining"),
        (HEALTHY, [DRAINING, DEGRADED], Health.DEGRADED, "says degraded"),
        (HEALTHY, [DEGRADED, PASS], Health.HEALTHY, "HTTP 200"),
        (HEALTHY, [DRAINING, FAIL, FAIL], Health.DRAINING, "says draining"),
        (HEALTHY, [DRAINING, FAIL, FAIL, FAIL], Health.UNHEALTHY, "HTTP 503"),
        (HEALTHY, [ENDING], Health.DRAINING, "HTTP 503, says draining"),
        (HEALTHY, [ENDING] * 9, Health.DRAINING, "HTTP 503, says draining"),
        (HEALTHY, [ENDING, ENDING, REFUSED], Health.UNHEALTHY, "connection refused"),
        (HEALTHY, [replace(FAIL, advertised=Health.DEGRADED)], Health.HEALTHY, "HTTP 200"),
        (HEALTHY, [ILL], Health.UNHEALTHY, "says unhealthy"),
        (Condition(), [ILL], Health.UNHEALTHY, "says unhealthy"),
        (UNHEALTHY, [DEGRADED], Health.UNHEALTHY, "HTTP 503"),
        (UNHEALTHY, [PASS, DEGRADED], Health.DEGRADED, "says degraded"),
        (UNHEALTHY, [PASS, DRAINING], Health.DRAINING, "says draining"),
        (UNHEALTHY, [ENDING], Health.UNHEALTHY, "HTTP 503"),
        (UNHEALTHY, [PASS, ILL, PASS], Health.UNHEALTHY, "HTTP 503"),
    ],
)
def test_what_a_backend_says_of_itself_is_believed_at_once_except_on_the_way_up(
    before: Condition, results: list[Evidence], state: Health, reason: str
):
    condition = after(before, *results)
    assert (condition.state, condition.reason) == (state, reason)


@pytest.mark.parametrize(
    "wrong",
    [
        {"passed": True, "advertised": Health.UNHEALTHY},
        {"passed": False, "advertised": Health.UNKNOWN},
        {"passed": True, "advertised_weight": 1.1},
        {"passed": True, "advertised_weight": -0.1},
    ],
)
def test_evidence_that_contradicts_itself_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="advertise"):
        Evidence(reason="", **wrong)


def test_an_advertised_weight_counts_until_a_passing_probe_comes_without_it():
    backend = Backend(id="a", url="http://a:1", address=parse_address("http://a:1"), weight=3.0)
    half = replace(PASS, advertised_weight=0.5)
    weights = []
    condition = HEALTHY
    for result in (PASS, half, FAIL, half, PASS):
        condition = after(condition, result)
        weights.append(verdict_of(backend, condition, since_ms=0, now=0.0).weight)
    assert weights == [3.0, 1.5, 1.5, 1.5, 3.0]


def test_slow_start_goes_on_when_the_backend_calls_itself_degraded_in_it():
    assert after(UNHEALTHY, PASS, PASS, DEGRADED, PASS).ramp_s(3.0) == 8.0


def test_a_change_is_told_once_with_the_time_it_happened():
    flips = []
    condition = HEALTHY
    for now, result in enumerate([FAIL, FAIL, FAIL, FAIL, PASS, PASS, PASS]):
        judgement = judge(condition, result, POLICY, float(now))
        condition = judgement.condition
        if judgement.flipped:
            flips.append((judgement.before, condition.state, condition.since))
    assert flips == [(Health.HEALTHY, Health.UNHEALTHY, 2.0), (Health.UNHEALTHY, Health.HEALTHY, 5.0)]


def test_slow_start_follows_a_failure_and_not_the_first_pass():
    assert after(Condition(), PASS).ramp_s(0.0) == 0.0
    recovered = after(UNHEALTHY, PASS, PASS)
    assert recovered.ramp_s(1.0) == 10.0
    assert recovered.ramp_s(5.0) == 6.0
    assert recovered.ramp_s(99.0) == 0.0


def test_without_slow_start_there_is_no_ramp():
    assert after(UNHEALTHY, PASS, PASS, policy=replace(POLICY, slow_start_s=0.0)).ramp_s(1.0) == 0.0


def test_a_backend_that_fell_in_its_slow_start_is_not_ramping():
    assert after(UNHEALTHY, PASS, PASS, REFUSED, REFUSED).ramp_s(3.0) == 0.0


@pytest.mark.parametrize(
    ("condition", "in_doubt"),
    [
        (Condition(), True),
        (after(Condition(), FAIL), True),
        (HEALTHY, False),
        (after(HEALTHY, FAIL), True),
        (UNHEALTHY, False),
        (after(UNHEALTHY, FAIL), False),
        (after(UNHEALTHY, PASS), True),
        (after(replace(HEALTHY, state=Health.DEGRADED), FAIL), True),
        (after(HEALTHY, DRAINING), False),
        (after(HEALTHY, ILL), False),
    ],
)
def test_it_is_in_doubt_while_the_probes_speak_against_the_state(condition: Condition, in_doubt: bool):
    assert condition.is_in_doubt is in_doubt


def falls(times: int, every_s: float) -> Condition:
    """A backend that went down so many times, and is down."""
    condition = HEALTHY
    for place in range(times):
        now = place * every_s
        if condition.state is Health.UNHEALTHY:
            condition = replace(condition, state=Health.HEALTHY, fail_streak=0)
        condition = after(condition, REFUSED, REFUSED, start=now)
    return condition


def test_two_falls_within_a_minute_are_forgiven():
    condition = falls(2, every_s=10.0)
    assert condition.reason == "connection refused"
    assert after(condition, PASS, PASS, start=20.0).state is Health.HEALTHY


def test_each_further_fall_doubles_the_time_to_pass_up_to_the_cap():
    policy = replace(POLICY, fast_interval_s=0.5)
    assert [hold_s(count, policy) for count in range(1, 7)] == [0, 0, 1, 2, FLAP_CAP_S, FLAP_CAP_S]


def test_a_flapping_backend_must_pass_for_longer_and_says_so():
    condition = falls(5, every_s=2.0)
    assert condition.reason == "connection refused; fell 5 times within 60 s: must pass for 2 s"
    condition = after(condition, PASS, PASS, start=20.0)
    assert condition.state is Health.UNHEALTHY
    assert after(condition, PASS, start=22.0).state is Health.HEALTHY


def test_a_fail_in_between_starts_the_time_to_pass_anew():
    condition = after(falls(5, every_s=2.0), PASS, PASS, FAIL, PASS, PASS, start=20.0)
    assert condition.state is Health.UNHEALTHY
    assert after(condition, PASS, start=25.0).state is Health.HEALTHY


def test_falls_of_more_than_a_minute_ago_are_forgotten():
    condition = falls(5, every_s=40.0)
    assert len(condition.falls) == 2
    assert condition.reason == "connection refused"


def test_a_backend_that_was_never_up_has_not_fallen():
    assert after(Condition(), REFUSED, REFUSED).falls == ()


def test_a_new_leader_goes_on_where_the_last_one_stopped():
    verdict = Verdict(id="a", url="http://a", state=Health.HEALTHY, reason="HTTP 204", since_ms=5)
    own = replace(UNHEALTHY, falls=(1.0, 2.0))
    own = replace(own, advertised_weight=0.5)
    condition = adopt(own, verdict, Reading(fail_streak=2), since=-7.0, ramp_s=4.0, now=50.0)
    assert condition.advertised_weight == 0.5
    assert (condition.state, condition.reason, condition.since) == (Health.HEALTHY, "HTTP 204", -7.0)
    assert condition.ramp_s(51.0) == 3.0
    assert condition.falls == (1.0, 2.0)
    assert after(condition, FAIL, start=51.0).state is Health.UNHEALTHY


def test_adopted_passes_count_towards_the_rise():
    verdict = Verdict(id="a", url="http://a", state=Health.UNHEALTHY, reason="HTTP 503", since_ms=5)
    condition = adopt(Condition(), verdict, Reading(ok_streak=1), since=0.0, ramp_s=0.0, now=50.0)
    assert after(condition, PASS, start=51.0).state is Health.HEALTHY


def test_the_view_gets_what_it_needs_of_a_condition():
    backend = Backend(id="a", url="http://a:1", address=parse_address("http://a:1"), weight=3.0)
    verdict = verdict_of(backend, after(UNHEALTHY, PASS, PASS), since_ms=77, now=3.5)
    assert verdict == Verdict(
        id="a", url="http://a:1", state=Health.HEALTHY, reason="HTTP 200", since_ms=77, ramp_ms=7500, weight=3.0
    )


@given(results=st.lists(evidence), policy=policies.filter(lambda policy: policy.fall > 1))
def test_no_single_failed_probe_flips_a_healthy_backend(results: list[Evidence], policy: Policy):
    condition = Condition()
    for now, (result, before) in enumerate(zip(results, [PASS, *results], strict=False)):
        judgement = judge(condition, result, policy, float(now))
        says_so = result.advertised not in {None, Health.HEALTHY}
        if condition.state is Health.HEALTHY and before.passed and not result.refused and not says_so:
            assert not judgement.flipped
        condition = judgement.condition


@given(results=st.lists(evidence), policy=policies)
def test_streaks_exclude_each_other_and_state_changes_alternate(results: list[Evidence], policy: Policy):
    condition, states = Condition(), [Health.UNKNOWN]
    for now, result in enumerate(results):
        condition = judge(condition, result, policy, float(now)).condition
        assert not (condition.ok_streak and condition.fail_streak)
        assert condition.is_known
        if condition.state is not states[-1]:
            states.append(condition.state)
    assert all(Health.UNKNOWN not in pair for pair in pairwise(states[1:]))


@given(results=st.lists(evidence, max_size=30), policy=policies, answer=st.sampled_from(probed))
def test_the_time_to_a_verdict_is_bounded_whatever_came_before(
    results: list[Evidence], policy: Policy, answer: Evidence
):
    """From the next probe on: `fall` or `rise` of them at the fast interval, and what flapping adds.

    The first one comes after the interval that was due, which is not part of it.
    """
    interval_s, timeout_s = max(1.0, policy.fast_interval_s), 1.0
    condition = after(Condition(), *results, policy=policy)
    plan = Schedule("a", interval_s=interval_s, fast_interval_s=policy.fast_interval_s, now=0.0)
    now = started = float(len(results))
    target = Health.HEALTHY if answer.passed else Health.UNHEALTHY
    while condition.state is not target:
        now += plan.wait_s("a", now) or 0.0
        plan.begin("a", now)
        now += timeout_s
        condition = judge(condition, answer, policy, now).condition
        plan.end("a", now, pace=Pace.FAST if condition.is_in_doubt else Pace.DOWN, draw=0.999)
        needed = policy.rise if answer.passed else policy.fall
        limit_s = (needed + 1) * (timeout_s + 1.1 * policy.fast_interval_s)
        if answer.passed:
            limit_s += hold_s(len(condition.falls), policy) + timeout_s
        assert now - started <= limit_s


@given(streams=st.dictionaries(st.sampled_from("abc"), st.lists(evidence), min_size=2), data=st.data())
def test_a_verdict_does_not_depend_on_when_other_backends_answered(
    streams: dict[str, list[Evidence]], data: st.DataObject
):
    timed = {name: list(enumerate(results)) for name, results in streams.items()}
    order = data.draw(st.permutations([(name, *entry) for name, entries in timed.items() for entry in entries]))
    mixed = {name: Condition() for name in streams}
    for name, now, result in sorted(order, key=lambda entry: entry[1]):
        mixed[name] = judge(mixed[name], result, POLICY, float(now)).condition
    assert mixed == {name: after(Condition(), *results) for name, results in streams.items()}
