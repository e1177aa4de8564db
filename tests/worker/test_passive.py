"""What workers of one host decide together about backends that fail real requests: two of them, on one board."""

from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.config import parse
from sidecar.contract.events import Event
from sidecar.contract.model import Health, Verdict, View
from worker.board import Board, Places, board_for
from worker.failure import Failure
from worker.outlier import Phase
from worker.pool import Pool
from worker.upstream import CoarseClock
from worker.view import Tier

NOW = 1000.0
LOOP: Any = object()
"""Nothing is connected here, so that nothing runs on it."""
REFUSED, LATE, ERROR = Failure.REFUSED, Failure.RESPONSE_TIMEOUT, Failure.GATEWAY_ERROR


class Worker:
    """One worker's pool, without connections."""

    def __init__(self, host: "Host", slot: int | None) -> None:
        config = host.config.pools["api"]
        seats = Places(host.board, slot).seats("api", config)
        self.writer = seats.writer
        self.suspects: list[str] = []
        self.told: list[tuple[str, Event, str]] = []
        self.pool = Pool(
            "api",
            config,
            seats=seats,
            draw=lambda count: count // 2,
            loop=LOOP,
            coarse=CoarseClock(NOW),
            suspect=self.suspects.append,
            tell=lambda *told: self.told.append(told),
        )

    def fail(self, row: int, now: float = NOW, failure: Failure = LATE, *, times: int = 1, **more: Any) -> None:
        for _ in range(times):
            self.pool.passive.blame(row, failure, now, failure.text, is_hard=failure is REFUSED, **more)

    def answer(self, row: int, now: float = NOW) -> None:
        self.writer.answer(row, 200, 0.01, now)

    def eligible(self, now: float = NOW) -> list[int]:
        """Who may be picked as of the next request, which is one that nobody would make a canary of."""
        self.pool.take((0,), now, False)
        return [candidate.row for candidate in self.pool.selection.candidates]

    def canary(self, now: float, *, safe: bool = True) -> int | None:
        """The row that the next request is the canary of; None: it is none."""
        candidate = self.pool.take((), now, safe)
        assert candidate is not None
        return candidate.row if candidate.is_canary else None


class Host:
    def __init__(self, members: int = 4, **rules: Any) -> None:
        backends = [f"http://10.0.0.{number}:80" for number in range(1, members + 1)]
        pool = {"backends": backends, "outlier_detection": rules}
        self.config = parse({"store": {"url": "unix:///nowhere"}, "pools": {"api": pool}}, {})
        self.board: Board = board_for(self.config)
        self.workers = [Worker(self, self.board.claim()) for _ in range(2)]

    def phase(self, row: int, now: float = NOW) -> Phase:
        return self.board.host.standing(row).phase(now)

    def out_until(self, row: int) -> float:
        return self.board.host.standing(row).ejected_until


@pytest.fixture
def host() -> Host:
    return Host()


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


# A hard failure


def test_a_hard_failure_keeps_every_worker_away_for_a_second_from_its_next_pick_on(host: Host):
    one, other = host.workers
    one.fail(0, failure=REFUSED)
    assert one.eligible() == other.eligible() == [1, 2, 3]
    assert other.eligible(NOW + 0.99) == [1, 2, 3]
    assert other.eligible(NOW + 1) == one.eligible(NOW + 1) == [0, 1, 2, 3]


def test_a_hard_failure_is_told_to_the_monitor(host: Host):
    host.workers[0].fail(2, failure=REFUSED)
    host.workers[0].fail(3, failure=LATE)
    assert host.workers[0].suspects == ["10.0.0.3:80"]


def test_where_nobody_else_is_left_a_hard_failure_is_no_reason_to_panic():
    host = Host(2)
    for row in (0, 1):
        host.workers[0].fail(row, failure=REFUSED)
    assert host.workers[1].eligible() == [0, 1]
    assert host.workers[1].pool.selection.tier is Tier.UNKNOWN


