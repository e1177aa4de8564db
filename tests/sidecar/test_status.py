"""What `status` and `keys` make of the store: of what we write, of nothing, and of garbage."""

import json
import os
import re
from typing import Any

import pytest
from redis.asyncio import Redis

import sidecar.status.read as read_module
from published import EPOCH, Fields, now_ms, publish, report
from redis_server import RedisServer
from sidecar.admin import ask
from sidecar.contract.codec import encode_view
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys, console_token, pools_index
from sidecar.contract.model import Admin, Health, Verdict, View
from sidecar.status import Entry, Status, UnreadableError, read_keys, read_status, show_keys
from sidecar.status.table import show_status
from sidecar.status.words import duration, milliseconds, printable

DOWN = Verdict(
    id="b",
    url="http://10.0.0.2:80",
    state=Health.UNHEALTHY,
    reason="connection refused, 3 times",
    since_ms=EPOCH - 12_000,
)
UP = Verdict(id="a", url="http://10.0.0.1:80", state=Health.HEALTHY, reason="200", since_ms=EPOCH - 90_000)


@pytest.fixture
async def store(shared_redis: RedisServer):
    async with connect(shared_redis.url) as client:
        yield client


async def read(shared_redis: RedisServer, namespace: str, *pools: str) -> Status:
    return await read_status(shared_redis.url, namespace, pools)


async def test_a_backend_is_shown_with_state_reason_since_and_latency(
    shared_redis: RedisServer, store: Redis, namespace: str
):
    await publish(store, PoolKeys(namespace, "api@web-1"), UP, DOWN)
    status = await read(shared_redis, namespace)
    pool = json.loads(json.dumps(status.as_json()))["pools"]["api@web-1"]
    assert pool["epoch"] == EPOCH
    assert pool["store_id"] == "s1"
    assert pool["leader"] == "web-1:42"
    assert pool["config_hash"] == "c0ffee"
    assert pool["age_ms"] == 0
    assert pool["problem"] is None
    assert pool["backends"]["b"] == {
        "url": "http://10.0.0.2:80", "state": "unhealthy", "reason": "connection refused, 3 times",
        "since": EPOCH - 12_000, "admin": "ready", "weight": 1.0, "probe_ms": 4.2, "ttfb_ms": 3.5, "ok_streak": 3,
        "fail_streak": 0, "ejected_ms": 0, "ramp_ms": 0, "inflight": None, "rps": None, "error_ratio": None,
        "asked": None, "asked_by": None, "pending": None, "ejected_on": [], "limits": None,
        "share": None, "p50_ms": None, "p99_ms": None,
    }  # fmt: skip


async def test_a_worker_is_shown_with_its_applied_epoch_and_what_it_has_in_flight(
    shared_redis: RedisServer, store: Redis, namespace: str
):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    await report(store, keys, 1, inflight=3)
    await report(store, keys, 0, epoch=EPOCH - 500, inflight=4)
    pool = (await read(shared_redis, namespace)).pools["api"]
    assert [worker.slot for worker in pool.workers] == [0, 1]
    assert pool.workers[0].applied_epoch == EPOCH - 500
    assert pool.workers[0].view_age_ms == 250
    assert 0 <= pool.workers[0].age_ms < 60_000
    assert pool.backends["a"].inflight == 7


async def test_what_the_collector_made_of_the_reports_is_passed_on(
    shared_redis: RedisServer, store: Redis, namespace: str
):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    await store.hset(keys.backend("a"), mapping={"rps": "12.5", "error_ratio": "0.25", "inflight": "9"})
    backend = (await read(shared_redis, namespace)).pools["api"].backends["a"]
    assert (backend.rps, backend.error_ratio, backend.inflight) == (12.5, 0.25, 9)


async def test_a_worker_whose_key_expired_is_not_shown(shared_redis: RedisServer, store: Redis, namespace: str):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    await store.zadd(keys.workers, {"web-1:i1:9": 1})
    assert (await read(shared_redis, namespace)).pools["api"].workers == []


async def test_an_empty_store_is_no_trouble(
    shared_redis: RedisServer, namespace: str, capsys: pytest.CaptureFixture[str]
):
    status = await read(shared_redis, namespace)
    assert status.pools == {}
    show_status(status)
    assert capsys.readouterr().out == f"no pool is published in the namespace '{namespace}'\n"


async def test_a_configured_pool_that_nobody_published_is_shown_as_such(
    shared_redis: RedisServer, namespace: str, capsys: pytest.CaptureFixture[str]
):
    status = await read(shared_redis, namespace, "api@web-1")
    pool = status.pools["api@web-1"]
    assert (pool.epoch, pool.age_ms, pool.leader, pool.store_id) == (None, None, None, None)
    show_status(status)
    out = capsys.readouterr().out
    assert "api@web-1" in out
    assert "no monitor has published it yet" in out


