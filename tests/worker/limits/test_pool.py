"""Admission over the workers of one master, and who of them is next."""

import asyncio
import time
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from forks import forked
from limited import LimitedWorker, Waits
from waiting import eventually
from worker.board import Board
from worker.failure import Failure
from worker.limits.line import NOTICEABLE_S


def crew(count: int, places: int, **sections: object) -> list[LimitedWorker]:
    """The workers of one master that was granted so many places."""
    board = Board.create(8, 16)
    workers = [LimitedWorker(board, board.claim(), max_inflight=places, sections=dict(sections)) for _ in range(count)]
    workers[0].grant(places, until=inf)
    return workers


@given(places=st.integers(1, 4), steps=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=80))
def test_the_workers_of_a_master_never_use_more_than_it_has(places: int, steps: list[tuple[int, bool]]):
    loop = asyncio.new_event_loop()
    board = Board.create(8, 16)
    workers = [LimitedWorker(board, board.claim(), loop=loop, max_inflight=places) for _ in range(4)]
    workers[0].grant(places, until=inf)
    held = [0] * 4
    for number, begins in steps:
        if not begins:
            if held[number]:
                workers[number].end()
                held[number] -= 1
        elif workers[number].begin():
            held[number] += 1
        else:
            assert sum(held) == places
        assert workers[0].in_flight == sum(held) <= places
    loop.close()


def test_processes_that_race_for_the_last_place_do_not_both_get_it():
    places, turns = 2, 400
    board = Board.create(8, 16)
    loop = asyncio.new_event_loop()
    first = LimitedWorker(board, board.claim(), loop=loop, max_inflight=places)
    first.grant(places, until=inf)
    slots = [board.claim() for _ in range(4)]

    def race(slot: int | None) -> None:
        worker = LimitedWorker(board, slot, loop=loop, max_inflight=places)
        begun = 0
        deadline = time.monotonic() + 20
        while begun < turns and time.monotonic() < deadline:
            if worker.begin():
                begun += 1
                assert worker.in_flight <= places
                worker.end()
        assert begun == turns

    with forked(lambda: race(slots[0])) as a, forked(lambda: race(slots[1])) as b, forked(lambda: race(slots[2])) as c:
        assert [child.wait() for child in (a, b, c)] == [0, 0, 0]
    assert first.in_flight == 0
    loop.close()


