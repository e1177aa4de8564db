"""The script that shares a backend's places out, in a real server: never over, nobody left out, nothing left behind."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redis_server import RedisServer
from sidecar.contract.keys import PoolKeys
from worker.limits.lease import PLACES

TTL_MS = 5_000


@pytest.fixture
def store(shared_redis: RedisServer) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(shared_redis.socket_path), decode_responses=True)


@dataclass(slots=True)
class Master:
    """An instance that keeps the rules: it uses no more than it was told last, but for what was begun before."""

    name: str
    wants: int = 0
    places: int = 0
    in_flight: int = 0
    masters: int = 0
    rank: int = 0

    def fill(self) -> None:
        """Begin whatever it may."""
        self.in_flight = max(min(self.wants, self.places), self.in_flight)

    def finish(self) -> None:
        """All that was under way ends, and what may begin begins."""
        self.in_flight = 0
        self.fill()

    @property
    def using(self) -> int:
        return max(self.places, self.in_flight)


@dataclass(slots=True)
class Fleet:
    """Instances that share one backend."""

    store: redis.Redis
    key: str
    cap: int
    masters: dict[str, Master] = field(default_factory=dict)

    def master(self, name: str, wants: int = 0) -> Master:
        master = self.masters.setdefault(name, Master(name))
        master.wants = wants
        return master

    def lease(self, master: Master, *, known: int | None = None) -> int:
        known = master.masters if known is None else known
        reply = self.store.eval(
            PLACES, 1, self.key, f"host:{master.name}", self.cap, TTL_MS, master.using, master.wants, known, 0, 0
        )  # fmt: skip
        assert isinstance(reply, list)
        master.places, master.masters, master.rank = int(reply[0]), int(reply[2]), int(reply[3])
        master.fill()
        return master.places

    def round(self) -> Mapping[str, int]:
        """Everybody leases, and all that was under way ends: what each has after so many of these."""
        for master in self.masters.values():
            self.lease(master)
            master.finish()
        return {name: master.places for name, master in self.masters.items()}

    def settled(self) -> Mapping[str, int]:
        return [self.round() for _ in range(4)][-1]

    @property
    def used(self) -> int:
        return sum(master.in_flight for master in self.masters.values())


def fleet(store: redis.Redis, namespace: str, cap: int) -> Fleet:
    return Fleet(store, PoolKeys(namespace, "api").share("b"), cap)


def test_who_is_alone_has_all_of_it(store: redis.Redis, namespace: str):
    f = fleet(store, namespace, 5)
    assert f.lease(f.master("a", wants=0)) == 5


@pytest.mark.parametrize(
    ("cap", "wants", "parts"),
    [
        (5, {"a": 9, "b": 9}, {"a": 3, "b": 2}),
        (10, {"a": 2, "b": 50}, {"a": 2, "b": 8}),
        (10, {"a": 1, "b": 2, "c": 90}, {"a": 1, "b": 2, "c": 7}),
        (10, {"a": 0, "b": 50}, {"a": 1, "b": 9}),  # nobody is left without, where there is enough
        (3, {"a": 0, "b": 50}, {"a": 0, "b": 3}),  # else it is for those who have use for it
        (2, {"a": 0, "b": 50, "c": 0}, {"a": 0, "b": 2, "c": 0}),
        (10, {"a": 0, "b": 0}, {"a": 5, "b": 5}),
        (7, {"a": 2, "b": 2}, {"a": 4, "b": 3}),
    ],
)
def test_places_are_shared_fairly_by_demand(
    store: redis.Redis, namespace: str, cap: int, wants: dict[str, int], parts: dict[str, int]
):
    f = fleet(store, namespace, cap)
    for name, wanted in wants.items():
        f.master(name, wanted)
    assert f.settled() == parts


def test_what_another_still_uses_is_not_given_away(store: redis.Redis, namespace: str):
    f = fleet(store, namespace, 5)
    old, new = f.master("a", wants=5), f.master("b", wants=5)
    f.lease(old)
    assert f.lease(new) == 0
    assert f.lease(old) == 3
    assert (old.in_flight, f.lease(new)) == (5, 0)
    old.finish()
    f.lease(old)
    assert f.lease(new) == 2


def test_where_there_are_fewer_places_than_masters_they_go_round(store: redis.Redis, namespace: str):
    """Their order is that of the clock, which may turn between two rounds; what is seen here is one turn."""
    f = fleet(store, namespace, 1)
    for name in "abc":
        f.master(name, wants=1)
    assert any(sorted(f.settled().values()) == [0, 0, 1] for _ in range(2))


def test_the_places_of_one_that_is_gone_are_anybodys_after_its_lease(store: redis.Redis, namespace: str):
    f = fleet(store, namespace, 4)
    store.hset(f.key, "host:gone", '{"granted":4,"wanted":9,"until_ms":1700000000000}')
    assert f.lease(f.master("a", wants=9)) == 4
    assert "host:gone" not in store.hkeys(f.key)


def test_nothing_is_left_behind_for_ever(store: redis.Redis, namespace: str):
    f = fleet(store, namespace, 4)
    f.lease(f.master("a"))
    assert 0 < store.pttl(f.key) <= 2 * TTL_MS


def holding(store: redis.Redis, namespace: str) -> tuple[Fleet, Master, Master]:
    """Two masters that have and use one and five of six places."""
    f = fleet(store, namespace, 6)
    idle, busy = f.master("a", wants=1), f.master("b", wants=5)
    assert f.settled() == {"a": 1, "b": 5}
    idle.wants = busy.wants = 9
    return f, idle, busy


def test_a_store_that_lost_everything_does_not_give_away_what_others_may_use(store: redis.Redis, namespace: str):
    """Who was the first to ask after that was given an equal part, and from the second time on all of it."""
    f, idle, busy = holding(store, namespace)
    store.flushall()
    assert [f.lease(idle) for _ in range(3)] == [1, 1, 1]
    assert f.used == 6
    f.lease(busy)
    assert f.settled() == {"a": 3, "b": 3}


@pytest.mark.parametrize("set_by_ms", [-200_000, -100, 6_000, 200_000])
def test_a_clock_that_is_set_gives_nothing_away(store: redis.Redis, namespace: str, set_by_ms: int):
    """Leases that the new time had not heard of yet were dropped, and those that it took to be over given to others."""
    f, idle, busy = holding(store, namespace)
    for name, value in store.hgetall(f.key).items():
        if ":" in name:  # as they look from there
            lease = json.loads(value)
            lease["until_ms"] -= set_by_ms
            store.hset(f.key, name, json.dumps(lease, separators=(",", ":")))
        elif name == "born":
            store.hset(f.key, name, int(value) - set_by_ms)
    assert [f.lease(idle) for _ in range(3)] == [1, 1, 1]
    f.lease(busy)
    assert f.used <= 6
    assert f.settled() == {"a": 3, "b": 3}


def test_a_lease_of_a_time_to_come_lasts_as_long_as_any(store: redis.Redis, namespace: str):
    f = fleet(store, namespace, 4)
    store.hset(f.key, "host:x", '{"granted":3,"wanted":3,"until_ms":99999999999999}')
    assert f.lease(f.master("a", wants=9)) == 1
    lease = json.loads(str(store.hget(f.key, "host:x")))
    own = json.loads(str(store.hget(f.key, "host:a")))
    assert (lease["granted"], lease["until_ms"]) == (3, own["until_ms"])


@pytest.mark.parametrize("value", ["", "{}", "granted"])
def test_what_others_put_there_counts_for_nothing(store: redis.Redis, namespace: str, value: str):
    f = fleet(store, namespace, 4)
    store.hset(f.key, mapping={"host:x": value, "born": value})
    assert f.lease(f.master("a", wants=9)) == 4


def test_a_key_of_another_type_is_replaced(store: redis.Redis, namespace: str):
    f = fleet(store, namespace, 4)
    store.set(f.key, "mine")
    assert f.lease(f.master("a", wants=9)) == 4


def test_a_person_can_read_it(store: redis.Redis, namespace: str):
    f = fleet(store, namespace, 4)
    f.lease(f.master("a", wants=9))
    fields = store.hgetall(f.key)
    assert isinstance(fields, dict)
    assert (fields["max_inflight"], fields["max_requests"]) == ("4", "0")
    share = json.loads(fields["host:a"])
    assert (share["granted"], share["wanted"]) == (4, 9)
    assert share["until_ms"] > int(fields["born"])


STEPS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["lease", "want 0", "want 3", "want 30", "finish"])), max_size=60
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cap=st.integers(1, 9), steps=STEPS)
def test_never_more_than_the_cap_are_in_use_whoever_asks_when(
    store: redis.Redis, namespace: str, cap: int, steps: list[tuple[str, str]]
):
    store.delete(PoolKeys(namespace, "api").share("b"))
    f = fleet(store, namespace, cap)
    for name, step in steps:
        master = f.master(name, f.masters[name].wants if name in f.masters else 3)
        if step == "lease":
            f.lease(master)
        elif step == "finish":
            master.finish()
        else:
            master.wants = int(step.split()[1])
            master.fill()
        assert f.used <= cap
    for master in f.masters.values():
        master.wants = 30
    assert not f.masters or any(sum(f.settled().values()) == cap for _ in range(2))  # two: they may just go round