async def test_a_dead_monitor_is_said_and_its_last_verdicts_are_shown(
    shared_redis: RedisServer, store: Redis, namespace: str, capsys: pytest.CaptureFixture[str]
):
    await publish(store, PoolKeys(namespace, "api"), UP, leader=False, age_ms=42_000)
    show_status(await read(shared_redis, namespace))
    out = capsys.readouterr().out
    assert re.search(r"no monitor leads, last heard from 4\d s ago: its verdicts are that old", out)
    assert "healthy" in out


async def test_what_a_dead_monitor_made_of_the_traffic_is_nothing_that_anybody_knows_now(
    shared_redis: RedisServer, store: Redis, namespace: str
):
    """It stood there for as long as nobody started another one: a p99 of an hour ago."""
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP, age_ms=42_000)
    made: Fields = {
        "rps": "12.5",
        "error_ratio": "0.25",
        "share": "1.000",
        "p50_ms": "3.0",
        "p99_ms": "9.0",
        "inflight": "9",
    }
    await store.hset(keys.backend("a"), mapping=made)
    backend = (await read(shared_redis, namespace)).pools["api"].backends["a"]
    assert {getattr(backend, name) for name in made} == {None}
    await report(store, keys, 0, inflight=2)
    backend = (await read(shared_redis, namespace)).pools["api"].backends["a"]
    assert (backend.inflight, backend.rps) == (2, None)


async def test_times_that_are_left_are_told_as_of_now_and_not_as_of_the_view(
    shared_redis: RedisServer, store: Redis, namespace: str
):
    """A slow start had ten seconds to go from its first moment to its last."""
    age_ms = await now_ms(store) - EPOCH
    begun = Verdict(id="a", url="http://10.0.0.1:80", ejected_ms=age_ms + 3_600_000, ramp_ms=1_000)
    await publish(store, PoolKeys(namespace, "api"), begun)
    backend = (await read(shared_redis, namespace)).pools["api"].backends["a"]
    assert 3_500_000 < backend.ejected_ms <= 3_600_000
    assert backend.ramp_ms == 0


async def test_the_table_says_what_a_person_asks(
    shared_redis: RedisServer, store: Redis, namespace: str, capsys: pytest.CaptureFixture[str]
):
    keys = PoolKeys(namespace, "api")
    ejected_ms = await now_ms(store) - EPOCH + 3 * 3_600_000
    drained = Verdict(id="c", url="unix:/c", state=Health.HEALTHY, admin=Admin.DRAIN, ejected_ms=ejected_ms)
    await publish(store, keys, UP, DOWN, drained)
    await report(store, keys, 0, epoch=EPOCH - 1_500)
    show_status(await read(shared_redis, namespace))
    out = capsys.readouterr().out
    down, worker = (next(line for line in out.splitlines() if wanted in line) for wanted in ("refused", "web-1:i1:0"))
    assert down.split()[:2] == ["b", "unhealthy"]
    assert "ago" in down
    assert "4.2 ms" in down
    assert down.rstrip().endswith("connection refused, 3 times")
    assert f"{EPOCH - 1_500} (behind by 1.5 s)" in worker
    assert "healthy, drain, ejected for 3 h" in out
    assert "monitor web-1:42 leads, heard from 0.0 s ago" in out
    assert "\x1b" not in out


async def test_what_the_operator_asked_for_is_shown_with_who_and_when(
    shared_redis: RedisServer, store: Redis, namespace: str, capsys: pytest.CaptureFixture[str]
):
    keys = PoolKeys(namespace, "api")
    drained = Verdict(id="c", url="unix:/c", state=Health.HEALTHY, reason="200", admin=Admin.DRAIN, weight=2.5)
    await publish(store, keys, drained)
    asked = await ask(store, keys, "c", Admin.DRAIN, by="ada@web-1")
    status = await read(shared_redis, namespace)
    assert status.pools["api"].backends["c"].pending == "drain"
    await store.hset(keys.backend("c"), "asked", str(asked.since_ms))
    status = await read(shared_redis, namespace)
    backend = status.pools["api"].backends["c"]
    assert (backend.asked, backend.asked_by, backend.pending) == (asked.since_ms, "ada@web-1", None)
    show_status(status)
    out = capsys.readouterr().out
    assert "drain by ada@web-1 0." in out
    assert " 2.5 " in out


async def test_who_ejects_a_backend_for_itself_is_named(
    shared_redis: RedisServer, store: Redis, namespace: str, capsys: pytest.CaptureFixture[str]
):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    for slot in (0, 1):
        await report(store, keys, slot, ejected_ms=900)
    status = await read(shared_redis, namespace)
    assert status.pools["api"].backends["a"].ejected_on == ("web-1:i1",)
    show_status(status)
    assert "healthy, ejected on web-1:i1" in capsys.readouterr().out


