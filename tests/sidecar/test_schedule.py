"""When a backend is probed next."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.schedule import JITTER_RATIO, SUSPECT_GAP_S, Pace, Schedule

seconds = st.floats(0.01, 100.0)
draws = st.floats(0.0, 1.0, exclude_max=True)


def schedule(*names: str, now: float = 100.0, interval_s: float = 1.0, fast_interval_s: float = 0.25) -> Schedule:
    return Schedule(names, interval_s=interval_s, fast_interval_s=fast_interval_s, now=now)


def wait_s(plan: Schedule, name: str, now: float) -> float:
    """How long until it is due, of a backend that is not paused."""
    wait_s = plan.wait_s(name, now)
    assert wait_s is not None
    return wait_s


def settled(plan: Schedule, name: str = "a", now: float = 100.0) -> Schedule:
    """Past its first probe, whose interval is a special one."""
    plan.begin(name, now)
    plan.end(name, now, pace=Pace.STEADY, draw=0.0)
    return plan


def test_all_backends_are_due_at_once_in_the_beginning():
    plan = schedule(*"abc")
    assert [plan.wait_s(name, 100.0) for name in "abc"] == [0.0, 0.0, 0.0]


@given(draw=draws)
def test_the_first_interval_spreads_those_that_began_together(draw: float):
    plan = schedule("a")
    plan.begin("a", 100.0)
    plan.end("a", 100.0, pace=Pace.STEADY, draw=draw)
    assert abs(wait_s(plan, "a", 100.0) - draw) < 1e-9


@given(interval_s=seconds, lasted_s=st.floats(0.0, 200.0), draw=draws)
def test_the_next_probe_starts_an_interval_after_the_start_but_never_before_the_end(
    interval_s: float, lasted_s: float, draw: float
):
    plan = settled(schedule("a", interval_s=interval_s, fast_interval_s=interval_s))
    plan.begin("a", 100.0)
    end = 100.0 + lasted_s
    plan.end("a", end, pace=Pace.STEADY, draw=draw)
    due = end + wait_s(plan, "a", end)
    low, high = 100.0 + interval_s * (1 - JITTER_RATIO), 100.0 + interval_s * (1 + JITTER_RATIO)
    assert max(low, end) - 1e-6 <= due <= max(high, end) + 1e-6


def test_in_doubt_the_fast_interval_counts_from_the_first_probe_on():
    plan = schedule("a")
    for _ in range(2):
        plan.begin("a", 100.0)
        plan.end("a", 100.0, pace=Pace.FAST, draw=0.5)
        assert plan.wait_s("a", 100.0) == 0.25


def test_a_hanging_backend_delays_no_other():
    plan = settled(schedule("hangs", "b"), "b")
    plan.begin("hangs", 100.0)
    plan.begin("b", 100.0)
    plan.end("b", 100.1, pace=Pace.STEADY, draw=0.5)
    assert plan.wait_s("b", 101.0) == 0.0


def test_a_suspected_backend_is_due_now():
    plan = settled(schedule("a"))
    plan.begin("a", 101.0)
    plan.end("a", 101.0, pace=Pace.STEADY, draw=0.5)
    assert plan.wait_s("a", 101.5) == 0.5
    plan.suspect("a", 101.5)
    assert plan.wait_s("a", 101.5) == 0.0


def test_a_suspicion_during_a_probe_counts_when_it_ends():
    plan = settled(schedule("a"))
    plan.begin("a", 101.0)
    plan.suspect("a", 101.4)
    plan.end("a", 101.5, pace=Pace.STEADY, draw=0.5)
    assert plan.wait_s("a", 101.5) == 0.0


def test_a_suspicion_is_over_with_the_probe_it_caused():
    plan = settled(schedule("a"))
    plan.suspect("a", 101.0)
    plan.begin("a", 101.0)
    plan.end("a", 101.0, pace=Pace.STEADY, draw=0.5)
    assert plan.wait_s("a", 101.0) == 1.0


def test_a_storm_of_suspicions_causes_no_storm_of_probes():
    plan = schedule("a")
    probes = 0
    for tick in range(1000):
        now = 100.0 + tick / 1000
        plan.suspect("a", now)
        if plan.wait_s("a", now) == 0.0:
            probes += 1
            plan.begin("a", now)
            plan.end("a", now, pace=Pace.STEADY, draw=0.5)
    assert probes <= 1 / SUSPECT_GAP_S


def test_a_suspicion_of_somebody_unknown_is_ignored():
    plan = settled(schedule("a"))
    plan.suspect("b", 100.0)
    assert plan.wait_s("a", 110.0) == 0.0


def test_while_a_backend_is_down_the_down_interval_counts():
    plan = settled(Schedule("a", interval_s=1.0, fast_interval_s=0.25, down_interval_s=5.0, now=100.0))
    plan.begin("a", 101.0)
    plan.end("a", 101.0, pace=Pace.DOWN, draw=0.5)
    assert plan.wait_s("a", 101.0) == 5.0


def test_the_down_interval_is_the_steady_one_unless_it_is_set():
    plan = settled(schedule("a"))
    plan.begin("a", 101.0)
    plan.end("a", 101.0, pace=Pace.DOWN, draw=0.5)
    assert plan.wait_s("a", 101.0) == 1.0


def test_a_paused_backend_is_not_due_whatever_is_suspected_and_due_at_once_on_its_return():
    plan = settled(schedule(*"ab"))
    plan.pause("a")
    plan.suspect("a", 200.0)
    assert plan.is_paused("a")
    assert plan.wait_s("a", 1_000.0) is None
    assert plan.wait_s("b", 1_000.0) == 0.0
    plan.begin("b", 1_000.0)
    plan.end("b", 1_000.0, pace=Pace.STEADY, draw=0.5)
    plan.resume("a", 1_000.2)
    plan.resume("b", 1_000.2)
    assert plan.wait_s("a", 1_000.2) == 0.0
    assert wait_s(plan, "b", 1_000.2) > 0.0, "it was not paused"


def test_a_pause_during_a_probe_begins_at_once():
    plan = settled(schedule("a"))
    plan.begin("a", 101.0)
    plan.pause("a")
    plan.end("a", 101.1, pace=Pace.FAST, draw=0.5)
    assert plan.wait_s("a", 110.0) is None
    plan.resume("a", 110.0)
    assert plan.wait_s("a", 110.0) == 0.0
