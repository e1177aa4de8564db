from hypothesis import given
from hypothesis import strategies as st

from posts import report
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Tally
from sidecar.monitor import totals as module
from sidecar.monitor.totals import Total, Totals

TIMES = (1, *[0] * len(BUCKETS))


def asked(totals: Totals, backend: str = "a") -> int:
    return totals.read().get(backend, Total()).requests


def test_what_all_workers_counted_is_added_up():
    totals = Totals()
    counted = Tally(requests=3, responses=2, failures=1, retries=1, latency_s=0.5, first_bytes=TIMES)
    totals.hear([report(0, a=counted), report(1, a=counted, b=Tally(requests=1))])
    totals.hear([report(0, a=counted), report(1, a=counted, b=Tally(requests=1))])
    assert totals.read() == {
        "a": Total(requests=6, responses=4, failures=2, retries=2, latency_s=1.0, first_bytes=(2, *[0] * len(BUCKETS))),
        "b": Total(requests=1),
    }


def test_times_in_buckets_that_are_not_ours_are_left_out():
    totals = Totals()
    totals.hear([report(0, a=Tally(requests=1, latency_s=0.5, first_bytes=(1, 2)))])
    assert totals.read() == {"a": Total(requests=1)}


def test_a_worker_that_is_gone_stays_counted_and_so_does_one_that_was_started_anew():
    totals = Totals()
    totals.hear([report(0, a=Tally(requests=5)), report(1, a=Tally(requests=7))])
    totals.hear([report(1, a=Tally(requests=8))])
    assert asked(totals) == 13
    totals.hear([report(0, "second", a=Tally(requests=2))])
    assert asked(totals) == 15


def test_a_backend_that_a_worker_lost_and_got_again_goes_on_where_it_was():
    totals = Totals()
    for tallies in ({"a": Tally(requests=5)}, {}, {"a": Tally(requests=1)}, {"a": Tally(requests=2)}):
        totals.hear([report(0, "first", **tallies)])
    assert asked(totals) == 7


def test_workers_long_gone_are_kept_as_a_sum(monkeypatch):
    monkeypatch.setattr(module, "FORGET_ROUNDS", 2)
    totals = Totals()
    totals.hear([report(0, a=Tally(requests=5))])
    for _ in range(5):
        totals.hear([report(1, a=Tally(requests=1))])
    assert asked(totals) == 6


@given(
    rounds=st.lists(
        st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from(["x", "y"]), st.sampled_from(["a", "b"]), st.integers(0, 9)),
            max_size=4,
        ),
        max_size=6,
    )
)
def test_no_total_ever_falls(rounds: list[list[tuple[int, str, str, int]]]):
    totals = Totals()
    for each in rounds:
        before = {name: total.requests for name, total in totals.read().items()}
        said = {slot: report(slot, life, **{name: Tally(requests=count)}) for slot, life, name, count in each}
        totals.hear(list(said.values()))
        assert all(asked(totals, name) >= count for name, count in before.items())
