"""What figures, bars and tables make of a record that was written by hand."""

import pytest

from found import described, promises, table
from simulated.bars import judge
from simulated.contenders import DEFAULT, FASTEST, PEAK_EWMA, SCENES
from simulated.figures import Figures, figures
from simulated.record import Ended, Record, error_ratio, quantile
from simulated.run import HOLLOW, Phases

PHASES = Phases(measured_s=1.0, slow_s=3.0, well_s=4.0, hollow_s=5.0, filled_s=6.0, end_s=7.0)


@pytest.fixture
def record() -> Record:
    """Two backends, of which the second can do three times as much; the traffic began at 100."""
    return Record(100.0, [50.0, 150.0])


def of(p99_s: float, *, errors: float = 0.0, busiest: float = 1.2) -> Figures:
    return Figures(
        requests=1, p50_s=0.02, p99_s=p99_s, p999_s=1.0, steady_p99_s=p99_s, slow_p99_s=p99_s, errors=errors,
        hollow_errors=errors, busiest=busiest, to_hollow=0.0,
    )  # fmt: skip


def test_load_is_counted_in_fair_shares(record: Record):
    for at, machine in ((100.1, 0), (100.2, 1), (101.1, 1), (101.2, 1), (101.3, 1), (101.4, 0), (102.0, 0)):
        record.asked(at, machine)
    assert record.loads(0.0, 2.0) == [[2.0, pytest.approx(2 / 3)], [1.0, 1.0]]


def test_a_second_without_attempts_is_nobodys_load(record: Record):
    assert record.loads(0.0, 1.0) == [[0.0, 0.0]]


def test_requests_belong_to_the_time_they_came_in(record: Record):
    record.answered(101.0, 104.0, 200)
    record.answered(103.9, 104.0, 200)
    assert record.between(0.0, 2.0) == [Ended(1.0, 3.0, 200)]


def test_an_error_that_comes_at_once_shortens_no_wait_and_one_who_left_waited():
    requests = [Ended(0.0, 0.001, 503), Ended(0.0, 0.2, 200), Ended(0.0, 5.0, 0)]
    assert quantile(requests, 0.5) == 5.0
    assert quantile(requests, 0.49) == 0.2
    assert error_ratio(requests) == pytest.approx(2 / 3)


def test_no_requests_have_no_figures():
    assert (quantile([], 0.99), error_ratio([])) == (0.0, 0.0)


def test_the_busiest_backend_is_another_one_in_each_second(record: Record):
    for at, machine in ((101.5, 0), (102.5, 1)):
        record.asked(at, machine)
    assert figures([record], PHASES).busiest == pytest.approx((4 + 4 / 3) / 2)


def test_what_went_into_the_black_hole_is_counted_while_it_is_one():
    record = Record(100.0, [1.0] * (HOLLOW + 1))
    for at, machine in ((104.5, HOLLOW), (105.1, 0), (105.2, HOLLOW), (105.3, 1), (105.4, 1)):
        record.asked(at, machine)
    assert figures([record], PHASES).to_hollow == 0.25


@pytest.mark.parametrize(
    ("ours", "missed"),
    [
        (of(0.2), []),
        (of(0.22), ["p99 to that of peak EWMA in each process"]),
        (of(0.2, errors=1e-6), ["errors with one retry"]),
        (of(0.2, busiest=1.5), ["busiest backend to its fair share"]),
    ],
)
def test_a_promise_is_kept_or_missed(ours: Figures, missed: list[str]):
    judged = list(judge({DEFAULT: ours, PEAK_EWMA: of(0.26), FASTEST: of(5.0)}))
    assert len(judged) == 4
    assert [each.what for each in judged if not each.is_met] == missed


def test_who_was_not_simulated_is_not_judged():
    assert [each.what for each in judge({DEFAULT: of(0.2)})] == [
        "errors with one retry",
        "busiest backend to its fair share",
    ]


def test_the_table_has_a_row_for_each_and_the_promises_a_line():
    text = table({DEFAULT: of(0.2), FASTEST: of(5.0, errors=0.5)})
    assert [cell.strip() for cell in text.splitlines()[3].split("|")[1:8]] == [
        FASTEST, "20", "5,000", "1,000", "5,000", "5,000", "50.00%",
    ]  # fmt: skip
    assert promises(list(judge({DEFAULT: of(0.2, busiest=2.0)}))).splitlines() == [
        "- errors with one retry: 0 (at most 0): kept",
        "- busiest backend to its fair share: 2 (at most 1.4): **missed**",
    ]


def test_a_scene_is_described_with_what_happens_in_it():
    assert "answers 503" in described(SCENES["fleet"], [1, 2])
    assert "answers 503" not in described(SCENES["one-host"], [1, 2])
