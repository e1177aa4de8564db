"""What a master may use of a backend: by its lease, without one, and without a store."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limited import limit_of
from worker.board.limits import LimitArea, Rule, share_of

NOW = 1000.0


@pytest.fixture
def area() -> LimitArea:
    return LimitArea(2, 4)


def granted(area: LimitArea, places: int, *, masters: int = 1, rank: int = 0, stamp: int = 1) -> None:
    area.grant(0, places, stamp=stamp, masters=masters, rank=rank, until=NOW + 5)


@given(total=st.integers(0, 10_000), masters=st.integers(1, 50))
def test_the_parts_of_all_masters_are_the_whole(total: int, masters: int):
    parts = [share_of(total, masters, rank) for rank in range(masters)]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


def test_nothing_is_granted_before_the_store_was_asked(area: LimitArea):
    limit = limit_of(places=5, requests=100)
    assert area.places(limit, NOW) == 0
    assert area.requests_left(limit, NOW) == 0


def test_what_has_no_limit_has_none(area: LimitArea):
    assert area.places(limit_of(), NOW) == inf
    assert area.requests_left(limit_of(), NOW) == inf


def test_a_lease_holds_to_its_end_whatever_becomes_of_the_store(area: LimitArea):
    limit = limit_of(places=5, rule="closed")
    granted(area, 3)
    area.lose_store(0)
    assert area.places(limit, NOW + 4.9) == 3
    assert area.places(limit, NOW + 5) == 0


def test_a_lease_that_nobody_renewed_grants_nothing_while_the_store_answers(area: LimitArea):
    """Others may have its places by now."""
    granted(area, 3)
    assert area.places(limit_of(places=5, rule="open"), NOW + 5) == 0


@pytest.mark.parametrize(
    ("rule", "masters", "rank", "places"),
    [
        ("share", 1, 0, 5),
        ("share", 2, 0, 3),
        ("share", 2, 1, 2),
        ("share", 9, 7, 0),
        ("open", 2, 1, 5),
        ("closed", 1, 0, 0),
    ],
)
def test_without_the_store_the_rule_holds(area: LimitArea, rule: Rule, masters: int, rank: int, places: int):
    granted(area, 1, masters=masters, rank=rank)
    area.lose_store(0)
    assert area.places(limit_of(places=5, rule=rule), NOW + 5) == places


def test_who_never_saw_a_store_has_all_of_it(area: LimitArea):
    area.lose_store(0)
    assert area.places(limit_of(places=5), NOW) == 5


def test_an_older_answer_does_not_undo_a_newer_one(area: LimitArea):
    granted(area, 2, stamp=8)
    granted(area, 5, stamp=7)
    assert area.places(limit_of(places=5), NOW) == 2


def test_a_clock_of_the_store_that_was_set_back_does_not_stop_anything(area: LimitArea):
    granted(area, 2, stamp=8)
    area.grant(0, 5, stamp=3, masters=1, rank=0, until=NOW + 8)
    assert area.places(limit_of(places=5), NOW) == 5


def test_a_smaller_limit_of_ours_holds_at_once(area: LimitArea):
    granted(area, 5)
    assert area.places(limit_of(places=3), NOW) == 3


def test_a_row_that_has_become_anothers_is_granted_nothing(area: LimitArea):
    area.adopt(0, 1)
    granted(area, 5)
    area.adopt(0, 1)
    assert area.places(limit_of(places=5), NOW) == 5
    area.adopt(0, 2)
    assert area.places(limit_of(places=5), NOW) == 0


def spend_all(area: LimitArea, now: float, *, rule: Rule = "share", window_s: float = 10.0) -> int:
    """How many of at most 100 requests there were."""
    limit, count = limit_of(requests=50, rule=rule, window_s=window_s), 0
    while count < 100 and area.requests_left(limit, now) > 0:
        area.spend(limit, now)
        count += 1
    return count


def test_a_leased_window_is_used_between_its_edges_only(area: LimitArea):
    area.grant(0, 0, stamp=1, masters=1, rank=0, until=NOW + 5)
    area.lease(0, 7, 10, begins=NOW, ends=NOW + 2)
    assert spend_all(area, NOW - 0.1) == 0
    assert spend_all(area, NOW + 2) == 0
    assert spend_all(area, NOW) == 10
    assert area.spent(0) == 10


def test_chunks_of_one_window_add_up_and_those_of_the_next_wait_for_it(area: LimitArea):
    area.lease(0, 7, 10, begins=NOW, ends=NOW + 2)
    area.lease(0, 8, 4, begins=NOW + 2, ends=NOW + 4)
    area.lease(0, 7, 3, begins=NOW, ends=NOW + 2)
    assert spend_all(area, NOW) == 13
    assert spend_all(area, NOW + 2) == 4


def test_what_was_left_of_a_window_goes_with_it(area: LimitArea):
    area.lease(0, 7, 10, begins=NOW, ends=NOW + 2)
    area.lease(0, 9, 4, begins=NOW + 4, ends=NOW + 6)
    assert area.lease_of(0, 7) is None
    assert spend_all(area, NOW + 4) == 4


@pytest.mark.parametrize(
    ("rule", "masters", "count"), [("share", 1, 50), ("share", 3, 17), ("open", 3, 100), ("closed", 1, 0)]
)
def test_without_the_store_a_window_of_our_own_is_kept(area: LimitArea, rule: Rule, masters: int, count: int):
    area.grant(0, 0, stamp=1, masters=masters, rank=1 if masters > 1 else 0, until=NOW)
    area.lose_store(0)
    assert spend_all(area, NOW, rule=rule) == count
    assert spend_all(area, NOW + 10, rule=rule) == count


def test_without_a_store_there_ever_was_a_window_may_be_longer_than_the_machine_runs(area: LimitArea):
    limit = limit_of(requests=100, window_s=10 * NOW)
    area.lose_store(0)
    assert area.requests_left(limit, NOW) == 100


def test_a_window_whose_lease_is_spent_stays_closed_when_the_store_goes(area: LimitArea):
    area.lease(0, 7, 1, begins=NOW, ends=NOW + 2)
    area.lose_store(0)
    assert spend_all(area, NOW) == 1
    assert spend_all(area, NOW + 1.9) == 0
    assert spend_all(area, NOW + 9.9) == 0


def test_windows_without_the_store_go_on_from_the_last_one_it_leased(area: LimitArea):
    """So what all masters use in a window of the store's is still no more than it has."""
    area.lease(0, 7, 0, begins=NOW, ends=NOW + 9.9)
    area.lose_store(0)
    assert spend_all(area, NOW + 9.95) == 0
    assert spend_all(area, NOW + 10) == 50
    assert spend_all(area, NOW + 19.99) == 0
    assert spend_all(area, NOW + 20) == 50


