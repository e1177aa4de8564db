import asyncio
import math
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from sidecar.contract.config import parse
from sidecar.contract.model import Admin, Health, Verdict, View
from worker.app import create_app
from worker.board import Board, Places, board_for
from worker.view import Knowledge, Selection, candidates

NOW = 1000.0


class StandIn:
    """What the endpoints look at, with two pools, of which `api` has two backends."""

    def __init__(self) -> None:
        content: dict[str, Any] = {
            "pools": {
                "api": {"backends": ["http://127.0.0.1:8081", {"url": "http://127.0.0.1:8082", "id": "b"}]},
                "spare": {"backends": ["http://127.0.0.1:8083"]},
            },
            "routes": [{"pool": "api"}],
        }
        self.config = parse(content, {})
        self.board = board_for(self.config)
        places = Places(self.board, None)  # whoever answers need not have a slot
        self.seats = {name: places.seats(name, pool) for name, pool in self.config.pools.items()}
        self.knowledge = {pool: Knowledge() for pool in self.config.pools}
        self.follower: Any = SimpleNamespace(store_up=True)

    def selection(self, pool: str) -> Selection:
        rows = self.seats[pool].rows
        return candidates(self.config.pools[pool].members, rows, self.knowledge[pool], NOW)

    def take_out(self, pool: str) -> None:
        members = self.config.pools[pool].members
        verdicts = {backend.id: Verdict(id=backend.id, url=backend.url, admin=Admin.DRAIN) for backend in members}
        self.knowledge[pool].offer(View(epoch=7, backends=verdicts), NOW, 0)

    def worker(self, **marks: bool) -> Any:
        writer = self.board.writer(self.board.claim())
        writer.mark(**marks)
        return writer


@pytest.fixture
def runtime() -> StandIn:
    return StandIn()


@pytest.fixture
def app(runtime: StandIn) -> FastAPI:
    return create_app(runtime, lambda: NOW)


