import pytest
from fastapi import FastAPI

from admin import NOW, StandIn, get
from worker.app import create_app


@pytest.fixture
def runtime() -> StandIn:
    return StandIn()


@pytest.fixture
def app(runtime: StandIn) -> FastAPI:
    return create_app(runtime, lambda: NOW)


async def test_a_loop_that_turns_is_alive_whatever_else_is_wrong(app: FastAPI, runtime: StandIn):
    runtime.worker(draining=True)
    assert (await get(app, "/livez")).status_code == 200


async def test_who_opens_the_address_is_told_what_there_is_to_ask_for(app: FastAPI):
    assert (await get(app, "/")).text.split() == ["/livez", "/readyz", "/metrics"]


async def test_ready_is_said_with_what_there_is(app: FastAPI, runtime: StandIn):
    runtime.worker(booted=True)
    response = await get(app, "/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "failing": [],
        "serving": 1,
        "starting": 0,
        "draining": 0,
        "pools": {"api": {"candidates": 2, "tier": "unknown"}},
    }


async def test_not_ready_is_said_with_the_reason(app: FastAPI):
    response = await get(app, "/readyz")
    assert response.status_code == 503
    assert (response.json()["ready"], response.json()["failing"]) == (False, ["no worker has started"])


async def test_openmetrics_for_who_asks(app: FastAPI):
    plain = await get(app, "/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    modern = await get(app, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/anything"])
async def test_there_is_nothing_else(app: FastAPI, path: str):
    assert (await get(app, path)).status_code == 404
