"""`drain`, `maint`, `ready`, `weight` and `events`: what they accept, write down, say, and how they end."""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from processes import Program
from redis_server import RedisServer
from sidecar.admin import read
from sidecar.cli.commands import run
from sidecar.cli.order import Errand, Order, Progress, is_done, progress_of
from sidecar.contract.codec import encode_view
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys, pools_index
from sidecar.contract.model import Admin, Health, Verdict, View
from sidecar.status import BackendStatus, PoolStatus, Status, WorkerStatus
from waiting import eventually_sync

Captured = pytest.CaptureFixture[str]
Command = Callable[..., int]
UP = Verdict(id="a", url="http://a:1", state=Health.HEALTHY, reason="200")


@pytest.fixture
def keys(namespace: str) -> PoolKeys:
    return PoolKeys(namespace, "api@web-1")


@pytest.fixture
def command(shared_redis: RedisServer, namespace: str, keys: PoolKeys) -> Command:
    """A command of ours, called beside a system whose monitor has published a and b and then died."""

    async def publish() -> None:
        async with connect(shared_redis.url) as store:
            backends = {"a": UP, "b": replace(UP, id="b")}
            await store.sadd(pools_index(namespace), keys.pool)
            await store.set(keys.view, encode_view(View(epoch=5, backends=backends)))

    asyncio.run(publish())
    return lambda *words: run([*words, "--redis", shared_redis.url, "--namespace", namespace])


def intents(shared_redis: RedisServer, keys: PoolKeys) -> dict[str, tuple[Admin, float | None]]:
    async def look() -> dict[str, tuple[Admin, float | None]]:
        async with connect(shared_redis.url) as store:
            return {name: (each.admin, each.weight) for name, each in (await read(store, keys)).intents.items()}

    return asyncio.run(look())


def test_what_became_of_an_order_is_told_to_programs_at_the_end(command: Command, capsys: Captured):
    assert command("drain", "api/a", "--json") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["pool"], told["backend"], told["before"], told["after"]) == ("api@web-1", "a", "ready", "drain")
    assert (told["is_led"], told["is_published"], told["is_in_force"]) == (False, False, False)
    assert err == ""


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("api/typo", "the pool api@web-1 has no backend 'typo', only a, b"),
        ("nope", "there is no pool 'nope', only api@web-1"),
    ],
)
def test_events_of_what_does_not_exist_are_wrong_use(command: Command, capsys: Captured, target: str, line: str):
    assert command("events", target) == 2
    assert capsys.readouterr() == ("", f"sidebeat: {line}\n")


def test_events_of_a_backend_that_has_departed_are_shown(
    shared_redis: RedisServer, keys: PoolKeys, command: Command, capsys: Captured
):
    async def write() -> None:
        async with connect(shared_redis.url) as store:
            await store.xadd(keys.events, {"backend": "gone", "from": "healthy", "to": "unhealthy", "reason": "why"})

    asyncio.run(write())
    assert command("events", "api/gone") == 0
    assert "api@web-1/gone  healthy -> unhealthy: why" in capsys.readouterr().out


def test_the_keys_are_told_to_programs(command: Command, keys: PoolKeys, capsys: Captured):
    assert command("keys", "--json", "view") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["key"], entry["type"], entry["expires_ms"]) == (keys.view, "string", None)
    assert entry["meaning"].startswith("every backend's eligibility")


def test_without_a_monitor_an_intent_is_recorded_and_that_is_said(
    shared_redis: RedisServer, keys: PoolKeys, command: Command, capsys: Captured
):
    assert command("drain", "api/a") == 0
    out, err = capsys.readouterr()
    assert out == (
        "api@web-1/a: drain (was ready)\nrecorded; no monitor is alive, and it comes into force when one is\n"
    )
    assert err == ""
    assert command("weight", "api/a", "2.5") == 0
    assert command("drain", "api@web-1/a") == 0
    assert "api@web-1/a: drain, as before\n" in capsys.readouterr().out
    assert intents(shared_redis, keys) == {"a": (Admin.DRAIN, 2.5)}
    assert command("weight", "api/a", "-0") == 0
    assert "weight 0 (was weight 2.5)" in capsys.readouterr().out
    assert command("ready", "api/a") == command("weight", "api/a", "default") == 0
    assert intents(shared_redis, keys) == {"a": (Admin.READY, None)}


