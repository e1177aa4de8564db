import asyncio
import math

import pytest

from admin import NOW, StandIn
from exposed import PARSERS, Samples, labels, samples
from sidecar.contract.model import Health, Verdict, View
from worker import metrics
from worker.board import Board, Places
from worker.failure import Failure
from worker.metrics import HostMetrics


@pytest.fixture
def runtime() -> StandIn:
    return StandIn()


async def scraped(runtime: StandIn, accept: str = "") -> Samples:
    text, _ = await HostMetrics(runtime, lambda: NOW).render(accept)
    return samples(text, accept)


async def sample(runtime: StandIn, name: str, **named: str) -> float | None:
    return (await scraped(runtime)).get((f"sidebeat_{name}", labels(**named)))


@pytest.mark.parametrize("accept", PARSERS)
async def test_both_formats_say_the_same(runtime: StandIn, accept: str):
    writer, row = runtime.worker(booted=True), runtime.seats["api"].rows["b"]
    writer.answer(row, 200, 0.25, NOW)
    found = await scraped(runtime, accept)
    assert found == await scraped(runtime)
    assert found["sidebeat_requests_total", labels(pool="api", backend="b", code="2xx")] == 1


async def test_traffic_is_counted_over_all_workers_and_never_falls(runtime: StandIn):
    row = runtime.seats["api"].rows["b"]
    slot = runtime.board.claim()
    dying, living = runtime.board.writer(slot), runtime.worker()
    for writer in (dying, living):
        writer.begin(row)
        writer.answer(row, 204, 0.25, NOW)
    dying.fail(row, 0.1, NOW)
    dying.retry(row, Failure.RESET)
    dying.hedge(row)
    dying.refuse(Failure.NO_ROUTE)
    assert await sample(runtime, "inflight", pool="api", backend="b") == 2
    runtime.board.release(slot)
    assert await sample(runtime, "inflight", pool="api", backend="b") == 1
    assert await sample(runtime, "requests_total", pool="api", backend="b", code="2xx") == 2
    assert await sample(runtime, "requests_total", pool="api", backend="b", code="5xx") == 0
    assert await sample(runtime, "retries_total", pool="api", backend="b", reason="reset") == 1
    assert await sample(runtime, "retries_total", pool="api", backend="b", reason="timeout") == 0
    assert await sample(runtime, "hedges_total", pool="api", backend="b") == 1
    assert await sample(runtime, "upstream_failures_total", pool="api", backend="b") == 1
    assert await sample(runtime, "upstream_first_byte_seconds_count", pool="api", backend="b") == 2
    assert await sample(runtime, "refusals_total", reason="no_route") == 1
    assert await sample(runtime, "refusals_total", reason="no_backend") == 0


async def test_times_are_told_as_histograms(runtime: StandIn):
    row, writer = runtime.seats["api"].rows["b"], runtime.worker()
    for seconds, whole in ((0.004, True), (0.25, False)):
        writer.answer(row, 200, seconds, NOW, whole)
    writer.finish(row, 20.0)

    async def read(name: str, **labels: str) -> float:
        value = await sample(runtime, name, pool="api", backend="b", **labels)
        assert value is not None
        return value

    for metric, counts in (("upstream_first_byte_seconds", (1, 2, 2)), ("request_duration_seconds", (1, 1, 2))):
        buckets = [await read(f"{metric}_bucket", le=bound) for bound in ("0.005", "0.25", "+Inf")]
        assert (*buckets, await read(f"{metric}_count")) == (*counts, 2)
    assert math.isclose(await read("upstream_first_byte_seconds_sum"), 0.254)
    assert math.isclose(await read("request_duration_seconds_sum"), 20.004)
    assert await sample(runtime, "request_duration_seconds_count", pool="spare", backend="127.0.0.1:8083") == 0


async def test_a_pool_that_found_no_room_is_told_as_the_worker_knows_it_and_marked(runtime: StandIn):
    alone = Places(Board.create(1, 1, used=0), 0).seats("api", runtime.config.pools["api"])
    runtime.seats["api"] = alone
    alone.writer.begin(alone.rows["b"])
    assert await sample(runtime, "inflight", pool="api", backend="b") == 1
    assert await sample(runtime, "pool_off_board", pool="api") == 1
    assert await sample(runtime, "pool_off_board", pool="spare") == 0