async def test_a_place_that_comes_free_is_for_the_first_who_waits_here():
    [worker] = crew(1, 1)
    assert worker.begin()
    waiters = [Waits(worker) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    worker.end()
    await eventually(lambda: waiters[0].has_begun)
    assert [waiter.has_begun for waiter in waiters] == [True, False, False]
    worker.pool.close()


async def test_a_newcomer_stands_behind_those_who_wait():
    [worker] = crew(1, 1)
    assert worker.begin()
    Waits(worker).start()
    worker.end()
    assert not worker.begin()
    worker.pool.close()


async def test_a_place_that_comes_free_in_one_worker_is_found_by_another():
    holder, other = crew(2, 1)
    assert holder.begin()
    waiter = Waits(other)
    waiter.start()
    assert holder.pool.waiting == 1
    holder.end()
    await eventually(lambda: waiter.has_begun)
    other.pool.close()


async def test_a_busy_worker_does_not_starve_its_siblings():
    """It has a waiter of its own each time a place comes free in it, and leaves it to who has waited longer."""
    busy, quiet = crew(2, 1)
    assert busy.begin()
    patient = Waits(quiet)
    patient.start()
    since, clock = asyncio.get_running_loop().time(), asyncio.get_running_loop().time
    await eventually(lambda: clock() - since > 2 * NOTICEABLE_S)
    late = Waits(busy)
    late.start()
    busy.end()
    await eventually(lambda: patient.has_begun or late.has_begun)
    assert (patient.has_begun, late.has_begun) == (True, False)
    busy.pool.close()
    quiet.pool.close()


async def test_a_place_does_not_stay_empty_for_one_who_cannot_take_it():
    one, stuck = crew(2, 1)
    stuck.pool.area.wait(stuck.row, stuck.pool.writer.slot, 1, asyncio.get_running_loop().time() - 9.0)
    waiter = Waits(one)
    waiter.start()
    assert not waiter.has_begun
    await eventually(lambda: waiter.has_begun)
    one.pool.close()


async def test_a_worker_does_not_yield_to_its_own_who_is_gone():
    """A place stayed free until its second look: what it had told of its first was taken for a sibling's."""
    [worker] = crew(1, 1)
    assert worker.begin()
    gone, left = Waits(worker), Waits(worker)
    gone.start()
    clock = asyncio.get_running_loop().time
    since = clock()
    await eventually(lambda: clock() - since > 2 * NOTICEABLE_S)
    left.start()
    worker.pool.stop_waiting(gone)
    worker.end()
    await asyncio.sleep(0)  # it is the turn of those who wait
    assert left.has_begun
    worker.pool.close()


async def test_nobody_yields_to_a_worker_that_was_stopped():
    """Two of three places that came free were left to its first, who could not take them, for as long as it stood."""
    one, stopped = crew(2, 1, timeouts={"queue_s": 1.0})
    stopped.pool.area.wait(stopped.row, stopped.pool.writer.slot, 1, asyncio.get_running_loop().time() - 2.0)
    assert one.begin()


async def test_a_worker_that_is_gone_waits_no_more_and_its_places_are_free():
    board = Board.create(8, 16)
    slots = [board.claim(), board.claim()]
    gone, left = (LimitedWorker(board, slot, max_inflight=1) for slot in slots)
    gone.grant(1, until=inf)
    assert gone.begin()
    waiter = Waits(gone)
    waiter.start()
    assert not left.begin()
    gone.pool.close()
    gone.pool.area.wait(gone.row, 0, 1, 1.0)  # as kill -9 leaves it
    board.release(slots[0])
    assert left.pool.waiting == 0
    assert left.begin()


async def test_a_backend_on_probation_that_is_full_is_not_claimed_at_each_look():
    """The claim was given back each time, and each time all workers looked anew who was eligible."""
    [worker] = crew(1, 1)
    assert worker.begin()
    board = worker.pool.seats.board
    board.host.eject(worker.row, 1.0, 2.0, 1)
    board.announce(0)
    before = board.generation[0]
    assert not worker.begin(5.0)
    assert board.generation[0] == before
    worker.end()
    assert worker.begin(5.0)
    assert board.generation[0] != before


async def test_who_is_beyond_the_limit_of_the_line_is_told_so():
    [worker] = crew(1, 1, connections={"max_pending": 1})
    assert worker.begin()
    first, second = Waits(worker), Waits(worker)
    first.start()
    second.start()
    assert (first.refused, second.refused) == (None, Failure.QUEUE_FULL)
    worker.pool.close()


async def test_whoever_has_waited_for_too_long_is_told_so():
    [worker] = crew(1, 1, timeouts={"queue_s": 0.02})
    assert worker.begin()
    waiter = Waits(worker)
    waiter.start()
    await eventually(lambda: waiter.refused is Failure.QUEUE_TIMEOUT)
    await eventually(lambda: worker.pool.waiting == 0)
    worker.pool.close()


async def test_a_worker_that_its_siblings_cannot_see_has_nothing_but_what_it_leased_itself():
    board = Board.create(8, 1)
    seen = LimitedWorker(board, board.claim(), max_inflight=4)
    seen.grant(4, until=inf)
    unseen = LimitedWorker(board, board.claim(), max_inflight=4)
    assert (unseen.pool.is_alone, unseen.limit.rule) == (True, "closed")
    unseen.pool.area.lose_store(unseen.row)
    assert not unseen.begin()
    unseen.grant(1, until=inf)
    assert unseen.begin()
    assert not unseen.begin()


async def test_a_full_window_says_when_the_next_one_begins():
    board = Board.create(8, 16)
    worker = LimitedWorker(board, board.claim(), max_requests=1)
    worker.pool.area.lease(worker.row, 7, 1, begins=0.0, ends=9.5)
    assert worker.pool.retry_after_s(5.0) == 1
    assert worker.begin(5.0)
    assert not worker.begin(5.0)
    assert worker.pool.retry_after_s(5.0) == 5
    worker.pool.area.lease(worker.row, 7, 0, begins=0.0, ends=5000.0)
    assert worker.pool.retry_after_s(5.0) == 60
