"""The checker by its own probes, against real backends."""

import asyncio
from typing import Any

import httpx
import pytest

from backend import Backend, Connection, Request, answers, stalls
from rude import never_answers
from waiting import eventually
from worker.library import HealthChecker

NOWHERE = "http://127.0.0.1:1"
GLOBAL_PATH = "Global ping_path is not supported when using personalized hosts"


@pytest.mark.parametrize(
    ("targets", "options", "error", "words"),
    [
        ([], {}, ValueError, "Targets list cannot be empty"),
        ([NOWHERE], {"interval": 0}, ValueError, "Interval must be at least 1"),
        ([NOWHERE], {"timeout": 0.5}, ValueError, "Timeout must be at least 1"),
        ([1], {}, TypeError, "a list of strings or a list of dictionaries"),
        ([NOWHERE, {"host": NOWHERE}], {}, TypeError, "Mixed types in targets at index 1"),
        ([{"host": NOWHERE}, {"url": NOWHERE}], {}, KeyError, "at index 1 missing required 'host'"),
        ([{"host": NOWHERE}], {"ping_path": "/health"}, RuntimeError, GLOBAL_PATH),
        (["ftp://127.0.0.1"], {}, ValueError, "needs a scheme"),
        ([NOWHERE], {"expected_statuses": "well"}, ValueError, "is not a status"),
        ([NOWHERE], {"redis_url": "http://127.0.0.1"}, ValueError, "needs redis://"),
        ([NOWHERE], {"redis_url": "redis://127.0.0.1", "pool": "A B"}, ValueError, "pattern"),
    ],
)
def test_what_cannot_be_watched_is_refused(targets: Any, options: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        HealthChecker(targets, **options)


def test_before_the_first_probe_everybody_counts_as_well():
    checker = HealthChecker(["http://one:80/api", "http://two", "three:8080"])
    assert checker.targets == checker.get_healthy_targets() == ["http://one:80", "http://two", "http://three:8080"]
    assert checker.status == dict.fromkeys(checker.targets, 0.0)
    assert (checker.interval, checker.timeout, checker.is_personalized) == (10, 10, False)
    assert checker.is_healthy("http://two/any/path")
    assert not checker.is_healthy("http://four")


def test_a_personalised_target_is_kept_as_it_was_given():
    target = {"host": NOWHERE, "pingpath": "/v1/status", "maxrequests": 100, "note": "mine"}
    checker = HealthChecker([target])
    assert checker.target_configs == {NOWHERE: target}
    with pytest.raises(RuntimeError, match=GLOBAL_PATH):
        _ = checker.ping_path
    with pytest.raises(RuntimeError, match=GLOBAL_PATH):
        checker.ping_path = "/"


async def test_a_start_asks_everybody_at_once_by_get(backend: Backend):
    async with (
        Backend(answers(503)) as ill,
        HealthChecker([backend.url, ill.url], ping_path="health?deep=1") as checker,
    ):
        assert checker.is_healthy(backend.url)
        assert checker.status[backend.url] > 0
        assert checker.status[ill.url] is False
        assert checker.get_healthy_targets() == [backend.url] == list(checker.get_response_times())
        assert checker.get_fastest() == backend.url
    assert [(request.method, request.target) for request in backend.requests] == [(b"GET", b"/health?deep=1")]


@pytest.mark.parametrize(
    ("status", "options", "is_well"),
    [
        (204, {}, True),
        (302, {}, True),
        (404, {}, False),
        (401, {"expected_statuses": "200,401"}, True),
        (200, {"expected_statuses": "204"}, False),
    ],
)
async def test_a_status_below_400_is_well_unless_others_are_expected(
    backend: Backend, status: int, options: Any, is_well: bool
):
    backend.handler = answers(status)
    checker = HealthChecker([backend.url], **options)
    await checker.check_all()
    assert checker.is_healthy(backend.url) is is_well


async def test_one_result_changes_the_status_however_often_it_does(backend: Backend):
    checker = HealthChecker([backend.url])
    for _ in range(4):
        backend.handler = answers(500)
        await checker.check_all()
        assert checker.status[backend.url] is False
        backend.handler = answers(200)
        await checker.check_all()
        assert checker.is_healthy(backend.url)


async def test_as_many_results_as_are_asked_for_change_it(backend: Backend):
    checker = HealthChecker([backend.url], fall=2, rise=2)
    seen = []
    for status in (200, 500, 500, 200, 200):
        backend.handler = answers(status)
        await checker.check_all()
        seen.append(checker.is_healthy(backend.url))
    assert seen == [True, True, False, False, True]


async def test_a_backend_that_hangs_delays_nobody(backend: Backend):
    async with Backend(stalls()) as hanging, asyncio.TaskGroup() as tasks:
        checker = HealthChecker([hanging.url, backend.url], interval=1, timeout=50)
        starting = tasks.create_task(checker.start())
        await eventually(lambda: len(backend.requests) >= 2)
        assert len(hanging.requests) == 1
        starting.cancel()


async def test_the_users_client_probes_and_stays_open(backend: Backend):
    async with httpx.AsyncClient(auth=("me", "secret"), headers={"X-Probe": "1"}) as client:
        async with HealthChecker([{"host": backend.url, "pingpath": "/v1/status"}], httpx_client=client) as checker:
            assert checker.is_healthy(backend.url)
        assert not client.is_closed
    [request] = backend.requests
    assert request.target == b"/v1/status"
    assert request.header("authorization") == b"Basic bWU6c2VjcmV0"
    assert request.header("x-probe") == b"1"


async def test_another_ping_path_holds_from_the_next_probe_on(backend: Backend):
    async with HealthChecker([backend.url]) as checker:
        checker.ping_path = "/new"
        assert checker.ping_path == "/new"
        await checker.check_all()
    assert [request.target for request in backend.requests] == [b"/", b"/new"]


async def test_a_checker_can_be_stopped_and_started_again(backend: Backend):
    tasks = asyncio.all_tasks()
    checker = HealthChecker([backend.url])
    await checker.stop()
    await checker.start()
    await checker.start()
    before = checker.last_update
    await checker.check_all()
    assert checker.last_update > before
    await checker.stop()
    assert len(backend.requests) == 2
    async with checker:
        assert len(backend.requests) == 3
    await checker.destroy()
    assert asyncio.all_tasks() == tasks


async def test_a_start_that_is_cancelled_leaves_nothing_behind():
    async with Backend(never_answers()) as hanging:
        tasks = asyncio.all_tasks()
        checker = HealthChecker([hanging.url])
        starting = asyncio.get_running_loop().create_task(checker.start())
        await eventually(lambda: hanging.requests)
        starting.cancel()
        await asyncio.wait([starting])
        await eventually(lambda: not hanging.connections_open)
        assert asyncio.all_tasks() == tasks


async def test_who_gives_up_waiting_for_anothers_start_ends_nothing(backend: Backend):
    told = asyncio.Event()

    async def waits(_request: Request, connection: Connection) -> None:
        await told.wait()
        await connection.respond()

    backend.handler = waits
    checker = HealthChecker([backend.url])
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(checker.start())
        await eventually(lambda: backend.requests)
        second = tasks.create_task(checker.start())
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        assert not first.done()
        told.set()
    assert checker.status[backend.url] > 0
    await checker.stop()


def test_a_checker_outlives_its_event_loop():
    checker = HealthChecker([NOWHERE])
    for _ in range(2):
        asyncio.run(checker.start())
        assert checker.status == {NOWHERE: False}