async def test_workers_are_measured_by_the_view_that_has_what_is_asked_for(
    shared_redis: RedisServer, store: Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    ask_store = read_module.replies_to

    async def overtaken(client: Redis, *commands: tuple[str, ...]) -> list[Any]:
        """What was asked for is published between the view and the hashes."""
        replies = await ask_store(client, *commands)
        if commands[0] == ("GET", keys.view):
            await store.set(keys.view, encode_view(View(epoch=EPOCH + 1, backends={"a": UP})))
            await store.hset(keys.backend("a"), "asked", "5")
        return replies

    monkeypatch.setattr(read_module, "replies_to", overtaken)
    pool = (await read(shared_redis, namespace)).pools["api"]
    assert (pool.epoch, pool.backends["a"].asked) == (EPOCH + 1, 5)


async def test_a_monitor_that_mistrusts_itself_is_said(
    shared_redis: RedisServer, store: Redis, namespace: str, capsys: pytest.CaptureFixture[str]
):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    await store.set(keys.view, encode_view(View(epoch=EPOCH, suspect="2 of 3 fell silent", backends={"a": UP})))
    status = await read(shared_redis, namespace)
    assert status.pools["api"].suspect == "2 of 3 fell silent"
    show_status(status)
    assert "monitor_suspect, verdicts are held: 2 of 3 fell silent" in capsys.readouterr().out


GARBAGE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\x00",
    b"9" * 5_000,
    b"[" * 100_000,
    b'{"schema": 99}',
    b'{"schema": 1}',
]


@pytest.mark.parametrize("raw", GARBAGE, ids=lambda raw: repr(raw[:12]))
async def test_a_view_that_cannot_be_read_is_a_problem_of_its_pool_and_no_error(
    shared_redis: RedisServer, store: Redis, namespace: str, raw: bytes, capsys: pytest.CaptureFixture[str]
):
    await publish(store, PoolKeys(namespace, "good"), UP)
    await publish(store, PoolKeys(namespace, "bad"), UP)
    await store.set(PoolKeys(namespace, "bad").view, raw)
    status = await read(shared_redis, namespace)
    assert status.pools["bad"].problem
    assert status.pools["bad"].backends == {}
    assert status.pools["good"].backends["a"].state == "healthy"
    show_status(status)
    assert "\x00" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["string", "list"])
async def test_keys_of_another_type_are_as_good_as_absent(
    shared_redis: RedisServer, store: Redis, namespace: str, kind: str
):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    await report(store, keys, 0)
    for key in (keys.beat, keys.leader, keys.workers, keys.backend("a"), keys.worker("web-1:i1:0")):
        await store.delete(key)
        await (store.set(key, "x") if kind == "string" else store.rpush(key, "x"))
    pool = (await read(shared_redis, namespace)).pools["api"]
    assert (pool.age_ms, pool.leader, pool.workers) == (None, None, [])
    assert pool.backends["a"].probe_ms is None
    await store.delete(pools_index(namespace))
    await store.set(pools_index(namespace), "x")
    assert (await read(shared_redis, namespace)).pools == {}


@pytest.mark.parametrize("value", ["", "-1", "x", "nan", "1e400", "\udcff", "9" * 400])
async def test_numbers_that_are_none_are_unknown(shared_redis: RedisServer, store: Redis, namespace: str, value: str):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    raw = value.encode(errors="surrogateescape")
    fields: Fields = dict.fromkeys(["probe_ms", "ttfb_ms", "ok_streak", "rps", "error_ratio", "inflight"], raw)
    await store.hset(keys.backend("a"), mapping=fields)
    await store.hset(keys.beat, "redis_ms", raw)
    status = await read(shared_redis, namespace)
    backend = status.pools["api"].backends["a"]
    assert (backend.probe_ms, backend.rps, backend.error_ratio) == (None, None, None)
    show_status(status)


async def test_a_pool_with_an_impossible_name_is_not_asked_for(shared_redis: RedisServer, store: Redis, namespace: str):
    await store.sadd(pools_index(namespace), "a}:view", "\x1b[31m", "", "ok", "ok@web-1")
    assert set((await read(shared_redis, namespace)).pools) == {"ok", "ok@web-1"}


async def test_nothing_in_the_store_can_drive_the_terminal(
    shared_redis: RedisServer, store: Redis, namespace: str, capsys: pytest.CaptureFixture[str]
):
    evil = Verdict(id="\x1b[31mid", url="u", state=Health.HEALTHY, reason="[bold]x[/] \x1b]0;title\x07\n")
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, evil)
    show_status(await read(shared_redis, namespace))
    out = capsys.readouterr().out + show_keys(await read_keys(shared_redis.url, namespace))
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]x[/]" in out


