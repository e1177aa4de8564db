"""How many workers there are to be, and how all of them are replaced without there ever being fewer.

A replacement starts beside the worker it is for. Once it has booted there is one too many that serve, and of too many
the oldest goes. So a rolling restart, TTIN, TTOU and a worker that ends of itself are one rule. One that leaves does
not count any more, however long its drain takes. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

BOOT_S = 30.0
"""How long a replacement may take to boot before it is given up; as long as a worker may be silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A live worker. ``age`` grows from each fork to the next; ``is_leaving``: it drains, or was told to."""

    pid: int
    age: int
    is_booted: bool
    is_leaving: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """A rolling restart: workers up to ``last_age`` are replaced; ``newcomer`` is on its way until ``deadline``."""

    last_age: int
    newcomer: int | None = None
    deadline: float = 0.0

    def awaiting(self, pid: int, now: float) -> "Rolling":
        """The same with this worker on its way."""
        return replace(self, newcomer=pid, deadline=now + BOOT_S)


class Act(Enum):
    """What is to be done next."""

    NOTHING = auto()
    SPAWN = auto()
    SPAWN_NEWCOMER = auto()
    RETIRE = auto()
    GIVE_UP = auto()
    FINISH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One act; ``pid``: of whom, where it is done to somebody."""

    act: Act
    pid: int = 0


def next_step(workers: Iterable[Standing], wanted: int, rolling: Rolling | None, now: float) -> Step:
    """The next thing to do, for ``wanted`` workers; to be asked again once it is done."""
    living = sorted((each for each in workers if not each.is_leaving), key=lambda each: each.age)
    newcomer = _on_its_way(living, rolling)
    counted = [each for each in living if each is not newcomer]
    serving = [each for each in counted if each.is_booted]
    if len(serving) > wanted:
        return Step(act=Act.RETIRE, pid=serving[0].pid)
    if len(counted) < wanted:
        return Step(act=Act.SPAWN)
    if rolling is None:
        return Step(act=Act.NOTHING)
    if newcomer is not None:
        return Step(act=Act.GIVE_UP, pid=newcomer.pid) if now >= rolling.deadline else Step(act=Act.NOTHING)
    if any(each.age <= rolling.last_age for each in counted):
        return Step(act=Act.SPAWN_NEWCOMER)
    return Step(act=Act.FINISH)


def _on_its_way(living: Iterable[Standing], rolling: Rolling | None) -> Standing | None:
    """The replacement that has not booted yet."""
    if rolling is None or rolling.newcomer is None:
        return None
    return next((each for each in living if each.pid == rolling.newcomer and not each.is_booted), None)
