import pytest

from admin import StandIn
from worker.readiness import Crew, PoolReadiness, crew, readiness


@pytest.fixture
def runtime() -> StandIn:
    return StandIn()


def test_ready_with_a_serving_worker_and_a_candidate_in_each_routed_pool(runtime: StandIn):
    runtime.worker(booted=True)
    runtime.worker(booted=True, draining=True)
    runtime.worker()
    runtime.take_out("spare")  # has no route
    found = readiness(runtime)
    assert found.failing == ()
    assert found.pools == {"api": PoolReadiness(candidates=2, tier="unknown")}
    assert crew(runtime.board) == Crew(serving=1, starting=1, draining=1)


@pytest.mark.parametrize(
    ("marks", "reason"),
    [({}, "no worker has started"), ({"booted": True, "draining": True}, "all workers are draining")],
)
def test_not_ready_without_a_serving_worker(runtime: StandIn, marks: dict[str, bool], reason: str):
    runtime.worker(**marks)
    assert readiness(runtime).failing == (reason,)


def test_not_ready_when_a_routed_pool_has_nobody_left(runtime: StandIn):
    runtime.worker(booted=True)
    runtime.take_out("api")
    assert readiness(runtime).failing == ("pool api has no backend that may be used",)


def test_readiness_does_not_depend_on_the_store(runtime: StandIn):
    runtime.worker(booted=True).hears(store_up=False)
    assert readiness(runtime).failing == ()
