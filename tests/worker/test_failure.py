"""Every failure is a whole record, and the tables over it agree with each other."""

from http import HTTPStatus

import pytest

from worker.failure import REASONS, RETRY_CONDITION, STATUS, Failure, Refused, Side, Stage

WITHOUT_ANSWER = {
    Failure.CLIENT_GONE,  # there is nobody to answer
    Failure.GATEWAY_ERROR,  # the backend's own answer is passed on
    Failure.CUT_SHORT,  # and these came after an answer had begun
    Failure.BAD_BODY,
    Failure.IDLE_TIMEOUT,
}


@pytest.mark.parametrize("failure", Failure)
def test_a_failure_has_a_stage_a_side_and_a_name_that_fits_a_header(failure):
    assert isinstance(failure.stage, Stage)
    assert isinstance(failure.side, Side)
    assert failure.text.replace("_", "a").isalpha()
    assert failure.text.islower()


def test_names_are_told_apart():
    assert len({failure.text for failure in Failure}) == len(Failure) == len(Failure.__members__)


def test_every_failure_that_can_be_answered_has_a_status_and_a_reason():
    """RFC 9110 §15; what cannot be is listed here with why."""
    assert set(STATUS) == set(Failure) - WITHOUT_ANSWER
    assert set(REASONS) == set(STATUS.values())
    assert {failure for failure in Failure if failure.stage is Stage.BODY} <= WITHOUT_ANSWER


@pytest.mark.parametrize(("status", "reason"), REASONS.items())
def test_reasons_are_those_of_the_registry(status, reason):
    """RFC 9110 §15 calls 413 Content Too Large; Python before 3.13 still has the name of RFC 7231."""
    names = {413: "Content Too Large", 414: "URI Too Long"}
    assert reason == names.get(status, HTTPStatus(status).phrase)


@pytest.mark.parametrize("failure", [failure for failure in STATUS if failure is not Failure.LAST_HOP])
def test_a_status_says_whose_fault_it_was(failure):
    """RFC 9110 §15.5, §15.6: 4xx the client's, 5xx anybody else's; 404 is ours to say, and still about the request."""
    is_clients = failure.side is Side.CLIENT or failure is Failure.NO_ROUTE
    assert (400 <= STATUS[failure] < 500) is is_clients
    assert is_clients or 500 <= STATUS[failure] < 600


@pytest.mark.parametrize("failure", Failure)
def test_only_the_backends_own_failures_blame_it(failure):
    """A client that goes away, sends nonsense or is slow is never evidence."""
    assert failure.blames_backend is (failure.stage in (Stage.CONNECT, Stage.HEAD, Stage.BODY))
    assert failure not in RETRY_CONDITION or failure.blames_backend


def test_a_refusal_carries_its_failure_and_keeps_the_reason_for_the_log():
    refused = Refused(Failure.LOOP, "seen before")
    assert (refused.failure, str(refused)) == (Failure.LOOP, "seen before")
