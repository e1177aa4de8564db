"""The monitor as a whole: real backends, a real store, and what a person reads in its keys."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import sidecar.lease as lease_module
import sidecar.monitor.lead as lead_module
from backend import Backend, answers, stalls
from redis_server import RedisServer
from sidecar.admin import ask
from sidecar.contract.codec import decode_view, encode_view, probe_times_of, report_hash
from sidecar.contract.config import Config, ConfigError, parse
from sidecar.contract.connect import connect
from sidecar.contract.events import Event
from sidecar.contract.keys import PoolKeys, pools_index
from sidecar.contract.model import Admin, Health, Report, Tally, Verdict, View
from sidecar.lease import Grant, Lease
from sidecar.monitor import run
from waiting import eventually

Store = Any  # a client whose replies are str, which redis-py's types cannot say
QUICK = {"interval_s": 0.3, "fast_interval_s": 0.05, "timeout_s": 10.0}


def config_for(url: str, namespace: str, *backends: Backend, **pool: object) -> Config:
    """Backends `b0`, `b1`, … in the pool `api`, probed fast."""
    members = [{"url": backend.url, "id": f"b{place}"} for place, backend in enumerate(backends)]
    content = {
        "store": {"url": url, "namespace": namespace, "host": "web-1"},
        "console": {"enabled": False},
        "pools": {"api": {"backends": members, "health_check": QUICK, **pool}},
    }
    return parse(content, {})


@asynccontextmanager
async def monitoring(config: Config) -> AsyncIterator[None]:
    """A monitor that runs until the end of the block, and must be told to end."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(config, {}))
        yield
        assert not task.done(), "it ended by itself"
        task.cancel()
    assert task.cancelled()


class Eyes:
    """What a person sees of a pool."""

    def __init__(self, store: Store, namespace: str) -> None:
        self.store = store
        self.keys = PoolKeys(namespace, "api@web-1")

    async def view(self) -> View:
        raw = await self.store.get(self.keys.view)
        assert raw is not None, "no view"
        return decode_view(raw)

    async def states(self) -> dict[str, str]:
        return {name: str(verdict.state) for name, verdict in (await self.view()).backends.items()}

    async def are(self, **states: str) -> bool:
        return await self.states() == states

    async def wants(self, name: str, admin: Admin) -> bool:
        return (await self.view()).backends[name].admin is admin

    async def backend(self, name: str) -> dict[str, str]:
        fields: dict[str, str] = await self.store.hgetall(self.keys.backend(name))
        return fields

    async def beat(self) -> dict[str, str]:
        fields: dict[str, str] = await self.store.hgetall(self.keys.beat)
        return fields

    async def leader(self) -> str | None:
        owner: str | None = await self.store.hget(self.keys.leader, "owner")
        return owner

    async def leader_token(self) -> int:
        return int(await self.store.hget(self.keys.leader, "token") or 0)

    async def events(self) -> list[tuple[str, str, str, str]]:
        return [
            (event["backend"], event["from"], event["to"], event["reason"])
            for _, event in await self.store.xrange(self.keys.events)
        ]


@pytest.fixture
async def eyes(redis_server: RedisServer, namespace: str) -> AsyncIterator[Eyes]:
    async with connect(redis_server.url) as store:
        yield Eyes(store, namespace)


@pytest.fixture
async def backends() -> AsyncIterator[list[Backend]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Backend()) for _ in range(3)]


async def test_backends_that_answer_are_healthy_and_the_keys_say_so(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backends: list[Backend]
):
    config = config_for(redis_server.url, namespace, *backends)
    async with monitoring(config):
        await eventually(lambda: eyes.are(b0="healthy", b1="healthy", b2="healthy"))
        fields = await eyes.backend("b0")
        view = await eyes.view()
        assert (fields["url"], fields["state"], fields["reason"]) == (backends[0].url, "healthy", "HTTP 200")
        assert fields["last_probe"] == "HTTP 200"
        assert float(fields["probe_ms"]) >= float(fields["ttfb_ms"]) > 0
        assert abs(int(fields["since"]) - view.epoch) < 60_000, "by the clock of Redis"
        assert view.config_hash == config.pools["api"].hash
        assert await eyes.store.smembers(pools_index(namespace)) == {"api@web-1"}
        first = await eyes.beat()
        assert first["leader"] == await eyes.leader()
        assert first["store_id"] == view.store_id
        assert int(first["token"]) == view.token == await eyes.leader_token()
        later = await eventually(lambda: newer_beat(eyes, first))
        assert later["epoch"] == first["epoch"], "nothing changed but the time"


