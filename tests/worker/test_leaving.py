"""How fast streams and tunnels are asked away from a backend that the operator takes out."""

from dataclasses import dataclass
from typing import Any, cast

from worker.lane import Ongoing
from worker.leaving import Leaving


@dataclass(frozen=True)
class Named:
    id: str


@dataclass(eq=False)
class Pool:
    """One whose operator has taken these out."""

    out: set[str]

    @property
    def knowledge(self) -> "Pool":
        return self

    def is_taken_out(self, backend_id: str) -> bool:
        return backend_id in self.out


@dataclass(eq=False)
class One:
    """An exchange."""

    pool: Pool
    backend: Named | None
    responded: bool = True
    drains: bool = False

    def drain(self, now: float) -> None:
        assert not self.drains
        self.drains = True


def ask(leaving: Leaving, ones: list[One], now: float, spread_s: float = 10.0) -> int:
    """How many have been asked after a look at this moment."""
    leaving.tick(cast("list[Ongoing]", ones), now, spread_s)
    return sum(one.drains for one in ones)


def test_all_of_them_are_asked_evenly_within_the_time():
    pool, leaving = Pool({"a"}), Leaving()
    ones = [One(pool, Named("a")) for _ in range(20)]
    assert [ask(leaving, ones, float(now)) for now in range(100, 110)] == list(range(2, 21, 2))


def test_those_elsewhere_are_left_alone_and_so_are_requests_without_an_answer():
    pool, leaving = Pool({"a"}), Leaving()
    ones: list[Any] = [One(pool, Named("b")), One(Pool(set()), Named("a")), One(pool, Named("a"), responded=False)]
    ones.append(One(pool, None))
    assert ask(leaving, ones, 100.0, spread_s=0.0) == 0


def test_each_backend_has_a_time_of_its_own_and_a_new_one_when_it_is_taken_out_again():
    pool, leaving = Pool({"a"}), Leaving()
    first = [One(pool, Named("a")) for _ in range(10)]
    second = [One(pool, Named("b")) for _ in range(10)]
    assert ask(leaving, first + second, 100.0) == 1
    pool.out.clear()
    assert ask(leaving, first + second, 105.0) == 1
    pool.out.update("ab")
    assert ask(leaving, first + second, 109.0) == 3


def test_who_comes_after_the_time_is_asked_at_once():
    pool, leaving = Pool({"a"}), Leaving()
    ones = [One(pool, Named("a"))]
    assert ask(leaving, ones, 100.0) == 1
    ones += [One(pool, Named("a")) for _ in range(5)]
    assert ask(leaving, ones, 120.0) == 6