async def test_states_are_those_of_the_view(runtime: StandIn):
    verdicts = {"b": Verdict(id="b", url="http://127.0.0.1:8082", state=Health.HEALTHY)}
    runtime.knowledge["api"].offer(View(epoch=7, backends=verdicts), NOW, 2.5)
    assert await sample(runtime, "backend_state", pool="api", backend="b", state="healthy") == 1
    assert await sample(runtime, "backend_state", pool="api", backend="b", state="unknown") == 0
    assert await sample(runtime, "backend_state", pool="spare", backend="127.0.0.1:8083", state="unknown") == 1


async def test_of_all_workers_the_oldest_view_is_told(runtime: StandIn):
    row = runtime.seats["api"].rows["127.0.0.1:8081"]
    for epoch, age_s in ((7, 0.5), (6, 2.5), (7, 1.0)):
        runtime.worker(booted=True).routes_on(row, epoch, NOW - age_s)
    assert await sample(runtime, "view_epoch", pool="api") == 6
    assert await sample(runtime, "view_age_seconds", pool="api") == 2.5
    assert await sample(runtime, "workers_behind", pool="api") == 1
    assert await sample(runtime, "view_epoch", pool="spare") is None

    runtime.worker(booted=True).routes_on(row, 0, 0.0)
    assert await sample(runtime, "view_epoch", pool="api") == 0
    assert await sample(runtime, "view_age_seconds", pool="api") == 2.5


async def test_an_ejection_is_told_until_the_backend_is_back(runtime: StandIn):
    row = runtime.seats["api"].rows["b"]
    assert await sample(runtime, "ejected", pool="api", backend="b") == 0
    runtime.board.host.eject(row, NOW - 9, NOW - 1, 1)
    assert await sample(runtime, "ejected", pool="api", backend="b") == 1  # on probation
    assert await sample(runtime, "ejected", pool="api", backend="127.0.0.1:8081") == 0
    runtime.board.host.readmit(row, NOW)
    assert await sample(runtime, "ejected", pool="api", backend="b") == 0


async def test_a_pool_in_panic_is_told(runtime: StandIn):
    verdicts = {"127.0.0.1:8083": Verdict(id="127.0.0.1:8083", url="http://127.0.0.1:8083", state=Health.UNHEALTHY)}
    runtime.knowledge["spare"].offer(View(epoch=7, backends=verdicts), NOW, 0)
    assert await sample(runtime, "panic", pool="spare") == 1
    assert await sample(runtime, "panic", pool="api") == 0


async def test_tunnels_and_their_messages_are_told(runtime: StandIn):
    row, writer = runtime.seats["api"].rows["b"], runtime.worker()
    writer.tunnel(row)
    writer.messages(row, 7)
    assert await sample(runtime, "tunnels", pool="api", backend="b") == 1
    assert await sample(runtime, "tunnels", pool="spare", backend="127.0.0.1:8083") == 0
    assert await sample(runtime, "websocket_messages_total", pool="api", backend="b") == 7


async def test_the_store_is_up_when_it_answers_whoever_has_asked(runtime: StandIn):
    assert await sample(runtime, "store_up") == 0
    runtime.worker(booted=True)  # has not asked yet
    first, second = runtime.worker(booted=True), runtime.worker(booted=True)
    first.hears(store_up=True)
    assert await sample(runtime, "store_up") == 1
    second.hears(store_up=False)
    assert await sample(runtime, "store_up") == 0


async def test_workers_are_told_by_how_far_they_are(runtime: StandIn):
    runtime.worker(booted=True).beat(NOW - 3)
    runtime.worker(booted=True).beat(NOW - 0.5)
    runtime.worker(booted=True, draining=True)
    runtime.worker()
    found = {state: await sample(runtime, "workers", state=state) for state in ("serving", "starting", "draining")}
    assert found == {"serving": 2, "starting": 1, "draining": 1}
    assert await sample(runtime, "draining") == 1
    assert await sample(runtime, "worker_heartbeat_age_seconds") == 3
    assert await sample(runtime, "workers", state="uncounted") == 0
    while runtime.board.claim() is not None:
        pass
    assert await sample(runtime, "workers", state="uncounted") == 1


async def test_requests_are_served_while_backends_are_read(runtime: StandIn, monkeypatch: pytest.MonkeyPatch):
    """Each scrape stopped the loop for as long as it takes to read them all."""
    monkeypatch.setattr(metrics, "SLICE_S", 0.0)
    turns = 0

    async def serve() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve())
        await HostMetrics(runtime, lambda: NOW).render("")
        serving.cancel()
    assert turns >= sum(len(seats.rows) for seats in runtime.seats.values())
