"""Places for probes."""

import asyncio

from sidecar.monitor.gate import Gate
from waiting import eventually


async def occupy(gate: Gate, inside: list[str], name: str) -> None:
    async with gate.place():
        inside.append(name)
        await asyncio.Event().wait()


async def test_who_finds_no_place_waits_until_one_is_left():
    gate, inside = Gate(places=1, hold_s=60.0), list[str]()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(occupy(gate, inside, "first"))
        second = tasks.create_task(occupy(gate, inside, "second"))
        await eventually(lambda: inside == ["first"])
        await asyncio.sleep(0)
        assert inside == ["first"]
        first.cancel()
        await eventually(lambda: inside == ["first", "second"])
        second.cancel()


async def test_one_that_hangs_gives_its_place_up_once():
    gate, inside = Gate(places=1, hold_s=0.01), list[str]()
    async with asyncio.TaskGroup() as tasks:
        crowd = [tasks.create_task(occupy(gate, inside, name)) for name in "abc"]
        await eventually(lambda: inside == ["a", "b", "c"])
        for each in crowd:
            each.cancel()
    late = Gate(places=1, hold_s=0.01)
    async with late.place():
        await asyncio.sleep(0.05)
    async with asyncio.TaskGroup() as tasks, late.place():
        waiting = tasks.create_task(occupy(late, inside, "d"))
        await asyncio.sleep(0)
        assert "d" not in inside, "a place that was given up twice would be two places"
        waiting.cancel()