async def newer_beat(eyes: Eyes, than: dict[str, str]) -> dict[str, str]:
    beat = await eyes.beat()
    assert int(beat["seq"]) > int(than["seq"]) + 1
    return beat


async def test_a_pool_that_goes_by_probes_has_their_times_in_its_beat(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backends: list[Backend]
):
    backends[2].refuse()
    async with monitoring(config_for(redis_server.url, namespace, *backends, balancing={"policy": "fastest"})):
        await eventually(lambda: eyes.are(b0="healthy", b1="healthy", b2="unhealthy"))
        times = probe_times_of((await eyes.beat())["probe_ms"])
    assert times.keys() == {"b0", "b1"}, "a refusal is quick"
    assert all(0 < value < 10_000 for value in times.values())


async def test_a_killed_backend_is_unhealthy_with_its_reason_and_comes_back_in_slow_start(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backends: list[Backend]
):
    async with monitoring(config_for(redis_server.url, namespace, *backends)):
        await eventually(lambda: eyes.are(b0="healthy", b1="healthy", b2="healthy"))
        before = await eyes.view()
        backends[1].refuse()
        await eventually(lambda: eyes.are(b0="healthy", b1="unhealthy", b2="healthy"))
        fields = await eyes.backend("b1")
        assert (fields["state"], fields["reason"]) == ("unhealthy", "connection refused")
        down = (await eyes.view()).backends["b1"]
        assert down.since_ms > before.backends["b1"].since_ms
        assert (await eyes.view()).backends["b0"] == before.backends["b0"]

        await backends[1].accept()
        await eventually(lambda: eyes.are(b0="healthy", b1="healthy", b2="healthy"))
        assert 5000 < (await eyes.view()).backends["b1"].ramp_ms <= 10_000
        assert [event for event in await eyes.events() if event[0] == "b1"] == [
            ("b1", "unknown", "healthy", "HTTP 200"),
            ("b1", "healthy", "unhealthy", "connection refused"),
            ("b1", "unhealthy", "healthy", "HTTP 200"),
        ]


async def test_the_end_of_slow_start_is_published(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend
):
    backend.refuse()
    config = config_for(redis_server.url, namespace, backend, balancing={"slow_start_s": 1.5})
    async with monitoring(config):
        await eventually(lambda: eyes.are(b0="unhealthy"))
        await backend.accept()
        await eventually(lambda: eyes.are(b0="healthy"))
        assert (await eyes.view()).backends["b0"].ramp_ms > 0
        await eventually(lambda: ramp_is_over(eyes))


async def ramp_is_over(eyes: Eyes) -> bool:
    return (await eyes.view()).backends["b0"].ramp_ms == 0


async def test_a_hanging_backend_delays_no_other_and_is_not_published_before_its_probe_ended(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backends: list[Backend]
):
    backends[0].handler = stalls()
    slow = {**QUICK, "timeout_s": 4.0}
    async with monitoring(config_for(redis_server.url, namespace, *backends, health_check=slow)):
        await eventually(lambda: eyes.are(b1="healthy", b2="healthy"))
        backends[1].refuse()
        await eventually(lambda: eyes.are(b1="unhealthy", b2="healthy"))
        await eventually(lambda: eyes.are(b0="unknown", b1="unhealthy", b2="healthy"))
        assert (await eyes.backend("b0"))["reason"] == "no answer within 4.0 s"


async def test_one_failed_probe_changes_nothing_but_the_streak(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend
):
    slow = {"interval_s": 60.0, "fast_interval_s": 60.0, "timeout_s": 10.0}
    async with monitoring(config_for(redis_server.url, namespace, backend, health_check=slow)):
        await eventually(lambda: eyes.are(b0="healthy"))
        epoch = (await eyes.view()).epoch
        backend.handler = answers(503)
        await eyes.store.publish(eyes.keys.suspect, "b0")
        await eventually(lambda: has(eyes, "b0", fail_streak="1", last_probe="HTTP 503", state="healthy"))
        assert (await eyes.view()).epoch == epoch


async def has(eyes: Eyes, name: str, **expected: str) -> bool:
    fields = await eyes.backend(name)
    return expected.items() <= fields.items()