async def test_a_store_that_hangs_is_given_up(redis_server: RedisServer):
    redis_server.pause()
    with pytest.raises(UnreadableError, match=r"Timeout|does not answer"):
        await read_status(redis_server.url, "default")


async def test_a_store_that_is_not_there_is_said_at_once(redis_server: RedisServer):
    redis_server.kill()
    with pytest.raises(UnreadableError, match="cannot be read: connection refused"):
        await read_status(redis_server.url, "default")


async def keys_of(shared_redis: RedisServer, namespace: str, pattern: str | None = None) -> dict[str, Entry]:
    entries = await read_keys(shared_redis.url, namespace, pattern)
    return {entry.key.partition("}:")[2]: entry for entry in entries}


async def test_the_token_of_the_console_is_not_shown(shared_redis: RedisServer, store: Redis, namespace: str):
    await store.set(console_token(namespace), "known to operators")
    [entry] = await read_keys(shared_redis.url, namespace, "console-token")
    assert "operators" not in show_keys([entry])


async def test_every_key_is_shown_with_type_expiry_value_and_meaning(
    shared_redis: RedisServer, store: Redis, namespace: str
):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    await report(store, keys, 0)
    await store.pexpire(keys.worker("web-1:i1:0"), 5_000)
    for number in range(7):
        await store.xadd(keys.events, {"backend": "a", "to": str(number)})
    found = await keys_of(shared_redis, namespace)
    assert set(found) == {"pools", "view", "beat", "leader", "backend:a", "events", "workers", "worker:web-1:i1:0"}
    assert found["pools"].lines == ("api",)
    assert '  "epoch": 1763900000123,' in found["view"].lines
    assert found["view"].expires_ms is None
    assert 0 < (found["worker:web-1:i1:0"].expires_ms or 0) <= 5_000
    assert any(line.split() == ["state", "healthy"] for line in found["backend:a"].lines)
    assert found["workers"].lines[0].startswith("web-1:i1:0  ")
    assert found["events"].lines[0].endswith("backend=a to=6")
    assert found["events"].lines[-1] == "... 2 more"
    text = show_keys([found["backend:a"]])
    assert text.startswith(f"sidebeat:{{{namespace}:api}}:backend:a  (hash, stays)\n  # one backend: state, reason")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("backend", {"backend:a", "backend:b"}),
        ("backend:*", {"backend:a", "backend:b"}),
        ("*:b", {"backend:b"}),
        ("sidebeat:*:view", {"view"}),
        ("nothing", set()),
    ],
)
async def test_a_pattern_is_part_of_a_key_or_a_glob(
    shared_redis: RedisServer, store: Redis, namespace: str, pattern: str, expected: set[str]
):
    await publish(store, PoolKeys(namespace, "api"), UP, DOWN)
    assert set(await keys_of(shared_redis, namespace, pattern)) == expected


async def test_keys_of_other_namespaces_are_never_shown(shared_redis: RedisServer, store: Redis, namespace: str):
    await publish(store, PoolKeys(f"{namespace}-2", "api"), UP)
    await store.set(f"sidebeat:{{{namespace}", "x")
    await store.set("other", "x")
    await publish(store, PoolKeys(namespace, "api"), UP)
    entries = await read_keys(shared_redis.url, namespace, "*")
    assert entries
    assert all(entry.key.startswith((f"sidebeat:{{{namespace}:", f"sidebeat:{{{namespace}}}:")) for entry in entries)


async def test_keys_of_any_type_and_content_can_be_shown(shared_redis: RedisServer, store: Redis, namespace: str):
    prefix = PoolKeys(namespace, "api").prefix
    await store.rpush(f"{prefix}list", "x")
    await store.set(f"{prefix}raw".encode() + b"\xff", os.urandom(64))
    await store.set(f"{prefix}deep", "[" * 100_000)
    text = show_keys(await read_keys(shared_redis.url, namespace))
    assert "(not a type of ours)" in text
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("measured", "words"),
    [(None, ""), (0.0, "0.0 ms"), (99.94, "99.9 ms"), (2_500.0, "2500 ms"), (10_000.0, "≥10 s")],
)
def test_a_time_beyond_the_last_bucket_is_no_number(measured: float | None, words: str):
    assert milliseconds(measured) == words


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(0, "0.0 s"), (9_900, "9.9 s"), (12_400, "12 s"), (600_000, "10 min"), (36_000_000, "10 h"), (864e6, "10 days")],
)
def test_a_length_of_time_is_said_as_people_say_it(milliseconds: float, words: str):
    assert duration(milliseconds) == words


def test_what_cannot_be_printed_is_replaced():
    assert printable("a\tb\u202ec") == "a\ufffdb\ufffdc"