async def get(app: FastAPI, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
        return await client.get(path, headers=headers)


async def sample(app: FastAPI, name: str, **labels: str) -> float | None:
    families = text_string_to_metric_families((await get(app, "/metrics")).text)
    found = [each.value for family in families for each in family.samples if (each.name, each.labels) == (name, labels)]
    assert len(found) <= 1
    return found[0] if found else None


async def test_a_loop_that_turns_is_alive_whatever_else_is_wrong(app: FastAPI, runtime: StandIn):
    runtime.worker(draining=True)
    runtime.follower.store_up = False
    assert (await get(app, "/livez")).status_code == 200


async def test_ready_with_a_serving_worker_and_a_candidate_in_each_routed_pool(app: FastAPI, runtime: StandIn):
    runtime.worker(booted=True)
    runtime.worker(booted=True, draining=True)
    runtime.worker()
    runtime.take_out("spare")  # has no route
    response = await get(app, "/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "failing": [],
        "serving": 1,
        "starting": 1,
        "draining": 1,
        "pools": {"api": {"candidates": 2, "tier": "unknown"}},
    }


@pytest.mark.parametrize(
    ("marks", "reason"),
    [({}, "no worker has started"), ({"booted": True, "draining": True}, "all workers are draining")],
)
async def test_not_ready_without_a_serving_worker(app: FastAPI, runtime: StandIn, marks: dict[str, bool], reason: str):
    runtime.worker(**marks)
    response = await get(app, "/readyz")
    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert response.json()["failing"] == [reason]


async def test_not_ready_when_a_routed_pool_has_nobody_left(app: FastAPI, runtime: StandIn):
    runtime.worker(booted=True)
    runtime.take_out("api")
    response = await get(app, "/readyz")
    assert response.status_code == 503
    assert response.json()["failing"] == ["pool api has no backend that may be used"]


async def test_readiness_does_not_depend_on_the_store(app: FastAPI, runtime: StandIn):
    runtime.worker(booted=True)
    runtime.follower.store_up = False
    assert (await get(app, "/readyz")).status_code == 200


async def test_traffic_is_counted_over_all_workers_and_never_falls(app: FastAPI, runtime: StandIn):
    row = runtime.seats["api"].rows["b"]
    slot = runtime.board.claim()
    dying, living = runtime.board.writer(slot), runtime.worker()
    for writer in (dying, living):
        writer.begin(row)
        writer.answer(row, 204, 0.25, NOW)
    dying.fail(row, 0.1, NOW)
    dying.retry(row)
    dying.hedge(row)
    assert await sample(app, "sidebeat_inflight", pool="api", backend="b") == 2
    runtime.board.release(slot)
    assert await sample(app, "sidebeat_inflight", pool="api", backend="b") == 1
    assert await sample(app, "sidebeat_requests_total", pool="api", backend="b", code="2xx") == 2
    assert await sample(app, "sidebeat_requests_total", pool="api", backend="b", code="5xx") == 0
    assert await sample(app, "sidebeat_retries_total", pool="api", backend="b") == 1
    assert await sample(app, "sidebeat_hedges_total", pool="api", backend="b") == 1
    assert await sample(app, "sidebeat_upstream_failures_total", pool="api", backend="b") == 1
    assert await sample(app, "sidebeat_upstream_first_byte_seconds_count", pool="api", backend="b") == 2


async def test_times_are_told_as_histograms(app: FastAPI, runtime: StandIn):
    row, writer = runtime.seats["api"].rows["b"], runtime.worker()
    for seconds, whole in ((0.004, True), (0.25, False)):
        writer.answer(row, 200, seconds, NOW, whole)
    writer.finish(row, 20.0)

    async def read(name: str, **labels: str) -> float:
        value = await sample(app, f"sidebeat_{name}", pool="api", backend="b", **labels)
        assert value is not None
        return value

    for metric, counts in (("upstream_first_byte_seconds", (1, 2, 2)), ("request_duration_seconds", (1, 1, 2))):
        buckets = [await read(f"{metric}_bucket", le=bound) for bound in ("0.005", "0.25", "+Inf")]
        assert (*buckets, await read(f"{metric}_count")) == (*counts, 2)
    assert math.isclose(await read("upstream_first_byte_seconds_sum"), 0.254)
    assert math.isclose(await read("request_duration_seconds_sum"), 20.004)
    other = await sample(app, "sidebeat_request_duration_seconds_count", pool="spare", backend="127.0.0.1:8083")
    assert other == 0


async def test_a_pool_that_found_no_room_is_told_as_the_worker_knows_it(app: FastAPI, runtime: StandIn):
    alone = Places(Board.create(1, 1, used=0), 0).seats("api", runtime.config.pools["api"])
    runtime.seats["api"] = alone
    alone.writer.begin(alone.rows["b"])
    assert await sample(app, "sidebeat_inflight", pool="api", backend="b") == 1


async def test_the_view_is_told_with_its_age(app: FastAPI, runtime: StandIn):
    verdicts = {"b": Verdict(id="b", url="http://127.0.0.1:8082", state=Health.HEALTHY)}
    runtime.knowledge["api"].offer(View(epoch=7, backends=verdicts), NOW, 2.5)
    assert await sample(app, "sidebeat_backend_state", pool="api", backend="b", state="healthy") == 1
    assert await sample(app, "sidebeat_backend_state", pool="api", backend="b", state="unknown") == 0
    assert await sample(app, "sidebeat_backend_state", pool="spare", backend="127.0.0.1:8083", state="unknown") == 1
    assert await sample(app, "sidebeat_view_epoch", pool="api") == 7
    assert await sample(app, "sidebeat_view_age_seconds", pool="api") == 2.5
    assert await sample(app, "sidebeat_view_epoch", pool="spare") == 0
    assert await sample(app, "sidebeat_view_age_seconds", pool="spare") is None


async def test_an_ejection_is_told_until_the_backend_is_back(app: FastAPI, runtime: StandIn):
    row = runtime.seats["api"].rows["b"]
    assert await sample(app, "sidebeat_ejected", pool="api", backend="b") == 0
    runtime.board.host.eject(row, NOW - 9, NOW - 1, 1)
    assert await sample(app, "sidebeat_ejected", pool="api", backend="b") == 1  # on probation
    assert await sample(app, "sidebeat_ejected", pool="api", backend="127.0.0.1:8081") == 0
    runtime.board.host.readmit(row, NOW)
    assert await sample(app, "sidebeat_ejected", pool="api", backend="b") == 0


async def test_a_pool_in_panic_is_told(app: FastAPI, runtime: StandIn):
    verdicts = {"127.0.0.1:8083": Verdict(id="127.0.0.1:8083", url="http://127.0.0.1:8083", state=Health.UNHEALTHY)}
    runtime.knowledge["spare"].offer(View(epoch=7, backends=verdicts), NOW, 0)
    assert await sample(app, "sidebeat_panic", pool="spare") == 1
    assert await sample(app, "sidebeat_panic", pool="api") == 0


async def test_tunnels_and_their_messages_are_told(app: FastAPI, runtime: StandIn):
    row, writer = runtime.seats["api"].rows["b"], runtime.worker()
    writer.tunnel(row)
    writer.messages(row, 7)
    assert await sample(app, "sidebeat_tunnels", pool="api", backend="b") == 1
    assert await sample(app, "sidebeat_tunnels", pool="spare", backend="127.0.0.1:8083") == 0
    assert await sample(app, "sidebeat_websocket_messages_total", pool="api", backend="b") == 7


async def test_store_and_drain_are_told(app: FastAPI, runtime: StandIn):
    runtime.worker(booted=True, draining=True)
    assert await sample(app, "sidebeat_store_up") == 1
    assert await sample(app, "sidebeat_draining") == 1


async def test_requests_are_served_while_metrics_are_written(app: FastAPI, monkeypatch: pytest.MonkeyPatch):
    """Each scrape stopped the loop for as long as it takes to write them all."""
    served = threading.Event()

    def encode(_registry: CollectorRegistry) -> bytes:
        assert served.wait(5)
        return b"written"

    monkeypatch.setattr("worker.app.choose_encoder", lambda _accept: (encode, "text/plain"))
    async with asyncio.TaskGroup() as tasks:
        scrape = tasks.create_task(get(app, "/metrics"))
        assert (await get(app, "/livez")).status_code == 200
        served.set()
    assert scrape.result().text == "written"


async def test_openmetrics_for_who_asks(app: FastAPI):
    plain = await get(app, "/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    modern = await get(app, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/"])
async def test_there_is_nothing_else(app: FastAPI, path: str):
    assert (await get(app, path)).status_code == 404