async def test_a_suspected_backend_is_probed_at_once(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend
):
    slow = {"interval_s": 60.0, "fast_interval_s": 0.05, "timeout_s": 10.0}
    async with monitoring(config_for(redis_server.url, namespace, backend, health_check=slow)):
        await eventually(lambda: eyes.are(b0="healthy"))
        await eventually(lambda: listens(eyes))
        backend.refuse()
        await eyes.store.publish(eyes.keys.suspect, "nobody")
        await eyes.store.publish(eyes.keys.suspect, "b0")
        await eventually(lambda: eyes.are(b0="unhealthy"))


async def listens(eyes: Eyes) -> bool:
    [(_, subscribers)] = await eyes.store.pubsub_numsub(eyes.keys.suspect)
    return bool(subscribers)


async def test_what_workers_saw_stands_beside_what_the_monitor_saw(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend
):
    async def work() -> None:
        for beat in range(1000):
            tally = Tally(inflight=3, requests=100 * beat, failures=25 * beat)
            report = Report(
                host="h", instance="i", slot=0, pid=1, incarnation="x", heartbeat_ms=1000 * beat, tallies={"b0": tally}
            )
            await eyes.store.zadd(eyes.keys.workers, {"h:i:0": beat})
            await eyes.store.hset(eyes.keys.worker("h:i:0"), mapping=report_hash(report))
            await asyncio.sleep(0.2)

    async with monitoring(config_for(redis_server.url, namespace, backend)), asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(work())
        await eventually(lambda: has(eyes, "b0", inflight="3", rps="100.0", error_ratio="0.250"))
        worker.cancel()


async def test_a_probe_a_second_is_kept_for_a_sparkline(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend
):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        entries = await eventually(lambda: eyes.store.xrange(eyes.keys.history("b0")))
    assert (entries[0][1]["passed"], entries[0][1]["status"]) == ("1", "200")


async def test_a_store_that_is_killed_and_comes_back_empty_is_filled_again(
    redis_server: RedisServer,
    namespace: str,
    eyes: Eyes,
    backends: list[Backend],
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level("INFO")
    async with monitoring(config_for(redis_server.url, namespace, *backends)):
        await eventually(lambda: eyes.are(b0="healthy", b1="healthy", b2="healthy"))
        before = await eyes.view()
        redis_server.kill()
        backends[1].refuse()
        await eventually(lambda: logged(caplog, Event.STORE_DOWN) == 1)
        await eventually(lambda: logged(caplog, Event.VERDICT) == 4, what="probing goes on without a store")
        redis_server.start()
        await eventually(lambda: eyes.are(b0="healthy", b1="unhealthy", b2="healthy"))
        after = await eyes.view()
        assert after.epoch > before.epoch
        assert after.store_id != before.store_id
        assert after.backends["b0"] == before.backends["b0"], "state, reason and since outlive the store"
        assert (await eyes.backend("b0"))["state"] == "healthy"
        assert await eyes.events() == [("b1", "healthy", "unhealthy", "connection refused")]
        assert await eyes.store.smembers(pools_index(namespace)) == {"api@web-1"}
    assert (logged(caplog, Event.STORE_DOWN), logged(caplog, Event.STORE_UP)) == (1, 2)


def logged(caplog: pytest.LogCaptureFixture, event: Event) -> int:
    return sum(record.getMessage().startswith(f"{event} ") for record in caplog.records)


async def test_a_store_that_is_not_there_yet_is_waited_for(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend, caplog: pytest.LogCaptureFixture
):
    redis_server.kill()
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: logged(caplog, Event.STORE_DOWN) == 1)
        await eventually(lambda: len(backend.requests) >= 3, what="probing goes on without a store")
        redis_server.start()
        await eventually(lambda: eyes.are(b0="healthy"))


async def test_a_store_that_hung_is_written_again_when_it_wakes(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend, caplog: pytest.LogCaptureFixture
):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        epoch = (await eyes.view()).epoch
        redis_server.pause()
        await eventually(lambda: logged(caplog, Event.STORE_DOWN) == 1)
        backend.refuse()
        redis_server.resume()
        await eventually(lambda: eyes.are(b0="unhealthy"))
        assert (await eyes.view()).epoch > epoch