def test_who_waits_for_what_does_not_come_is_disappointed(command: Command, capsys: Captured):
    assert command("maint", "api/a", "--wait", "--timeout", "0.1") == 1
    assert "recorded; no monitor is alive" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("drain", "api/b"), ("maint", "api/b"), ("weight", "api/b", "0")])
def test_the_last_backend_may_go_and_a_warning_is_given(command: Command, capsys: Captured, words: tuple[str, ...]):
    assert command("drain", "api/a") == 0
    assert capsys.readouterr().err == ""
    assert command(*words) == 0
    warning = "no other backend of api@web-1 takes traffic: without b it serves nobody"
    assert capsys.readouterr().err == f"sidebeat: warning: {warning}\n"


def test_a_backend_that_nothing_was_published_of_may_take_traffic(
    shared_redis: RedisServer, namespace: str, capsys: Captured, tmp_path: Path
):
    file = tmp_path / "sidebeat.toml"
    file.write_text(
        '[pools.api]\nbackends = [{url = "http://10.0.0.1", id = "a"}, {url = "http://10.0.0.2", id = "b"}]\n'
    )
    where = ("-c", str(file), "--redis", shared_redis.url, "--namespace", namespace)
    assert run(["drain", "api/a", *where]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("drain", "api/c"), "the pool api@web-1 has no backend 'c', only a, b"),
        (("ready", "web/a"), "there is no pool 'web', only api@web-1"),
        (("maint", "api"), "'api' is not POOL/BACKEND, like api/alpha"),
        (("weight", "api/a", "-1"), "a weight is a number from 0 to 256, or default, not '-1'"),
        (("weight", "api/a", "300"), "a weight is a number from 0 to 256, or default, not '300'"),
        (("weight", "api/a", "nan"), "a weight is a number from 0 to 256, or default, not 'nan'"),
        (("weight", "api/a", "much"), "a weight is a number from 0 to 256, or default, not 'much'"),
        (("drain", "api/a", "--timeout", "-1"), "--timeout: -1 is no number of seconds"),
        (("drain", "api/a", "--timeout", "nan"), "--timeout: nan is no number of seconds"),
        (("events", "web"), "there is no pool 'web', only api@web-1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_changes_nothing(
    shared_redis: RedisServer, keys: PoolKeys, command: Command, capsys: Captured, words: tuple[str, ...], said: str
):
    assert command(*words) == 2
    assert capsys.readouterr() == ("", f"sidebeat: {said}\n")
    assert intents(shared_redis, keys) == {}


def test_a_store_that_is_not_there_is_one_line(capsys: Captured):
    for words in (["drain", "api/a"], ["events"]):
        assert run([*words, "--redis", "redis://127.0.0.1:1"]) == 1
        assert capsys.readouterr().err.startswith("sidebeat: store.url: redis://127.0.0.1:1 cannot be read")


def test_status_shows_what_is_asked_for_and_not_in_force(command: Command, capsys: Captured):
    command("drain", "api/a")
    capsys.readouterr()
    assert command("status") == 0
    assert "drain is asked for, and not in force yet; 200" in capsys.readouterr().out


