"""One pool under watch, with probes that answer what the test says."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from sidecar.contract.model import Backend, Health, Verdict, View, parse_address
from sidecar.monitor.clock import WireClock
from sidecar.monitor.gate import Gate
from sidecar.monitor.told import Told
from sidecar.monitor.watch import Watch
from sidecar.probe import ProbeResult
from sidecar.publish import Edition, LastEdition
from sidecar.schedule import Schedule
from sidecar.verdict import Condition, Policy
from waiting import eventually

PASS = ProbeResult(passed=True, reason="HTTP 200", total_ms=1.5, ttfb_ms=1.0, status=200)
FAIL = ProbeResult(passed=False, reason="no answer within 1.0 s", total_ms=1000.0)
VOID = replace(FAIL, is_void=True)
POLICY = Policy(fall=2, rise=2, fast_interval_s=0.01, slow_start_s=10.0)

Probe = Callable[[], Awaitable[ProbeResult]]


def backend(name: str) -> Backend:
    url = f"http://{name}:80"
    return Backend(id=name, url=url, address=parse_address(url))


def says(result: ProbeResult) -> Probe:
    async def probe() -> ProbeResult:
        return result

    return probe


def watch_of(probes: Mapping[str, Probe]) -> Watch:
    schedule = Schedule(probes, interval_s=0.01, fast_interval_s=0.01, now=time.monotonic())
    members = [backend(name) for name in probes]
    return Watch("api", members, probes=probes, policy=POLICY, schedule=schedule, gate=Gate())


@asynccontextmanager
async def probing(watch: Watch) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        probers = [tasks.create_task(watch.keep_probing(name)) for name in watch.members]
        yield
        for prober in probers:
            prober.cancel()


def state_of(watch: Watch, name: str) -> Health:
    return watch.conditions[name].state


def told_by(watch: Watch) -> tuple[Told, WireClock]:
    clock = WireClock()
    clock.learn(1_000_000_000, sent=time.monotonic(), received=time.monotonic())
    return Told(watch, clock, "c0ffee"), clock


def edition_of(told: Told) -> Edition | None:
    return told.edition(token=1, store_id="s", now=time.monotonic())


async def test_a_first_result_is_news_and_so_is_a_change():
    probes = {"a": says(PASS)}
    watch = watch_of(probes)
    async with probing(watch):
        await asyncio.wait_for(watch.news.wait(), 20)
        assert state_of(watch, "a") is Health.HEALTHY
        watch.news.clear()
        probes["a"] = says(FAIL)
        await asyncio.wait_for(watch.news.wait(), 20)
        assert state_of(watch, "a") is Health.UNHEALTHY


async def test_a_result_that_says_nothing_is_shown_and_not_judged():
    watch = watch_of({"a": says(VOID)})
    async with probing(watch):
        await eventually(lambda: "a" in watch.results)
    assert not watch.conditions["a"].is_known
    assert not watch.news.is_set()
    assert watch.reading("a").probe_ms == 1000.0


async def test_another_weight_is_news():
    probes = {"a": says(PASS)}
    watch = watch_of(probes)
    async with probing(watch):
        await asyncio.wait_for(watch.news.wait(), 20)
        watch.news.clear()
        probes["a"] = says(replace(PASS, advertised_weight=0.5))
        await asyncio.wait_for(watch.news.wait(), 20)
    assert watch.conditions["a"].advertised_weight == 0.5


async def test_a_paused_backend_is_not_probed_and_looked_at_at_once_when_it_returns():
    probed: list[str] = []

    def counts(name: str) -> Probe:
        async def probe() -> ProbeResult:
            probed.append(name)
            return PASS

        return probe

    probes = {"a": counts("a"), "b": counts("b")}
    watch = watch_of(probes)
    async with probing(watch):
        await eventually(lambda: all(each.is_known for each in watch.conditions.values()))
        watch.pause("a", True)
        watch.pause("nobody", True)
        watch.suspect("a")
        probed.clear()
        await eventually(lambda: probed.count("b") >= 5)
        assert "a" not in probed
        assert state_of(watch, "a") is Health.HEALTHY
        watch.pause("a", False)
        await eventually(lambda: "a" in probed)


async def test_what_a_probe_finds_of_a_backend_that_was_paused_meanwhile_is_not_judged():
    begun, released = asyncio.Event(), asyncio.Event()

    async def slow() -> ProbeResult:
        begun.set()
        await released.wait()
        return FAIL

    watch = watch_of({"a": slow})
    async with probing(watch):
        await begun.wait()
        watch.pause("a", True)
        released.set()
        await eventually(lambda: watch.results.get("a") is FAIL)
    assert not watch.conditions["a"].is_known
    assert watch.judged == {}


async def test_a_down_backend_is_probed_at_the_down_interval():
    probes = {"a": says(FAIL), "b": says(FAIL)}
    schedule = Schedule(probes, interval_s=0.01, fast_interval_s=0.01, down_interval_s=60.0, now=time.monotonic())
    members = [backend(name) for name in probes]
    watch = Watch("api", members, probes=probes, policy=POLICY, schedule=schedule, gate=Gate())
    async with probing(watch):
        await eventually(lambda: all(each.state is Health.UNHEALTHY for each in watch.conditions.values()))
        assert (schedule.wait_s("a", time.monotonic()) or 0.0) > 40.0


async def test_a_backend_that_moved_to_another_url_is_unknown_again():
    verdict = Verdict(id="a", url="http://elsewhere:80", state=Health.UNHEALTHY, reason="was so", since_ms=1_000)
    watch = watch_of({"a": says(PASS)})
    told, _ = told_by(watch)
    told.adopt(LastEdition(view=View(epoch=5, backends={"a": verdict}), readings={}), 1_000_000_000, time.monotonic())
    assert watch.conditions["a"] == Condition()
    assert edition_of(told) is None


async def test_nothing_is_published_before_something_is_known():
    told, _ = told_by(watch_of({"a": says(PASS)}))
    assert edition_of(told) is None
    assert told.heartbeat(time.monotonic()) is None


async def test_what_was_published_is_no_news_though_the_clocks_drift():
    watch = watch_of({"a": says(PASS), "b": says(FAIL)})
    async with probing(watch):
        await eventually(lambda: state_of(watch, "b") is Health.UNHEALTHY)
    told, clock = told_by(watch)
    edition = edition_of(told)
    assert edition is not None
    assert edition.view is not None
    told.accepted(edition)
    clock.learn(1_000_900_000, sent=time.monotonic(), received=time.monotonic())
    assert edition_of(told) is None
    told.doubt()
    again = edition_of(told)
    assert again is not None
    assert again.view == edition.view
    assert again.hashes.keys() == {"a", "b"}
    assert again.changes == []


async def test_a_change_is_published_with_the_hash_of_that_backend_alone():
    probes = {"a": says(PASS), "b": says(PASS)}
    watch = watch_of(probes)
    told, _ = told_by(watch)
    async with probing(watch):
        await eventually(lambda: all(each.is_known for each in watch.conditions.values()))
        first = edition_of(told)
        assert first is not None
        told.accepted(first)
        probes["b"] = says(FAIL)
        await eventually(lambda: state_of(watch, "b") is Health.UNHEALTHY)
        edition = edition_of(told)
    assert edition is not None
    assert edition.hashes.keys() == {"b"}
    assert [(change.before, change.backend) for change in edition.changes] == [(Health.HEALTHY, "b")]


async def test_a_heartbeat_has_a_point_of_history_for_each_that_was_probed_since_the_last():
    watch = watch_of({"a": says(PASS)})
    told, _ = told_by(watch)
    async with probing(watch):
        await eventually(lambda: watch.conditions["a"].is_known)
    edition = edition_of(told)
    assert edition is not None
    told.accepted(edition)
    beat = told.heartbeat(time.monotonic())
    assert beat is not None
    traffic = {"error_ratio": "", "inflight": "0", "rps": "0.0", "p50_ms": "", "p99_ms": ""}
    assert beat.histories == {"a": {"passed": "1", "status": "200", "probe_ms": "1.5"} | traffic}
    told.accepted(beat)
    silent = told.heartbeat(time.monotonic())
    assert silent is not None
    assert silent.histories == {}


async def test_where_an_adopted_state_is_not_what_we_saw_the_backend_is_probed_at_once():
    watch = watch_of({"a": says(PASS), "b": says(PASS)})
    async with probing(watch):
        await eventually(lambda: all(each.is_known for each in watch.conditions.values()))
    verdict = Verdict(id="a", url="http://a:80", state=Health.UNHEALTHY, reason="was so", since_ms=1_000)
    view = View(epoch=5, backends={"a": verdict, "gone": replace(verdict, id="gone")})
    told, _ = told_by(watch)
    told.adopt(LastEdition(view=view, readings={}), 1_000_000_000, time.monotonic())
    assert state_of(watch, "a") is Health.UNHEALTHY
    assert state_of(watch, "b") is Health.HEALTHY
    edition = edition_of(told)
    assert edition is not None
    assert edition.departed == {"gone"}
    async with probing(watch):
        await eventually(lambda: state_of(watch, "a") is Health.HEALTHY)
