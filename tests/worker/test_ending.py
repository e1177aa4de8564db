"""In which order, and how fast, a worker asks what it has under way to end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from sidecar.contract.model import UnderWay
from waiting import eventually
from worker.ending import drain_streams, under_way
from worker.lane import Client, Ongoing


@dataclass(eq=False)
class One:
    """An exchange that remembers when it was asked."""

    responded: bool = True
    is_tunnel: bool = False
    asked: float | None = None
    breaks: bool = False

    def drain(self, now: float) -> None:
        assert self.asked is None
        self.asked = now
        if self.breaks:
            raise RuntimeError("broken")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def active(*ones: One) -> set[Ongoing]:
    return cast("set[Ongoing]", set(ones))


@contextmanager
def draining(ongoing: set[Ongoing], spread_s: float, clock: Clock) -> Iterator[None]:
    task = asyncio.get_running_loop().create_task(drain_streams(ongoing, spread_s, clock))
    yield
    task.cancel()


def asked(ongoing: set[Ongoing]) -> int:
    return sum(cast("Any", one).asked is not None for one in ongoing)


async def test_the_first_is_asked_at_once_and_the_last_when_the_time_is_over():
    ongoing, clock = active(*(One() for _ in range(10))), Clock()
    with draining(ongoing, 20.0, clock):
        await eventually(lambda: asked(ongoing) == 1)
        clock.now = 110.0
        await eventually(lambda: asked(ongoing) == 6)
        clock.now = 119.0
        await eventually(lambda: asked(ongoing) == 10)


async def test_what_has_no_answer_yet_is_asked_when_it_turns_out_to_last():
    late, clock = One(responded=False), Clock()
    ongoing = active(One(), late)
    with draining(ongoing, 1.0, clock):
        await eventually(lambda: asked(ongoing) == 1)
        clock.now += 2
        assert late.asked is None
        late.responded = True
        ongoing |= active(One())
        await eventually(lambda: asked(ongoing) == 3)
        assert late.asked == clock.now


async def test_without_time_all_are_asked_at_once():
    ongoing = active(One(), One(is_tunnel=True))
    with draining(ongoing, 0.0, Clock()):
        await eventually(lambda: asked(ongoing) == 2)


async def test_one_that_breaks_does_not_keep_the_others_from_their_end(caplog: pytest.LogCaptureFixture):
    ongoing = active(*(One(breaks=True) for _ in range(3)))
    with draining(ongoing, 0.0, Clock()):
        await eventually(lambda: asked(ongoing) == 3)
    assert caplog.text.count("RuntimeError: broken") == 3


def test_what_is_under_way_is_told_by_kind():
    ongoing = active(One(responded=False), One(), One(), One(is_tunnel=True))
    clients = cast("set[Client]", set(range(9)))
    assert under_way(ongoing, clients) == UnderWay(requests=1, streams=2, tunnels=1, idle=5)
    assert under_way(ongoing, set()).idle == 0