def test_events_say_what_changed_why_and_by_whom(command: Command, capsys: Captured):
    for words in (("drain", "api/a"), ("weight", "api/b", "3"), ("ready", "api/a")):
        command(*words)
    capsys.readouterr()
    assert command("events", "api/a", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["from"], event["to"]) for event in events] == [("ready", "drain"), ("drain", "ready")]
    assert events[0]["at_ms"] <= events[1]["at_ms"]
    assert command("events", "-n", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "  api@web-1/b  weight default -> weight 3: the operator asked for it (by " in lines[0]
    assert command("events", "-n", "0") == 0
    assert capsys.readouterr().out == ""


def test_events_are_followed_through_a_store_that_goes_and_comes(redis_server: RedisServer, namespace: str):
    keys = PoolKeys(namespace, "api")

    async def happen(backend: str, *, evil: bool = False) -> None:
        async with connect(redis_server.url) as store:
            await store.sadd(pools_index(namespace), keys.pool)
            await store.xadd(keys.events, {"backend": backend, "to": "\x1b[31m" if evil else "up", "epoch": "x"})

    asyncio.run(happen("early", evil=True))
    where = ("--redis", redis_server.url, "--namespace", namespace)
    with Program([sys.executable, "-P", "-m", "sidecar", "events", "-f", *where]) as program:
        program.wait_for_line("api/early  \ufffd\\[31m")
        asyncio.run(happen("during"))
        program.wait_for_line("api/during  up")
        redis_server.kill()
        program.wait_for_line("waiting for it")
        redis_server.start()
        asyncio.run(happen("after"))
        program.wait_for_line("api/after  up")
        assert program.stderr.count("\n") == 1
        program.interrupt()
        eventually_sync(lambda: program.status is not None)
        assert program.stdout.count("\n") == 3


def test_events_of_a_pool_that_comes_later_are_followed_too(shared_redis: RedisServer, namespace: str):
    async def begin(pool: str) -> None:
        async with connect(shared_redis.url) as store:
            await store.xadd(PoolKeys(namespace, pool).events, {"backend": "a", "to": "up"})
            await store.sadd(pools_index(namespace), pool)

    asyncio.run(begin("api"))
    where = ("--redis", shared_redis.url, "--namespace", namespace)
    with Program([sys.executable, "-P", "-m", "sidecar", "events", "-f", *where]) as program:
        program.wait_for_line("api/a  up")
        asyncio.run(begin("web"))
        program.wait_for_line("web/a  up")


BACKEND = BackendStatus(
    url="u", state="healthy", reason="", since=None, admin="drain", weight=1.0, probe_ms=None, ttfb_ms=None,
    ok_streak=0, fail_streak=0, ejected_ms=0, ramp_ms=0, inflight=3, rps=None, error_ratio=None, asked=100,
    asked_by=None, pending=None,
)  # fmt: skip
WORKER = WorkerStatus(
    host="h", instance="i", slot=0, pid=1, incarnation="x", applied_epoch=9, view_age_ms=0, draining=False, age_ms=0
)
POOL = PoolStatus(
    epoch=9, age_ms=0, store_id="s", leader="m", config_hash=None, problem=None, suspect=None,
    backends={"a": BACKEND}, workers=[WORKER],
)  # fmt: skip


def progress_in(pool: PoolStatus, wish: Admin | float | None = Admin.DRAIN, since_ms: int = 100) -> Progress:
    errand = Errand(pool="api", backend="a", wish=wish, since_ms=since_ms)
    return progress_of(Status(namespace="n", now_ms=0, pools={"api": pool}), errand)


def seen(pool: PoolStatus, since_ms: int = 100) -> tuple[bool, bool, int]:
    progress = progress_in(pool, since_ms=since_ms)
    return progress.is_published, progress.is_in_force, progress.inflight


def test_an_intent_is_in_force_when_every_worker_routes_on_the_view_that_has_it():
    behind = replace(WORKER, slot=1, applied_epoch=8)
    assert seen(POOL) == (True, True, 3)
    assert seen(POOL, since_ms=101) == (False, False, 3)
    assert seen(replace(POOL, workers=[WORKER, behind])) == (True, False, 3)
    assert seen(replace(POOL, workers=[])) == (True, True, 0)
    assert seen(replace(POOL, backends={})) == (False, False, 0)


@pytest.mark.parametrize(("wish", "is_overruled"), [(Admin.DRAIN, False), (Admin.READY, True), (1.0, False),
                                                    (2.0, True), (None, False)])  # fmt: skip
def test_what_another_operator_has_changed_since_is_not_in_force(wish: Admin | float | None, is_overruled: bool):
    progress = progress_in(POOL, wish, since_ms=99)
    assert (progress.is_overruled, progress.is_in_force) == (is_overruled, not is_overruled)
    assert not progress_in(POOL, wish, since_ms=101).is_overruled, "not yet published"


@pytest.mark.parametrize(("wish", "ends_work"), [(Admin.DRAIN, True), (Admin.MAINT, True), (0.0, True),
                                                 (Admin.READY, False), (1.0, False), (None, False)])  # fmt: skip
def test_only_who_is_to_get_no_work_is_waited_for_until_it_has_none(wish: Admin | float | None, ends_work: bool):
    order = Order(target="api/a", wish=wish, waits=True, timeout_s=1.0)
    assert order.ends_work == ends_work


@pytest.mark.parametrize(
    ("waits", "workers", "expected"), [(False, [], True), (True, [], False), (True, [WORKER], False)]
)
def test_who_waits_believes_no_silence(waits: bool, workers: list[WorkerStatus], expected: bool):
    """Right after the store lost everything nobody reports, and requests may be under way; with a worker, 3 are."""
    order = Order(target="api/a", wish=Admin.DRAIN, waits=waits, timeout_s=1.0)
    assert is_done(progress_in(replace(POOL, workers=workers)), order) is expected
