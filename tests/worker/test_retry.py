"""The retry table: which failure frees which request for another try, and how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.recent import WINDOW_S
from worker.failure import RETRY_CONDITION, Failure, Stage
from worker.retry import GATEWAY_ERRORS, IDEMPOTENT, Budget, RetryRules

EVERYTHING = ("connect_failure", "reset", "gateway_error", "timeout")
CONNECT = [failure for failure in Failure if failure.stage is Stage.CONNECT]
LATER = [Failure.RESET, Failure.RESPONSE_TIMEOUT, Failure.GATEWAY_ERROR]
FINAL = [failure for failure in Failure if failure not in CONNECT + LATER]


def allows(failure, *, repeatable, retry_on=EVERYTHING, num_retries=1, connect_retries=2, connects=0, others=0):
    """Asked after a failed attempt, which ``connects`` or ``others`` already counts."""
    rules = RetryRules(retry_on=retry_on, num_retries=num_retries, connect_retries=connect_retries)
    return rules.allows(failure, repeatable=repeatable, connect_failures=connects, other_failures=others)


def test_the_table_knows_every_failure_that_comes_before_the_first_byte():
    assert set(RETRY_CONDITION) == {*CONNECT, *LATER}
    assert set(RETRY_CONDITION.values()) == set(EVERYTHING)


@pytest.mark.parametrize("failure", CONNECT)
@pytest.mark.parametrize("repeatable", [True, False])
def test_a_connect_failure_frees_any_method_as_often_as_configured(failure, repeatable):
    """Nothing was sent, so nothing can be done twice."""
    assert [allows(failure, repeatable=repeatable, connects=count) for count in (1, 2, 3)] == [True, True, False]
    assert not allows(failure, repeatable=repeatable, connects=1, connect_retries=0)


@pytest.mark.parametrize("failure", LATER)
def test_what_fails_later_needs_a_request_that_may_be_repeated(failure):
    """RFC 9110 §9.2.2."""
    assert [allows(failure, repeatable=True, others=count) for count in (1, 2)] == [True, False]
    assert not allows(failure, repeatable=True, others=1, num_retries=0)
    assert not allows(failure, repeatable=False, others=1)


@pytest.mark.parametrize("failure", FINAL)
def test_everything_else_is_final(failure):
    """A client's fault, ours, or bytes that were already passed on."""
    assert not allows(failure, repeatable=True, connects=1, others=1, num_retries=9, connect_retries=9)


def test_the_two_kinds_of_failure_are_counted_apart():
    assert allows(Failure.RESET, repeatable=True, connects=2, others=1)
    assert allows(Failure.REFUSED, repeatable=True, connects=1, others=1)


@pytest.mark.parametrize("failure", CONNECT + LATER)
def test_only_configured_conditions_count(failure):
    condition = RETRY_CONDITION[failure]
    others = [word for word in EVERYTHING if word != condition]
    assert allows(failure, repeatable=True, connects=1, others=1, retry_on=[condition])
    assert not allows(failure, repeatable=True, connects=1, others=1, retry_on=others)
    assert not allows(failure, repeatable=True, connects=1, others=1, retry_on=[])


@pytest.mark.parametrize(
    ("retry_on", "num_retries", "statuses"),
    [
        (EVERYTHING, 1, {502, 503, 504}),
        (EVERYTHING, 0, set()),
        (["reset"], 1, set()),
        ([], 1, set()),
    ],
)
def test_the_statuses_worth_another_try_are_named_only_where_there_may_be_one(retry_on, num_retries, statuses):
    """RFC 9110 §15.6.3-5; 500 is the application's answer, and 501 would be the same elsewhere."""
    rules = RetryRules(retry_on=retry_on, num_retries=num_retries, connect_retries=2)
    assert rules.gateway_errors == statuses
    assert {502, 503, 504} == GATEWAY_ERRORS


def test_idempotent_methods_are_those_of_the_rfc():
    """RFC 9110 §9.2.2; an unknown method or another case of a known one is not."""
    assert {b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"} == IDEMPOTENT


# The budget


def test_a_budget_is_a_share_of_the_requests():
    budget = Budget(0.2, 0.0, 0.0, 0, 0)
    assert not budget.allows(1.0, 4, 0)
    assert budget.allows(1.0, 5, 0)
    assert not budget.allows(1.0, 5, 1)
    assert budget.allows(1.0, 10, 1)


def test_beyond_its_share_a_budget_has_a_floor_for_the_whole_window():
    budget = Budget(0.0, 3.0, 0.0, 0, 0)
    assert [spent for spent in range(100) if budget.allows(1.0, 0, spent)] == list(range(30))


def test_without_share_and_floor_nothing_is_allowed():
    assert not Budget(0.0, 0.0, 0.0, 0, 0).allows(1.0, 1_000_000, 0)


def test_what_was_spent_long_ago_is_forgotten():
    budget = Budget(0.0, 1.0, 0.0, 0, 0)
    assert not budget.allows(1.0, 0, 10)
    for second in range(1, 13):
        budget.note(float(second), 0, 10)
    assert budget.allows(12.0, 0, 10)


def test_what_was_counted_before_the_worker_came_is_none_of_its_budget():
    budget = Budget(0.2, 0.0, 0.0, 1_000_000, 1_000)
    assert not budget.allows(1.0, 1_000_000, 1_000)
    assert budget.allows(1.0, 1_000_005, 1_000)


@given(
    st.lists(st.tuples(st.floats(0.0, 0.5), st.integers(0, 30)), max_size=100),
    st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    st.sampled_from([0.0, 0.3, 10.0]),
)
def test_where_everything_fails_load_grows_by_no_more_than_the_budget(waves, ratio, per_s):
    """Each request fails, and each asks for another attempt: over any ten seconds no more are made than allowed."""
    budget = Budget(ratio, per_s, 0.0, 0, 0)
    now = requests = extra = 0.0
    made, spent = [], []
    for pause, count in waves:
        now += pause
        for _ in range(count):
            requests += 1
            made.append(now)
            if budget.allows(now, int(requests), int(extra)):
                extra += 1
                spent.append(now)
        budget.note(now, int(requests), int(extra))
    total_s = now
    windows = int(total_s // WINDOW_S) + 1
    assert len(spent) <= ratio * len(made) + per_s * WINDOW_S * windows