def test_a_worker_past_the_last_slot_keeps_away_too_and_sees_what_the_others_decided(host: Host):
    extra = Worker(host, None)
    extra.fail(0, failure=REFUSED)
    host.workers[0].fail(1, times=5)
    assert extra.eligible() == [2, 3]
    extra.fail(2, times=5)
    assert host.workers[0].eligible() == [0, 3]


# Ejection


def test_failures_in_a_row_are_counted_over_all_workers(host: Host, caplog: pytest.LogCaptureFixture):
    one, other = host.workers
    one.fail(0, times=2)
    other.fail(0, times=2)
    assert host.phase(0) is Phase.IN
    other.fail(0)
    assert one.eligible() == other.eligible() == [1, 2, 3]
    assert 4.5 <= host.out_until(0) - NOW <= 5.5
    [line] = logged(caplog)
    assert line.startswith(
        'ejected pool=api backend=10.0.0.1:80 reason="5 failures in a row, the last: response_timeout"'
    )
    assert line.endswith("for_s=5.000 in_a_row=1")


def test_one_good_response_of_any_worker_ends_the_row(host: Host):
    one, other = host.workers
    one.fail(0, times=4)
    other.answer(0)
    one.fail(0, times=4)
    assert host.phase(0) is Phase.IN


def test_half_of_enough_requests_failing_ejects_though_never_many_in_a_row(host: Host):
    one, other = host.workers
    for turn in range(10):
        one.answer(0, NOW + turn / 2)
        other.fail(0, NOW + turn / 2)
        assert host.phase(0) is Phase.IN
    one.answer(0, NOW + 5)
    other.fail(0, NOW + 5)
    assert host.phase(0, NOW + 5) is Phase.OUT


def test_the_same_over_a_longer_time_does_not(host: Host):
    one, other = host.workers
    for turn in range(60):
        one.answer(0, NOW + turn * 1.2)
        other.fail(0, NOW + turn * 1.2)
    assert host.phase(0) is Phase.IN


def test_what_is_no_evidence_is_not_counted(host: Host):
    host.workers[0].fail(0, failure=Failure.IDLE_TIMEOUT, times=50)
    assert host.phase(0) is Phase.IN


def test_half_of_the_pool_may_be_out_and_no_more(host: Host):
    for row in (0, 1, 2, 3):
        host.workers[row % 2].fail(row, times=9)
    assert [host.phase(row) for row in range(4)] == [Phase.OUT, Phase.OUT, Phase.IN, Phase.IN]
    assert host.workers[0].eligible() == [2, 3]


@pytest.mark.parametrize("members", [1, 2, 3])
def test_the_last_one_that_may_be_picked_is_never_ejected(members: int):
    host = Host(members, max_ejected_ratio=1.0)
    for row in range(members):
        host.workers[0].fail(row, times=9)
    assert host.workers[1].eligible() == [members - 1]
    assert host.workers[1].pool.selection.tier is Tier.UNKNOWN


def test_a_backend_is_kept_when_the_probes_say_that_all_others_are_down():
    host = Host(3, max_ejected_ratio=1.0)
    verdicts = {
        backend.id: Verdict(id=backend.id, url=backend.url, state=Health.UNHEALTHY if row else Health.HEALTHY)
        for row, backend in enumerate(host.config.pools["api"].members)
    }
    for worker in host.workers:
        worker.pool.knowledge.offer(View(epoch=1, backends=verdicts), NOW, 0)
        worker.pool.reselect(NOW)
    host.workers[0].fail(0, times=9)
    assert host.workers[0].eligible() == [0]


def test_while_the_others_are_only_skipped_nobody_is_ejected_either():
    host = Host(2)
    host.workers[0].fail(1, failure=REFUSED)
    host.workers[1].fail(0, times=9)
    assert host.phase(0) is Phase.IN
    host.workers[1].fail(0, NOW + 1)
    assert host.phase(0) is Phase.OUT