def test_what_was_used_without_the_store_is_told_to_it(area: LimitArea):
    limit = limit_of(requests=50)
    area.lose_store(0)
    spend_all(area, NOW)
    spend_all(area, NOW + 10)
    assert area.debt(limit, NOW + 11) == 100
    assert area.debt(limit, NOW + 35) == 0
    area.settle(0)
    assert area.debt(limit, NOW + 11) == 0


def test_a_lease_that_comes_when_its_window_is_long_over_does_not_replace_a_later_one(area: LimitArea):
    """It did, when the worker that had asked for it was stopped in between."""
    limit = limit_of(requests=50)
    area.lease(0, 9, 4, begins=NOW + 4, ends=NOW + 6)
    area.lease(0, 7, 10, begins=NOW, ends=NOW + 2)
    assert area.requests_left(limit, NOW + 5) == 4


def test_nobody_has_waited_for_longer_than_anybody_may(area: LimitArea):
    area.wait(1, 0, 1, NOW)
    area.wait(1, 2, 1, NOW - 9)
    assert area.first_since(1, NOW - 5) == NOW


def test_siblings_see_who_waits_and_since_when_until_the_worker_is_gone(area: LimitArea):
    area.wait(1, 0, 3, NOW)
    area.wait(1, 2, 1, NOW - 1)
    assert (area.waiting(1), area.first_since(1, 0.0)) == (4, NOW - 1)
    area.release(2, 2)
    assert (area.waiting(1), area.first_since(1, 0.0)) == (3, NOW)
    area.wait(1, 0, 0, 0.0)
    assert (area.waiting(1), area.first_since(1, 0.0)) == (0, inf)
    assert area.waiting(0) == 0
