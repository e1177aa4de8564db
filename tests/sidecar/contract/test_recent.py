"""What counters grew by of late."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.recent import SAMPLE_S, WINDOW_S, Recent

WATCH = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 100)), max_size=60)


def test_what_was_counted_before_is_not_of_late():
    recent = Recent(0.0, (1000, 7))
    assert recent.growth(5.0, (1010, 7)) == (10, 0)


def test_what_is_older_than_the_window_is_forgotten():
    recent = Recent(0.0, (0,))
    for second in range(1, 31):
        recent.note(float(second), (second,))
    assert recent.growth(30.0, (30,)) == (WINDOW_S,)


def test_after_a_long_silence_only_what_came_since_the_last_look_is_of_late():
    recent = Recent(0.0, (0,))
    recent.note(1.0, (100,))
    assert recent.growth(500.0, (103,)) == (3,)


def test_a_counter_that_fell_has_grown_by_nothing():
    assert Recent(0.0, (50, 50)).growth(1.0, (20, 60)) == (0, 10)


def test_a_sample_is_due_after_a_while():
    recent = Recent(0.0, (0,))
    assert not recent.is_due(SAMPLE_S / 2)
    assert recent.is_due(SAMPLE_S)


@given(WATCH)
def test_growth_is_what_came_within_the_window_however_one_looks(steps):
    """Never more than really came within ten seconds, as far as there was a look."""
    now, total, recent = 0.0, 0, Recent(0.0, (0,))
    came = []
    for pause, more in steps:
        now, total = now + pause, total + more
        came.append((now, more))
        [grown] = recent.growth(now, (total,))
        assert 0 <= grown <= sum(count for at, count in came if at >= now - WINDOW_S)
        recent.note(now, (total,))
