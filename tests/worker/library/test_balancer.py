"""Whom the balancer gives, and what it does with a request."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.websockets import WebSocket

from backend import Backend, answers
from waiting import eventually
from worker.library import HealthChecker, LoadBalancer, Proxy

A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"
NOBODY = "Service Unavailable: No healthy backends available or all over limit"
PERSONALIZED = "Global max_requests is not supported when using personalized hosts"


def told(targets: Any, *times: float | bool) -> HealthChecker:
    """A checker that has seen this."""
    checker = HealthChecker(targets, 3_600)  # no window of `maxrequests` ends in the middle of a test
    checker.status.update(zip(checker.targets, times, strict=True))
    return checker


def test_a_list_is_taken_in_turn():
    balancer = LoadBalancer([A, B])
    assert [balancer.get() for _ in range(3)] == [A, B, A]
    assert balancer.peek() == balancer.peek() == B
    balancer.set_index(0)
    assert balancer.get() == A
    assert balancer.get_all() == [A, B]
    for wrong in (-1, 2):
        with pytest.raises(IndexError, match="Index out of range"):
            balancer.set_index(wrong)
    assert (LoadBalancer([]).peek(), LoadBalancer([]).get()) == (None, None)


def test_with_a_checker_it_is_the_fastest():
    checker = told([A, B], 8.0, 3.0)
    balancer = LoadBalancer(checker)
    assert [balancer.peek(), balancer.get(), balancer.get()] == [B] * 3
    checker.status[B] = False
    assert balancer.get() == A
    checker.status[A] = False
    assert balancer.get() is None
    assert balancer.get_all() == [A, B]
    with pytest.raises(RuntimeError, match="not supported in health mode"):
        balancer.set_index(0)


def test_limits_hold_until_the_checkers_next_update():
    checker = told([{"host": A, "maxrequests": 2}, {"host": B, "maxrequests": 1}], 1.0, 2.0)
    balancer = LoadBalancer(checker)
    assert [balancer.get() for _ in range(4)] == [A, A, B, None]
    checker.last_update += 1.0
    assert balancer.get() == A
    for touch in (lambda: balancer.max_requests, lambda: setattr(balancer, "max_requests", 1)):
        with pytest.raises(RuntimeError, match=PERSONALIZED):
            touch()


def test_one_limit_for_all_can_be_set_and_taken_away():
    balancer = LoadBalancer(told([A, B], 1.0, 2.0))
    balancer.max_requests = 1
    assert [balancer.get() for _ in range(3)] == [A, B, None]
    balancer.max_requests = None
    assert (balancer.max_requests, balancer.get()) == (None, A)


@pytest.mark.parametrize(
    ("servers", "policy", "words"),
    [([A], "best", "policy is one of p2c_ewma"), ([f"{A}/base"], "p2c_ewma", "may not have a path")],
)
def test_a_policy_that_cannot_be_is_refused(servers: list[str], policy: Any, words: str):
    with pytest.raises(ValueError, match=words):
        LoadBalancer(servers, policy=policy)


class Front:
    """An app with one route through a balancer, and its client."""

    def __init__(self, balancer: LoadBalancer, **options: Any) -> None:
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "POST"])
        async def forward(request: Request):
            return await balancer.proxy_pass(request, **options)

        self._proxy = Proxy(app)
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")

    async def __aenter__(self) -> httpx.AsyncClient:
        await self._proxy.__aenter__()
        return self._client

    async def __aexit__(self, *error: Any) -> None:
        await self._client.aclose()
        await self._proxy.__aexit__(*error)


async def test_a_request_goes_to_whom_get_would_give(backend: Backend):
    changes = {"path": "/v2", "method": "POST", "override_body": {"a": 1}}
    async with (
        Backend(answers(500)) as ill,
        HealthChecker([ill.url, backend.url]) as checker,
        Front(LoadBalancer(checker), **changes) as client,
    ):
        response = await client.get("/v1?x=1")
    assert (response.status_code, response.text) == (200, "ok")
    request = backend.requests[-1]
    assert (request.method, request.target, request.body) == (b"POST", b"/v2?x=1", b'{"a": 1}')


@pytest.mark.parametrize("policy", ["fastest", "p2c_ewma"])
async def test_where_nobody_may_be_asked_the_answer_is_503(backend: Backend, policy: Any):
    checker = told([{"host": backend.url, "maxrequests": 0}], 1.0)
    async with Front(LoadBalancer(checker, policy=policy)) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (503, NOBODY)
    assert not backend.requests


@pytest.mark.parametrize("policy", ["fastest", "p2c_ewma"])
async def test_a_websocket_for_nobody_is_closed_by_1011(policy: Any):
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    websocket = WebSocket({"type": "websocket", "path": "/", "headers": []}, receive, send)
    checker = told([{"host": A, "maxrequests": 0}], 1.0)
    await LoadBalancer(checker, policy=policy).proxy_pass_websocket(websocket)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1011)]


@pytest.mark.parametrize("watched", [True, False])
async def test_by_a_policy_of_ours_a_request_is_tried_elsewhere(backend: Backend, watched: bool):
    async with Backend() as dead:
        servers = [dead.url, backend.url]
        balancer = LoadBalancer(HealthChecker(servers) if watched else servers, policy="round_robin")
        dead.refuse()
        async with Front(balancer) as client:
            assert {(await client.get("/")).status_code for _ in range(4)} == {200}
        assert balancer.get() in servers


async def test_traffic_that_meets_nobody_has_the_checker_look_at_once(backend: Backend):
    async with (
        Backend() as dying,
        HealthChecker([dying.url, backend.url], 60) as checker,
        Front(LoadBalancer(checker, policy="round_robin")) as client,
    ):
        dying.refuse()
        for _ in range(2):
            assert (await client.get("/")).status_code == 200
        await eventually(lambda: checker.get_healthy_targets() == [backend.url])


async def test_whoever_fails_again_and_again_is_put_out_by_traffic_alone(backend: Backend):
    async with Backend(answers(500)) as failing:
        async with Front(LoadBalancer([failing.url, backend.url], policy="round_robin")) as client:
            statuses = Counter([(await client.get("/")).status_code for _ in range(40)])
        assert len(failing.requests) == statuses[500] == 5


async def test_by_a_policy_of_ours_limits_hold_as_well(backend: Backend):
    balancer = LoadBalancer(told([backend.url], 1.0), policy="least_request")
    balancer.max_requests = 3
    async with Front(balancer) as client:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(client.get("/")) for _ in range(6)]
        assert Counter(task.result().status_code for task in asked) == {200: 3, 503: 3}
        balancer.max_requests = None
        assert (await client.get("/")).status_code == 200
