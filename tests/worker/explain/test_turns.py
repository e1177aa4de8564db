"""Whose turn it is to have a request explained."""

import asyncio

import pytest

from waiting import eventually
from worker.explain.turns import MOST_WAITING, CrowdedError, Turns


async def test_one_at_a_time_has_a_turn():
    turns, at_once = Turns(lambda: 0.0), 0

    async def explain() -> int:
        nonlocal at_once
        async with turns.one():
            at_once += 1
            most = at_once
            await asyncio.sleep(0)
            at_once -= 1
            return most

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(explain()) for _ in range(4)]
    assert [each.result() for each in asked] == [1] * 4


async def test_after_a_long_one_there_is_a_pause(monkeypatch: pytest.MonkeyPatch):
    now, slept = 50.0, list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("worker.explain.turns.asyncio.sleep", sleep)
    turns = Turns(lambda: now)
    async with turns.one():
        now += 0.5
    async with turns.one():
        pass
    assert slept[-1] == 1.5


async def test_in_a_crowd_nobody_waits_for_ever():
    turns, end = Turns(lambda: 0.0), asyncio.Event()
    begun = 0

    async def explain() -> None:
        nonlocal begun
        begun += 1
        async with turns.one():
            await end.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(MOST_WAITING + 1):
            tasks.create_task(explain())
        await eventually(lambda: begun == MOST_WAITING + 1)
        with pytest.raises(CrowdedError):
            async with turns.one():
                pass
        end.set()
    async with turns.one():
        pass