async def test_a_flushed_store_is_filled_again(redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        await ask(eyes.store, eyes.keys, "b0", Admin.DRAIN, by="ada")
        await eventually(lambda: eyes.wants("b0", Admin.DRAIN))
        before = await eyes.view()
        await eyes.store.flushall()
        await eventually(lambda: eyes.are(b0="healthy"))
        assert (await eyes.view()).store_id != before.store_id
        assert (await eyes.view()).token > before.token
        assert await eyes.wants("b0", Admin.DRAIN), "from its first edition on"


async def test_what_the_operator_asks_for_is_published_at_once_and_who_is_in_maintenance_is_not_probed(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backends: list[Backend], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lead_module, "FOLLOW_S", 3600.0)  # by the hint, and not when wishes are read anyway
    async with monitoring(config_for(redis_server.url, namespace, *backends[:2])):
        await eventually(lambda: eyes.are(b0="healthy", b1="healthy"))
        await eventually(lambda: listens(eyes))
        asked = await ask(eyes.store, eyes.keys, "b0", Admin.MAINT, by="ada")
        await eventually(lambda: eyes.wants("b0", Admin.MAINT))
        assert (await eyes.backend("b0"))["asked"] == str(asked.since_ms)
        probed = len(backends[0].requests)
        others = len(backends[1].requests)
        await eventually(lambda: len(backends[1].requests) >= others + 3)
        assert len(backends[0].requests) == probed
        assert await eyes.are(b0="unknown", b1="healthy")
        await ask(eyes.store, eyes.keys, "b0", Admin.READY, by="ada")
        await eventually(lambda: eyes.are(b0="healthy", b1="healthy"))


async def test_keys_that_hold_garbage_are_written_over_and_told_once(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend, caplog: pytest.LogCaptureFixture
):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        keys = eyes.keys
        ours = {keys.view: "string", keys.beat: "hash", keys.leader: "hash", keys.backend("b0"): "hash"}
        ours |= {keys.history("b0"): "stream"}
        for key in ours:
            await eyes.store.delete(key)
            await eyes.store.rpush(key, b"\xff\xfe")
        await eyes.store.set(keys.workers, b"\xff")
        await eventually(lambda: types(eyes, ours))
        await eventually(lambda: eyes.are(b0="healthy"))
        told = logged(caplog, Event.STORE_GARBAGE)
        beat = await eyes.beat()
        await eventually(lambda: newer_beat(eyes, beat))
        assert logged(caplog, Event.STORE_GARBAGE) == told
    assert logged(caplog, Event.STORE_DOWN) == 0


async def types(eyes: Eyes, expected: dict[str, str]) -> bool:
    found = {key: await eyes.store.type(key) for key in expected}
    assert found == expected
    return True


async def test_histories_are_the_first_to_go_when_the_store_is_full(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend, caplog: pytest.LogCaptureFixture
):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        for _ in range(100):
            await eyes.store.xadd(eyes.keys.history("b0"), {"filler": "x" * 20_000})
        used = (await eyes.store.info("memory"))["used_memory"]
        await eyes.store.config_set("maxmemory", used - 1_000_000)
        backend.refuse()
        await eventually(lambda: eyes.are(b0="unhealthy"))
        assert not await eyes.store.exists(eyes.keys.history("b0"))
    assert logged(caplog, Event.STORE_DOWN) == 0


async def test_a_store_that_stays_full_is_written_when_there_is_room(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend, caplog: pytest.LogCaptureFixture
):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        await eyes.store.config_set("maxmemory", 1)
        await eventually(lambda: logged(caplog, Event.STORE_DOWN) == 1)
        backend.refuse()
        await eyes.store.config_set("maxmemory", 0)
        await eventually(lambda: eyes.are(b0="unhealthy"))
    assert logged(caplog, Event.STORE_DOWN) == 1


async def test_a_monitor_goes_on_where_the_last_one_stopped(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backends: list[Backend]
):
    """State, reason, since and streaks are adopted; a backend that moved begins anew, one that left expires."""
    old = {
        "b0": Verdict(id="b0", url=backends[0].url, state=Health.HEALTHY, reason="was so", since_ms=1_000),
        "b1": Verdict(id="b1", url="http://elsewhere:1", state=Health.UNHEALTHY, reason="was so", since_ms=1_000),
        "gone": Verdict(id="gone", url="http://gone:1", state=Health.HEALTHY, reason="was so", since_ms=1_000),
    }
    await eyes.store.set(eyes.keys.view, encode_view(View(epoch=5, token=7, store_id="s", backends=old)))
    await eyes.store.hset(eyes.keys.backend("b0"), "ok_streak", "41")
    await eyes.store.hset(eyes.keys.backend("gone"), "state", "healthy")
    async with monitoring(config_for(redis_server.url, namespace, *backends[:2])):
        await eventually(lambda: eyes.are(b0="healthy", b1="healthy"))
        view = await eyes.view()
        assert (view.backends["b0"].reason, view.backends["b0"].since_ms) == ("was so", 1_000)
        assert view.backends["b1"].since_ms > 1_000
        assert view.token > 7
        assert await eyes.events() == [("b1", "unhealthy", "healthy", "HTTP 200")]
        assert await eyes.store.pttl(eyes.keys.backend("gone")) > 0
        await eventually(lambda: streak_of(eyes, "b0", above=41))


async def streak_of(eyes: Eyes, name: str, *, above: int) -> bool:
    return int((await eyes.backend(name))["ok_streak"]) > above


async def test_a_backend_that_died_between_two_leaders_falls_by_the_new_ones_probes(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend
):
    config = config_for(redis_server.url, namespace, backend)
    async with monitoring(config):
        await eventually(lambda: eyes.are(b0="healthy"))
    backend.refuse()
    async with monitoring(config):
        await eventually(lambda: eyes.are(b0="unhealthy"))
    assert (await eyes.events())[1:] == [("b0", "healthy", "unhealthy", "connection refused")]


async def test_a_monitor_that_stops_leaves_no_lease_and_the_last_view(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend
):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        assert await eyes.leader() is not None
    assert await eyes.leader() is None
    assert await eyes.are(b0="healthy")


async def test_a_monitor_stops_at_once_also_without_a_store(redis_server: RedisServer, namespace: str):
    async with Backend() as backend, asyncio.timeout(20), monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: backend.requests)
        redis_server.pause()