def test_failures_of_requests_that_were_under_way_do_not_prolong_an_ejection(host: Host):
    host.workers[0].fail(0, times=5)
    until = host.out_until(0)
    host.workers[1].fail(0, NOW + 3, times=20)
    assert host.out_until(0) == until


def test_an_ejection_ratio_of_zero_ejects_nobody():
    host = Host(4, max_ejected_ratio=0.0)
    host.workers[0].fail(0, times=50)
    assert host.phase(0) is Phase.IN


# Retry-After


def test_a_backend_that_asks_for_a_pause_gets_it_under_the_same_cap(caplog: pytest.LogCaptureFixture):
    host = Host(2)
    for row in (0, 1):
        host.workers[row].fail(row, failure=ERROR, pause_s=20.0)
    assert host.workers[0].eligible() == [1]
    assert host.out_until(0) == NOW + 20
    [line] = logged(caplog)
    assert 'reason="it asked for a pause: gateway_error" for_s=20.000 in_a_row=0' in line


def test_a_pause_does_not_make_the_next_ejection_longer(host: Host):
    host.workers[0].fail(0, failure=ERROR, pause_s=20.0)
    assert host.workers[1].canary(NOW + 20) == 0
    host.workers[1].pool.passive.canary_failed(0, NOW + 20, "status 503")
    assert 4.5 <= host.out_until(0) - (NOW + 20) <= 5.5


# The way back


def ejected(host: Host) -> float:
    """Backend 0 is out; when it comes on probation."""
    host.workers[0].fail(0, times=5)
    return host.out_until(0)


def test_afterwards_one_request_of_one_worker_tries_it(host: Host):
    over = ejected(host)
    one, other = host.workers
    assert one.canary(over - 0.01) is None
    assert one.canary(over) == 0
    assert [worker.canary(over) for worker in (one, other, one, other)] == [None] * 4
    assert one.eligible(over) == other.eligible(over) == [1, 2, 3]


def test_its_success_lets_everybody_back_in_slowly(host: Host, caplog: pytest.LogCaptureFixture):
    over = ejected(host)
    one, other = host.workers
    assert one.canary(over) == 0
    one.answer(0, over)
    one.pool.passive.canary_succeeded(0, over + 0.5, "status 200")
    assert one.eligible(over + 0.5) == other.eligible(over + 0.5) == [0, 1, 2, 3]
    assert other.pool.selection.candidates[0].ramp_until == over + 0.5 + 10.0
    assert [(backend, event) for worker in (one, other) for backend, event, _ in worker.told] == [
        ("10.0.0.1:80", Event.EJECTED),
        ("10.0.0.1:80", Event.READMITTED),
    ]
    assert logged(caplog)[1:] == [
        'readmitted pool=api backend=10.0.0.1:80 reason="its canary was answered with status 200" out_s=5.500'
    ]


def test_one_that_returns_is_not_shunned_for_how_long_its_failures_took(host: Host):
    over = ejected(host)
    one, other = host.workers
    for worker in (one, other):
        worker.writer.fail(0, 1.0, over)
    assert one.canary(over) == 0
    assert one.eligible(over) == other.eligible(over) == [1, 2, 3]
    one.pool.passive.canary_succeeded(0, over, "status 200")
    assert one.eligible(over) == other.eligible(over) == [0, 1, 2, 3]
    assert host.board.latency(0, over) == (0.0, 0.0)


def test_its_failure_keeps_it_out_for_twice_as_long_each_time(host: Host):
    over = ejected(host)
    lengths = []
    for turn in range(5):
        worker = host.workers[turn % 2]
        assert worker.canary(over) == 0
        worker.pool.passive.canary_failed(0, over, "response_timeout")
        before, over = over, host.out_until(0)
        lengths.append(over - before)
    assert lengths == pytest.approx([10, 20, 40, 60, 60], rel=0.1)


