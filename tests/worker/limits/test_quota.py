"""The script that leases the requests of a window, in a real server: never over, and all of it to be had."""

import pytest
import redis

from redis_server import RedisServer
from sidecar.contract.keys import PoolKeys
from worker.limits.lease import QUOTA

HOUR_MS = 3_600_000
AHEAD_MS = 200


@pytest.fixture
def store(shared_redis: RedisServer) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(shared_redis.socket_path), decode_responses=True)


class Window:
    """A long window of one backend's, the current one by the store's clock or so many after it."""

    def __init__(self, store: redis.Redis, namespace: str, *, limit: int = 100, after: int = 0) -> None:
        self.store = store
        self.limit = limit
        seconds = store.time()[0]
        self.number = seconds * 1000 // HOUR_MS + after
        self.key = PoolKeys(namespace, "api").quota("b", self.number)

    def lease(self, count: int, *, unasked: int = 0, takers: int = 2, again: bool = False) -> tuple[int, int]:
        """How many were had, and how many are leased by now."""
        told = self.number, HOUR_MS, self.limit, count, unasked, AHEAD_MS, takers, int(again)
        reply = self.store.eval(QUOTA, 1, self.key, *told)
        assert isinstance(reply, list)
        return int(reply[0]), int(reply[2])


def test_what_is_asked_for_is_had_while_there_is_plenty(store: redis.Redis, namespace: str):
    window = Window(store, namespace)
    assert window.lease(10) == (10, 10)
    assert window.lease(7) == (7, 17)


def test_chunks_become_small_as_it_runs_out(store: redis.Redis, namespace: str):
    window = Window(store, namespace)
    chunks = [window.lease(1000)[0] for _ in range(9)]
    assert chunks == [50, 25, 13, 6, 3, 2, 1, 0, 0]
    assert sum(chunks) == 100


@pytest.mark.parametrize("takers", [2, 3, 8])
def test_all_of_it_can_be_had_and_no_more(store: redis.Redis, namespace: str, takers: int):
    window = Window(store, namespace, limit=1000)
    assert sum(window.lease(300, takers=takers)[0] for _ in range(200)) == 1000


def test_what_was_made_without_asking_counts(store: redis.Redis, namespace: str):
    window = Window(store, namespace)
    assert window.lease(10, unasked=95) == (3, 98)
    assert window.lease(10, unasked=20) == (0, 118)


def test_a_store_that_lost_a_window_leases_nothing_more_of_it(store: redis.Redis, namespace: str):
    """It began the window anew, and twice as many requests as the limit were made in it."""
    window = Window(store, namespace)
    window.lease(90)
    store.flushall()
    assert window.lease(10, again=True) == (0, 100)
    assert window.lease(10) == (0, 100)  # nor to others
    assert 0 < store.pttl(window.key) <= 2 * HOUR_MS + AHEAD_MS


def test_who_has_leased_before_may_lease_again(store: redis.Redis, namespace: str):
    window = Window(store, namespace)
    window.lease(10)
    assert window.lease(10, again=True) == (10, 20)


@pytest.mark.parametrize("after", [-1, 1, 2])
def test_a_window_that_is_over_or_far_ahead_is_not_leased(store: redis.Redis, namespace: str, after: int):
    window = Window(store, namespace, after=after)
    seconds, _ = store.time()
    if after == 1 and HOUR_MS - seconds * 1000 % HOUR_MS < 2_000:
        pytest.skip("the next hour is about to begin")
    assert window.lease(10) == (0, -1)
    assert not store.exists(window.key)


def test_what_others_put_there_leases_nothing(store: redis.Redis, namespace: str):
    window = Window(store, namespace)
    store.set(window.key, "many")
    assert window.lease(10) == (0, 100)


def test_nothing_is_left_behind_for_ever(store: redis.Redis, namespace: str):
    window = Window(store, namespace)
    window.lease(1)
    assert 0 < store.pttl(window.key) <= 2 * HOUR_MS + AHEAD_MS
