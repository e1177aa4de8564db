"""The retry table: which failure frees which request for another try, and how often."""

import pytest

from worker.failure import RETRY_CONDITION, Failure, Stage
from worker.retry import GATEWAY_ERRORS, IDEMPOTENT, RetryRules

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
