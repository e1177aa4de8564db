"""Redis' clock as seen from ours."""

from sidecar.monitor.clock import WireClock


def test_before_redis_answered_nobody_knows_its_time():
    clock = WireClock()
    assert clock.ms(5.0) == 0
    assert clock.at(1_000, now=7.0) == 7.0


def test_its_answer_was_made_half_way_between_question_and_arrival():
    clock = WireClock()
    clock.learn(1_000_000, sent=10.0, received=12.0)
    assert clock.ms(11.0) == 1_000_000
    assert clock.ms(13.5) == 1_002_500
    assert clock.at(999_000, now=20.0) == 10.0


def test_the_latest_answer_counts():
    clock = WireClock()
    clock.learn(1_000_000, sent=10.0, received=10.0)
    clock.learn(2_000_000, sent=11.0, received=11.0)
    assert clock.ms(11.0) == 2_000_000


def test_what_began_in_its_future_began_now():
    clock = WireClock()
    clock.learn(1_000_000, sent=10.0, received=10.0)
    assert clock.at(1_005_000, now=11.0) == 11.0


def test_a_time_that_nobody_knew_is_now():
    clock = WireClock()
    clock.learn(1_000_000, sent=10.0, received=10.0)
    assert clock.at(0, now=11.0) == 11.0