def test_one_that_fails_again_soon_after_its_return_is_out_for_longer(host: Host):
    over = ejected(host)
    one = host.workers[0]
    assert one.canary(over) == 0
    one.answer(0, over)
    one.pool.passive.canary_succeeded(0, over, "status 200")
    one.fail(0, over + 1, times=5)
    assert host.out_until(0) - over - 1 == pytest.approx(10, rel=0.1)


def test_a_canary_whose_client_leaves_frees_the_place(host: Host):
    over = ejected(host)
    one, other = host.workers
    assert one.canary(over) == 0
    assert other.canary(over) is None
    one.pool.passive.canary_left(0)
    assert host.phase(0, over) is Phase.PROBATION
    assert other.canary(over) == 0


def test_a_canary_that_is_lost_is_replaced_after_its_deadline(host: Host):
    over = ejected(host)
    one, other = host.workers
    assert one.canary(over) == 0
    late = host.board.host.standing(0).canary_until
    assert other.canary(late - 0.01) is None
    assert other.canary(late) == 0
    one.pool.passive.canary_succeeded(0, late, "status 200")
    assert host.phase(0, late) is Phase.TRIAL


def test_a_request_that_cannot_be_repeated_is_not_risked_unless_no_other_comes(host: Host):
    over = ejected(host)
    one = host.workers[0]
    assert one.canary(over, safe=False) is None
    assert one.canary(over + 4.9, safe=False) is None
    assert one.canary(over + 5, safe=False) == 0


def test_a_further_attempt_is_never_a_canary(host: Host):
    over = ejected(host)
    candidate = host.workers[0].pool.take((1,), over, True)
    assert candidate is not None
    assert not candidate.is_canary


def test_no_request_is_risked_on_a_backend_that_fails_its_probes_too(host: Host):
    over = ejected(host)
    member = host.config.pools["api"].members[0]
    down = {member.id: Verdict(id=member.id, url=member.url, state=Health.UNHEALTHY)}
    host.workers[0].pool.knowledge.offer(View(epoch=1, backends=down), NOW, 0)
    host.workers[0].pool.reselect(NOW)
    assert host.workers[0].canary(over) is None


def test_a_passing_probe_brings_nobody_back(host: Host):
    over = ejected(host)
    verdicts = {
        each.id: Verdict(id=each.id, url=each.url, state=Health.HEALTHY) for each in host.config.pools["api"].members
    }
    for worker in host.workers:
        worker.pool.knowledge.offer(View(epoch=1, backends=verdicts), NOW, 0)
        worker.pool.reselect(NOW)
        assert worker.eligible(over - 0.1) == worker.eligible(over) == [1, 2, 3]


def test_where_another_worker_is_deciding_the_next_failure_looks_again(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(host.board.memory), "lock", lambda *_: nullcontext(enter_result=False))
    host.workers[0].fail(0, times=6)
    assert host.phase(0) is Phase.IN
    monkeypatch.undo()
    host.workers[0].fail(0)
    assert host.phase(0) is Phase.OUT


DEEDS = st.sampled_from(["fail", "refuse", "answer", "pick"])
STEPS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), DEEDS, st.floats(0, 3)), max_size=120)


@given(steps=STEPS)
def test_whatever_happens_somebody_may_be_picked_and_no_more_than_half_are_out(
    steps: list[tuple[int, int, str, float]],
):
    host, now = Host(), NOW
    for number, row, what, gap in steps:
        worker, now = host.workers[number], now + gap
        if what == "pick":
            found = worker.canary(now)
            if found is not None:
                assert host.phase(found, now) is Phase.TRIAL
        elif what == "answer":
            worker.answer(row, now)
            worker.pool.passive.canary_succeeded(row, now, "status 200")
        elif what == "refuse":
            worker.pool.passive.canary_failed(row, now, "connect_refused")
            worker.fail(row, now, REFUSED)
        else:
            worker.fail(row, now)
        assert sum(host.phase(each, now) is not Phase.IN for each in range(4)) <= 2
        assert worker.eligible(now)
        assert worker.pool.selection.tier is Tier.UNKNOWN
