"""The simulated backend by itself: a queue of known behaviour, in sickness and in health."""

from random import Random
from typing import Any

import pytest

from simulated.agenda import Agenda
from simulated.machine import HOLLOW_S, MEAN_S, SLOTS, SLOWED, Answer, Ill, Illness, Job, Machine
from worker.failure import Failure


class Lab:
    """A machine without pauses, and what came of each job: its answer and when."""

    def __init__(self, slowness: float = 1.0, **more: Any) -> None:
        self.agenda = Agenda(0.0)
        self.machine = Machine(self.agenda, Random(1), 0, slowness, **({"pause_every_s": 0.0} | more))
        self.ended: list[tuple[Answer, float]] = []

    def give(self, work_s: float = MEAN_S, times: int = 1) -> Job:
        job = Job(work_s, lambda job, answer: self.ended.append((answer, round(self.agenda.now, 6))))
        for _ in range(times):
            self.machine.take(job := Job(work_s, job.end))
        return job

    def fall_ill(self, ill: Ill) -> None:
        self.machine.fall_ill(Illness(backend=0, ill=ill, begins_s=0.0, ends_s=1.0, status=500))


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_what_comes_at_the_same_time_comes_in_the_order_it_was_asked_for():
    agenda, seen = Agenda(5.0), list[str]()
    for name, when in (("late", 7.0), ("first", 6.0), ("second", 6.0), ("never", 9.0)):
        agenda.at(when, seen.append, name)
    agenda.run(8.0)
    assert (seen, agenda.now) == (["first", "second", "late"], 8.0)


def test_as_many_as_there_are_slots_are_served_at_a_time_and_the_others_in_turn(lab: Lab):
    lab.give(times=SLOTS + 1)
    lab.agenda.run(1.0)
    assert lab.ended == [(200, MEAN_S)] * SLOTS + [(200, 2 * MEAN_S)]


def test_a_slow_machine_has_the_capacity_that_its_slots_make():
    lab = Lab(slowness=1.25)
    lab.give(times=1_000)
    lab.agenda.run(60.0)
    assert lab.ended[-1][1] == pytest.approx(1_000 / lab.machine.capacity)


def test_what_was_given_up_in_the_queue_is_not_begun(lab: Lab):
    lab.give(times=SLOTS)
    lab.give().is_given_up = True
    lab.give()
    lab.agenda.run(1.0)
    assert lab.ended == [(200, MEAN_S)] * SLOTS + [(200, 2 * MEAN_S)]


def test_a_pause_delays_what_is_served_by_as_long_as_it_lasts():
    lab = Lab(pause_every_s=1e-9)  # it begins at once, and the next one when it is over
    lab.give(MEAN_S)
    lab.agenda.run(0.08)
    assert not lab.ended


def test_a_slow_machine_is_slow_to_those_that_come_meanwhile(lab: Lab):
    lab.fall_ill(Ill.SLOW)
    lab.give()
    lab.machine.recover()
    lab.give()
    lab.agenda.run(1.0)
    assert lab.ended == [(200, MEAN_S), (200, SLOWED * MEAN_S)]


def test_a_hollow_machine_fails_requests_at_once_and_passes_probes(lab: Lab):
    probed: list[Answer] = []
    lab.fall_ill(Ill.HOLLOW)
    lab.give(times=SLOTS + 1)
    lab.machine.probe(probed.append)
    lab.agenda.run(1.0)
    assert lab.ended == [(500, HOLLOW_S)] * (SLOTS + 1)
    assert probed == [200]


def test_a_dead_machine_loses_what_it_has_and_refuses_what_comes(lab: Lab):
    probed: list[Answer] = []
    lab.give(times=SLOTS + 1)
    lab.fall_ill(Ill.DEAD)
    lab.give()
    lab.machine.probe(probed.append)
    lab.agenda.run(1.0)
    assert [answer for answer, _ in lab.ended] == [Failure.RESET] * (SLOTS + 1) + [Failure.REFUSED]
    assert probed == [Failure.REFUSED]
