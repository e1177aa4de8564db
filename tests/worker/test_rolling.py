"""Rolling replacement, played through: a master that does what ``next_step`` says, and workers that do as they like."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from worker.server.rolling import BOOT_S, Act, Rolling, Standing, Step, next_step


def standing(pid: int, *, booted: bool = True, leaving: bool = False) -> Standing:
    """A worker whose age is its pid."""
    return Standing(pid=pid, age=pid, is_booted=booted, is_leaving=leaving)


def step(*workers: Standing, wanted: int = 2, rolling: Rolling | None = None, now: float = 0.0) -> Step:
    return next_step(workers, wanted, rolling, now)


def test_with_the_right_number_there_is_nothing_to_do():
    assert step(standing(1), standing(2)) == Step(act=Act.NOTHING)


def test_one_that_is_missing_is_forked():
    assert step(standing(2)) == Step(act=Act.SPAWN)


def test_one_that_drains_is_replaced_while_it_does():
    assert step(standing(1, leaving=True), standing(2)) == Step(act=Act.SPAWN)


def test_of_too_many_the_oldest_goes():
    assert step(standing(3), standing(1), standing(2)) == Step(act=Act.RETIRE, pid=1)


def test_none_goes_before_there_are_too_many_that_serve():
    assert step(standing(1), standing(2), standing(3, booted=False)) == Step(act=Act.NOTHING)


def test_a_restart_begins_with_a_new_worker():
    assert step(standing(1), standing(2), rolling=Rolling(last_age=2)) == Step(act=Act.SPAWN_NEWCOMER)


def test_until_the_new_one_has_booted_nobody_goes():
    rolling = Rolling(last_age=2).awaiting(3, 0.0)
    workers = standing(1), standing(2), standing(3, booted=False)
    assert step(*workers, rolling=rolling, now=BOOT_S - 1) == Step(act=Act.NOTHING)
    assert step(*workers[:2], standing(3), rolling=rolling) == Step(act=Act.RETIRE, pid=1)


def test_one_that_does_not_boot_in_time_is_given_up():
    rolling = Rolling(last_age=2).awaiting(3, 0.0)
    workers = standing(1), standing(2), standing(3, booted=False)
    assert step(*workers, rolling=rolling, now=BOOT_S) == Step(act=Act.GIVE_UP, pid=3)


def test_it_is_over_when_all_old_ones_are_on_their_way_out():
    workers = standing(1, leaving=True), standing(2, leaving=True), standing(3), standing(4)
    assert step(*workers, rolling=Rolling(last_age=2).awaiting(4, 0.0)) == Step(act=Act.FINISH)


@dataclass
class Crew:
    """Workers by pid, and a restart."""

    wanted: int = 2
    workers: dict[int, Standing] = field(default_factory=dict)
    rolling: Rolling | None = None
    last: int = 0

    def fork(self) -> int:
        self.last += 1
        self.workers[self.last] = standing(self.last, booted=False)
        return self.last

    def settle(self) -> None:
        """As the master does: one step after the other, until there is nothing to do for the moment."""
        for _ in range(100):
            step = next_step(self.workers.values(), self.wanted, self.rolling, 0.0)
            match step.act:
                case Act.NOTHING:
                    return
                case Act.SPAWN:
                    self.fork()
                case Act.SPAWN_NEWCOMER:
                    assert self.rolling
                    self.rolling = self.rolling.awaiting(self.fork(), 0.0)
                case Act.RETIRE:
                    self.workers[step.pid] = replace(self.workers[step.pid], is_leaving=True)
                case Act.FINISH | Act.GIVE_UP:
                    self.rolling = None
        raise AssertionError("it goes round in circles")

    def meet(self, what: str, number: int) -> None:
        match what:
            case "boot":
                self.boot(number)
            case "end":
                self.end(number)
            case "restart":
                self.rolling = replace(self.rolling or Rolling(last_age=0), last_age=self.last)
            case "ttin":
                self.wanted += 1
            case _:
                self.wanted = max(1, self.wanted - 1)

    @property
    def serving(self) -> int:
        return sum(each.is_booted and not each.is_leaving for each in self.workers.values())

    def boot(self, number: int) -> None:
        if waiting := [pid for pid, each in self.workers.items() if not each.is_booted]:
            pid = waiting[number % len(waiting)]
            self.workers[pid] = replace(self.workers[pid], is_booted=True)

    def end(self, number: int) -> None:
        """One that leaves is gone."""
        if leaving := [pid for pid, each in self.workers.items() if each.is_leaving]:
            del self.workers[leaving[number % len(leaving)]]


EVENTS = st.lists(
    st.tuples(st.sampled_from(["boot", "end", "restart", "ttin", "ttou"]), st.integers(0, 9)), max_size=40
)


@given(EVENTS, st.integers(1, 4))
def test_whatever_comes_no_restart_takes_from_those_that_serve(events: list[tuple[str, int]], wanted: int):
    crew = Crew(wanted=wanted)
    crew.settle()
    for _ in range(wanted):
        crew.boot(0)
    for what, number in events:
        before = crew.serving
        crew.meet(what, number)
        crew.settle()
        assert crew.serving >= min(crew.wanted, before)
    for _ in range(200):
        crew.boot(0)
        crew.settle()
    assert crew.rolling is None
    assert crew.serving == crew.wanted
    if any(what == "restart" for what, _ in events):
        assert all(each.age > wanted for each in crew.workers.values() if not each.is_leaving)
