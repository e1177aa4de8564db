"""What evidence takes a backend out, for how long, and where it is between in and out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.config.pools import OutlierDetection
from worker.failure import Failure
from worker.outlier import (
    EVIDENCE,
    JITTER,
    MAX_PAUSE_S,
    Phase,
    Rules,
    Standing,
    Window,
    ejection_s,
    is_bad,
    is_hard,
    leaves_enough,
    past_ejections,
    pause_s,
    reason,
)

NOW = 1000.0
RULES = Rules()


# Evidence


@pytest.mark.parametrize("failure", [each for each in Failure if not each.blames_backend])
def test_what_is_not_the_backends_fault_is_no_evidence(failure: Failure):
    assert failure not in EVIDENCE
    assert not is_hard(failure, fresh=True)


def test_a_stream_that_pauses_is_no_evidence_though_we_end_it():
    assert {each for each in Failure if each.blames_backend} - EVIDENCE == {Failure.IDLE_TIMEOUT}


def test_a_backend_that_nobody_answers_for_is_known_by_one_failure():
    hard = {each for each in Failure if is_hard(each, fresh=True)}
    assert hard - {each for each in Failure if is_hard(each, fresh=False)} == {Failure.RESET}
    assert hard == {Failure.REFUSED, Failure.UNREACHABLE, Failure.CONNECT_TIMEOUT, Failure.TLS, Failure.RESET}


@pytest.mark.parametrize(
    ("status", "bad"),
    [(200, False), (404, False), (429, False), (499, False), (500, True), (501, False), (503, True), (505, False),
     (507, True), (599, True)],
)  # fmt: skip
def test_a_server_error_is_evidence_unless_it_is_about_the_request(status: int, bad: bool):
    assert is_bad(status) is bad


@pytest.mark.parametrize(
    ("status", "fields", "pause"),
    [
        (503, b"Retry-After: 7\r\n", 7),
        (503, b"Server: x\r\nretry-after:\t120 \r\nDate: y\r\n", MAX_PAUSE_S),
        (503, b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", 0),
        (503, b"Retry-After: -1\r\n", 0),
        (503, b"X-Retry-After: 7\r\n", 0),
        (503, b"Retry-After: 0\r\n", 0),
        (503, b"", 0),
        (429, b"Retry-After: 7\r\n", 0),
    ],
)
def test_a_pause_is_given_to_who_asks_for_it_in_seconds_and_not_for_ever(status: int, fields: bytes, pause: float):
    assert pause_s(status, fields) == pause


# Rules


def test_the_rules_are_the_files_own():
    assert Rules(**OutlierDetection().model_dump()) == RULES


@pytest.mark.parametrize(
    ("streak", "failed", "requests", "why"),
    [
        (4, 4, 4, ""),
        (5, 5, 5, "5 failures in a row"),
        (1, 10, 20, "10 of 20 requests failed in 3.0 s"),
        (1, 9, 20, ""),
        (1, 19, 19, ""),
    ],
)
def test_either_rule_ejects_and_says_why(streak: int, failed: int, requests: int, why: str):
    assert reason(RULES, streak, failed, requests, 3.0) == why


def test_a_failure_is_weighed_against_what_went_well_since_the_window_began():
    window = Window(10.0)
    assert window.since(NOW, 0, 100) == (1, 1, 0)  # what went well before the first failure is not in it
    assert window.since(NOW + 4, 1, 130) == (2, 32, 4)
    assert window.since(NOW + 9, 2, 190) == (3, 93, 9)
    assert window.since(NOW + 13, 3, 190) == (3, 63, 9)


def test_what_was_forgiven_counts_no_more():
    window = Window(10.0)
    for count in range(15):
        window.since(NOW, count, 0)
    assert window.since(NOW + 2, 15, 1, forgiven_at=NOW + 1) == (1, 1, 0)


@given(
    gaps=st.lists(st.floats(0, 12), min_size=1, max_size=60),
    answered=st.lists(st.integers(0, 50), min_size=60, max_size=60),
)
def test_a_window_never_tells_of_more_than_there_was_nor_of_longer_ago(gaps: list[float], answered: list[int]):
    window, now, good = Window(10.0), NOW, 0
    times: list[float] = []
    for bad, (gap, more) in enumerate(zip(gaps, answered, strict=False)):
        now, good = now + gap, good + more
        times.append(now)
        failed, requests, over_s = window.since(now, bad, good)
        assert 1 <= failed <= requests
        assert 0 <= over_s <= 10
        assert failed == sum(at >= now - over_s for at in times)


# How long


@given(past=st.integers(0, 2_000), draw=st.floats(0, 1))
def test_an_ejection_doubles_up_to_its_cap(past: int, draw: float):
    expected = min(5.0 * 2.0 ** min(past, 10), 60.0)
    assert expected * (1 - JITTER) <= ejection_s(RULES, past, draw) <= expected * (1 + JITTER) + 1e-9


@pytest.mark.parametrize(("clean_s", "left"), [(0, 3), (59, 3), (60, 2), (130, 1), (1e6, 0)])
def test_an_ejection_is_forgotten_after_the_longest_of_them_spent_well(clean_s: float, left: int):
    back = Standing(ejections=3, readmitted_at=NOW)
    assert past_ejections(RULES, back, NOW + clean_s) == left


def test_nothing_is_forgotten_while_it_is_out():
    assert past_ejections(RULES, Standing(ejections=3, ejected_until=NOW + 1), NOW + 1e6) == 3


# The cap


@pytest.mark.parametrize(
    ("members", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)]
)  # fmt: skip
def test_half_of_a_pool_may_be_out_and_never_the_last(members: int, most: int):
    assert [out for out in range(members) if leaves_enough(RULES, out, members)] == list(range(most))


@given(members=st.integers(1, 50), ratio=st.floats(0, 1))
def test_somebody_is_always_left_whatever_the_ratio(members: int, ratio: float):
    rules, out = Rules(max_ejected_ratio=ratio), 0
    while leaves_enough(rules, out, members):
        out += 1
    assert out < members
    assert out <= ratio * members + 1e-6


def test_a_ratio_is_taken_as_it_is_written():
    """0.29 * 100 is less than 29 in binary."""
    assert leaves_enough(Rules(max_ejected_ratio=0.29), 28, 100)
    assert not leaves_enough(Rules(max_ejected_ratio=0.29), 29, 100)


# Phases


@pytest.mark.parametrize(
    ("standing", "phase", "change"),
    [
        (Standing(), Phase.IN, float("inf")),
        (Standing(readmitted_at=NOW - 1, ejections=2, skip_until=NOW + 1), Phase.IN, NOW + 1),
        (Standing(ejected_until=NOW + 5), Phase.OUT, NOW + 5),
        (Standing(ejected_until=NOW), Phase.PROBATION, float("inf")),
        (Standing(ejected_until=NOW - 1, canary_until=NOW + 2), Phase.TRIAL, NOW + 2),
        (Standing(ejected_until=NOW - 1, canary_until=NOW), Phase.PROBATION, float("inf")),
    ],
)
def test_a_backend_goes_from_out_to_probation_and_is_tried_by_one(standing: Standing, phase: Phase, change: float):
    assert (standing.phase(NOW), standing.next_change(NOW)) == (phase, change)
