"""How long a connection may rest: what backends say, what they do, and how an error is got over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.upstream.idle import (
    FADE_S,
    LEAST_S,
    MAX_PROOFS,
    MAX_S,
    START_S,
    TOGETHER_S,
    IdleLimit,
    below,
)

ages = st.floats(min_value=0.0, max_value=200.0)
plausible = st.floats(min_value=LEAST_S, max_value=200.0)


def told(*fields: bytes) -> IdleLimit:
    limit = IdleLimit()
    for field in fields:
        limit.tell(field)
    return limit


@pytest.mark.parametrize(
    ("field", "rest_s"),
    [
        (b"timeout=5", 4.0),
        (b"timeout=5, max=100", 4.0),
        (b"max=100, timeout=3", 2.0),
        (b"Timeout = 10", 9.0),
        (b'timeout="15"', 14.0),
        (b"timeout=2", 1.0),
        (b"timeout=1", 0.5),
        (b"timeout=0", 0.0),
        (b"timeout=61", 60.0),
        (b"timeout=86400", MAX_S),
        (b"timeout=999999999999", MAX_S),
    ],
)
def test_what_a_backend_says_sets_the_limit_below_it(field: bytes, rest_s: float):
    assert told(field).rest_s(0.0) == rest_s


@pytest.mark.parametrize("field", [b"", b"max=100", b"timeout", b"timeout=", b"timeout=soon", b"notimeout=9", b"-1"])
def test_what_says_nothing_of_time_changes_nothing(field: bytes):
    assert told(field).rest_s(0.0) == START_S
    assert told(b"timeout=30", field).rest_s(0.0) == 29.0


def test_only_news_is_news():
    """It stands on every response of some servers."""
    limit = IdleLimit()
    assert [limit.tell(field) for field in (b"timeout=5", b"timeout=5", b"timeout=6", b"max=3")] == [
        True, False, True, False,
    ]  # fmt: skip


def test_a_close_teaches_to_rest_for_less_at_once():
    limit = IdleLimit()
    assert limit.closed(2.0, 100.0)
    assert limit.rest_s(100.0) == 1.0


def test_a_close_after_a_long_rest_does_not_raise_the_limit():
    limit = IdleLimit()
    limit.closed(50.0, 100.0)
    assert limit.rest_s(100.0) == START_S


def test_what_is_seen_and_what_is_said_both_hold():
    """Something between us may be less patient than the backend."""
    limit = told(b"timeout=60")
    limit.closed(10.0, 100.0)
    assert limit.rest_s(100.0) == 9.0
    limit.tell(b"timeout=5")
    assert limit.rest_s(100.0) == 4.0


def test_a_restart_teaches_no_more_than_its_longest_rest():
    limit = told(b"timeout=60")
    for number, rested_s in enumerate((0.1, 0.7, 33.0, 4.0, 12.0)):
        limit.closed(rested_s, 100.0 + number / 10)
    assert limit.rest_s(100.2) == 32.0


def test_a_close_soon_after_an_answer_teaches_nothing():
    limit = IdleLimit()
    assert not limit.closed(LEAST_S / 2, 100.0)
    assert limit.rest_s(100.0) == START_S


def test_a_limit_seen_once_is_forgotten_in_minutes():
    limit = IdleLimit()
    limit.closed(1.0, 100.0)
    assert [limit.rest_s(100.0 + FADE_S * minutes) for minutes in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]


def test_a_limit_met_again_and_again_is_kept_longer_and_longer():
    limit = IdleLimit()
    now = 0.0
    waits = []
    for _ in range(MAX_PROOFS + 3):
        limit.closed(2.0, now)
        began = now
        while limit.rest_s(now) < 2.0:
            now += 1.0
        waits.append(now - began)
    assert waits == [FADE_S * 2 ** min(met, MAX_PROOFS) for met in range(MAX_PROOFS + 3)]


def test_a_longer_rest_corrects_a_shorter_one():
    """What rested for five seconds shows that the limit was never one."""
    limit = IdleLimit()
    limit.closed(1.0, 0.0)
    limit.closed(5.0, 100.0)
    assert limit.rest_s(100.0) == 4.0


@given(st.integers(min_value=0, max_value=10**9))
def test_the_limit_is_below_what_is_said_and_within_bounds(timeout: int):
    rest_s = told(b"timeout=%d" % timeout).rest_s(0.0)
    assert 0.0 <= rest_s <= MAX_S
    assert rest_s < timeout or rest_s == timeout == 0


@given(st.lists(st.tuples(ages, ages)), plausible)
def test_a_close_is_always_avoided_the_next_time(history: list[tuple[float, float]], rested_s: float):
    limit = IdleLimit()
    now = 0.0
    for pause, earlier in history:
        now += pause
        limit.closed(earlier, now)
    now += TOGETHER_S + 0.1
    limit.closed(rested_s, now)
    assert 0.0 < limit.rest_s(now) <= below(rested_s) < rested_s


@given(st.lists(ages, min_size=1), st.randoms(use_true_random=False))
def test_closes_that_come_together_teach_the_same_in_any_order(rests: list[float], random):
    shuffled = random.sample(rests, len(rests))
    limits = []
    for order in (rests, shuffled):
        limit = IdleLimit()
        for rested_s in order:
            limit.closed(rested_s, 50.0)
        limits.append([limit.rest_s(50.0 + later) for later in (0.0, 30.0, 600.0)])
    assert limits[0] == limits[1]


@given(st.lists(st.tuples(ages, ages)), ages, ages)
def test_time_alone_only_ever_lengthens_the_rest_up_to_what_is_said(
    history: list[tuple[float, float]], sooner: float, later: float
):
    limit = IdleLimit()
    now = 0.0
    for pause, rested_s in history:
        now += pause
        limit.closed(rested_s, now)
    sooner, later = sorted((sooner, later))
    assert 0.0 < limit.rest_s(now + sooner) <= limit.rest_s(now + later) <= START_S
    assert limit.rest_s(now + 1e9) == START_S