class Relay:
    """A way to the store that can be cut: connections stay, and nothing comes through."""

    def __init__(self, target: Path, path: Path) -> None:
        self.url = f"unix://{path}"
        self._target = target
        self._path = path
        self._is_open = asyncio.Event()
        self._is_open.set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._carry, self._path):
            yield
            self._is_open.set()

    def cut(self) -> None:
        self._is_open.clear()

    def mend(self) -> None:
        self._is_open.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, far_writer))
                tasks.create_task(self._pump(far_reader, writer))
        finally:
            for each in (writer, far_writer):
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65_536):
            await self._is_open.wait()
            writer.write(part)
        writer.close()


async def test_of_two_monitors_one_leads_and_one_that_is_cut_off_is_replaced_and_fenced(
    redis_server: RedisServer,
    namespace: str,
    eyes: Eyes,
    backend: Backend,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    relay = Relay(redis_server.socket_path, tmp_path / "relay.sock")
    async with relay.serve(), monitoring(config_for(relay.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        first = await eyes.leader()
        async with monitoring(config_for(redis_server.url, namespace, backend)):
            await eventually(lambda: len(backend.requests) > 4, what="both probe")
            assert await eyes.leader() == first
            relay.cut()
            second = await eventually(lambda: another_leads(eyes, first))
            backend.refuse()
            await eventually(lambda: eyes.are(b0="unhealthy"))
            relay.mend()
            await eventually(lambda: logged(caplog, Event.FENCED) == 1)
            assert await eyes.leader() == second
            refused = [event for event in await eyes.events() if event[2] == "FENCED"]
            assert refused, "the script that refused left word of it"
            assert all(f"{second} leads under" in event[3] for event in refused)
            verdicts = [event[1:3] for event in await eyes.events() if event[0] == "b0"]
            assert verdicts == [("unknown", "healthy"), ("healthy", "unhealthy")], "one set of verdicts"


async def test_a_leader_whose_lease_was_deleted_claims_another_and_publishes(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend
):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        before = await eyes.view()
        await eventually(lambda: newer_beat(eyes, {"seq": "1"}))
        await eyes.store.delete(eyes.keys.leader)
        backend.refuse()
        await eventually(lambda: eyes.are(b0="unhealthy"))
        assert (await eyes.view()).token > before.token


async def test_a_leader_that_was_replaced_behind_its_back_is_fenced_when_it_publishes(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend, caplog: pytest.LogCaptureFixture
):
    async with monitoring(config_for(redis_server.url, namespace, backend)):
        await eventually(lambda: eyes.are(b0="healthy"))
        before = await eyes.view()
        await eventually(lambda: newer_beat(eyes, {"seq": "1"}))
        await eyes.store.hset(eyes.keys.leader, mapping={"owner": "usurper", "token": str(before.token + 1)})
        await eyes.store.pexpire(eyes.keys.leader, 60_000)
        backend.refuse()
        await eventually(lambda: logged(caplog, Event.FENCED) == 1)
        assert await eyes.view() == before
        await eyes.store.delete(eyes.keys.leader)
        await eventually(lambda: eyes.are(b0="unhealthy"))
        assert "usurper leads under" in (await eyes.events())[1][3]


async def test_an_error_of_our_own_does_not_end_the_monitor_and_is_told_once(
    redis_server: RedisServer,
    namespace: str,
    eyes: Eyes,
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    calls = []

    async def breaks(_: Lease) -> Grant:
        calls.append(1)
        raise LookupError("what is this?")

    with monkeypatch.context() as patch:
        patch.setattr(Lease, "claim", breaks)
        async with monitoring(config_for(redis_server.url, namespace, backend)):
            await eventually(lambda: len(calls) >= 3)
            patch.undo()
            await eventually(lambda: eyes.are(b0="healthy"))
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


async def another_leads(eyes: Eyes, than: str | None) -> str:
    owner = await eyes.leader()
    assert owner not in (None, than)
    return str(owner)


async def test_a_standby_leads_at_once_when_the_leader_stops(
    redis_server: RedisServer, namespace: str, eyes: Eyes, backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease_module, "LEASE_MS", 60_000)  # not when its lease ends by itself
    config = config_for(redis_server.url, namespace, backend)
    async with AsyncExitStack() as standby:
        async with monitoring(config):
            await eventually(lambda: eyes.are(b0="healthy"))
            first = await eyes.leader()
            before = await eyes.view()
            await standby.enter_async_context(monitoring(config))
            await eventually(lambda: len(backend.requests) > 4)
        await eventually(lambda: another_leads(eyes, first))
        await eventually(lambda: published_under(eyes, await_token=before.token))
        assert (await eyes.view()).backends == before.backends
        assert len(await eyes.events()) == 1, "taking over is no change of a verdict"


async def published_under(eyes: Eyes, *, await_token: int) -> bool:
    return (await eyes.view()).token > await_token


async def test_each_pool_has_a_leader_and_a_view_of_its_own(redis_server: RedisServer, namespace: str, eyes: Eyes):
    async with Backend() as one, Backend(answers(500)) as other:
        pools = {
            name: {"backends": [{"url": backend.url, "id": "b"}], "health_check": QUICK}
            for name, backend in (("one", one), ("other", other))
        }
        routes = [{"pool": "one"}, {"pool": "other", "path_prefix": "/other"}]
        store = {"url": redis_server.url, "namespace": namespace, "host": "web-1"}
        async with monitoring(parse({"store": store, "pools": pools, "routes": routes}, {})):
            first, second = (PoolKeys(namespace, f"{name}@web-1") for name in ("one", "other"))
            await eventually(lambda: is_published(eyes.store, first, "healthy"))
            await eventually(lambda: is_published(eyes.store, second, "unhealthy"))
            assert await eyes.store.hget(first.leader, "owner") == await eyes.store.hget(second.leader, "owner")


async def is_published(store: Store, keys: PoolKeys, state: str) -> bool:
    raw = await store.get(keys.view)
    assert raw is not None
    return bool(json.loads(raw)["backends"]["b"]["state"] == state)


async def test_a_monitor_that_is_not_told_where_the_store_is_says_so(backend: Backend):
    config = parse({"pools": {"api": {"backends": [backend.url]}}}, {})
    with pytest.raises(ConfigError, match=r"store\.url"):
        await run(config, {"XDG_RUNTIME_DIR": "/nonexistent"})


async def test_a_tls_file_that_is_missing_is_named_by_its_key(redis_server: RedisServer, tmp_path: Path):
    pool = {"backends": ["https://backend.test"], "tls": {"ca": str(tmp_path / "ca.pem")}}
    config = parse({"store": {"url": redis_server.url}, "pools": {"api": pool}}, {})
    with pytest.raises(ConfigError, match=r"pools\.api\.tls"):
        await run(config, {})
