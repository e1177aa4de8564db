"""Nothing outlives who wanted it: requests, connections and engines, whatever loop, thread or hand lets go of them."""

import asyncio
import gc
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from queue import Queue
from threading import Thread, get_ident
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from apps import running
from asked import Asked
from backend import Backend, Connection, answers
from backend import Request as Received
from library_app import ProxyApp
from raw_client import RawClient
from rude import never_answers, never_ends
from waiting import eventually
from worker.library import GatewayError, Proxy, close_httpx_client, create_httpx_client, proxy_pass
from worker.library.engine import Engine, engine_here
from worker.library.passing import Passing
from worker.library.problems import CutShortError
from worker.library.target import target_of


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    app = FastAPI()
    async with Proxy(app):
        yield app


def engine_of(app: FastAPI) -> Engine:
    engine: Engine = app.state.http_proxy_client.own_transport.engine
    return engine


async def streamed(app: FastAPI, backend: Backend) -> AsyncIterator[bytes]:
    """The body of a response that goes on for ever, after its first part."""
    backend.handler = never_ends(b"begun")
    response = await proxy_pass(Asked(app=app).request, backend.url)
    assert isinstance(response, StreamingResponse)
    parts = aiter(response.body_iterator)
    assert await anext(parts) == b"begun"
    return parts  # type: ignore[return-value]


@pytest.mark.parametrize("closing", [create_httpx_client, close_httpx_client])
async def test_who_waits_when_the_client_is_closed_hears_of_it(
    app: FastAPI, backend: Backend, closing: Callable[[FastAPI], Awaitable[None]]
):
    """It waited for ever."""
    backend.handler = never_answers()
    async with asyncio.TaskGroup() as tasks:

        async def ask() -> None:
            with pytest.raises(GatewayError) as caught:
                await proxy_pass(Asked(app=app).request, backend.url)
            assert caught.value.status_code == 503

        tasks.create_task(ask())
        await eventually(lambda: backend.requests)
        await closing(app)
    await eventually(lambda: not backend.connections_open)


async def test_a_body_that_is_cut_by_that_is_no_whole_one(app: FastAPI, backend: Backend):
    parts = await streamed(app, backend)
    await close_httpx_client(app)
    with pytest.raises(CutShortError):
        await anext(parts)


async def test_a_reader_that_takes_its_time_has_more_of_it_than_the_backend(app: FastAPI, backend: Backend):
    """A slow client was cut off after the backend's time, and an app that read took what it had for all there was."""

    async def floods(_request: Received, connection: Connection) -> None:
        await connection.start_chunked()
        for _ in range(100):
            await connection.chunk(b"x" * 100_000)

    backend.handler = floods
    response = await proxy_pass(Asked(app=app).request, backend.url, timeout=0.01)
    engine = engine_of(app)
    [exchange] = engine.active
    await eventually(lambda: exchange._response_held)  # type: ignore[attr-defined]
    exchange.check_deadline(engine.clock() + 200)
    assert engine.active
    exchange.check_deadline(engine.clock() + 400)
    assert not engine.active
    assert isinstance(response, StreamingResponse)
    with pytest.raises(CutShortError):
        assert [part async for part in response.body_iterator]


async def test_an_app_that_reads_reads_on_when_its_client_has_left(app: FastAPI, backend: Backend):
    """What it had by then it took for all there was."""
    told = asyncio.Event()

    async def ends(_request: Received, connection: Connection) -> None:
        await connection.start_chunked()
        await connection.chunk(b"one")
        await told.wait()
        await connection.chunk(b"two")
        await connection.end_chunked()

    backend.handler, asked = ends, Asked(app=app)
    response = await proxy_pass(asked.request, backend.url)
    assert isinstance(response, StreamingResponse)
    parts = aiter(response.body_iterator)
    assert await anext(parts) == b"one"
    await eventually(lambda: asked.taken > 1)
    asked.leave()
    await eventually(lambda: all("_read" not in repr(task.get_coro()) for task in asyncio.all_tasks()))
    told.set()
    assert [part async for part in parts] == [b"two"]


async def test_a_hook_that_fails_leaves_nothing_open(app: FastAPI, backend: Backend):
    def fail(_response: httpx.Response) -> None:
        raise LookupError("a hook's own")

    backend.handler = never_ends(b"begun")
    with pytest.raises(LookupError):
        await proxy_pass(Asked(app=app).request, backend.url, on_response=fail)
    assert not engine_of(app).active
    await eventually(lambda: not backend.connections_open)


async def test_a_hook_may_send_a_request_elsewhere(app: FastAPI, backend: Backend):
    async with Backend(answers(body=b"other")) as other:

        def lead(request: httpx.Request) -> None:
            request.url = httpx.URL(f"{other.url}/there")

        asked = Asked(app=app)
        assert await asked.answered(await proxy_pass(asked.request, backend.url, on_request=lead)) == b"other"
        assert [request.target for request in other.requests] == [b"/there"]
    assert not backend.requests


async def test_a_response_that_is_dropped_in_another_thread_ends_in_its_own(
    app: FastAPI, backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    """Collectors run in any thread, and transports are for one."""
    threads: list[int] = []
    close = Passing.close

    def closed(self: Passing) -> None:
        threads.append(get_ident())
        close(self)

    monkeypatch.setattr(Passing, "close", closed)
    backend.handler = never_ends(b"begun")
    responses = [await proxy_pass(Asked(app=app).request, backend.url)]
    thread = Thread(target=responses.clear)
    thread.start()
    thread.join()
    await eventually(lambda: not backend.connections_open)
    assert set(threads) == {get_ident()}


async def test_calls_that_are_cancelled_anywhere_leave_nothing(app: FastAPI, backend: Backend):
    draw, tasks = random.Random(7), len(asyncio.all_tasks())

    async def ask() -> None:
        asked = Asked("POST", headers=[(b"host", b"a"), (b"content-length", b"8")], parts=[b"four", b"four"], app=app)
        await asked.answered(await proxy_pass(asked.request, backend.url))

    for _ in range(100):
        async with asyncio.TaskGroup() as calls:
            for call in [calls.create_task(ask()) for _ in range(4)]:
                for _ in range(draw.randrange(12)):
                    await asyncio.sleep(0)
                call.cancel()
    await eventually(lambda: not engine_of(app).active)
    await close_httpx_client(app)
    await eventually(lambda: not backend.connections_open)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_the_backends_of_names_without_number_are_given_up(monkeypatch: pytest.MonkeyPatch):
    """Of many each had a piece of shared memory of its own until the next second."""
    monkeypatch.setattr("worker.library.engine.MAX_ORIGINS", 16)
    monkeypatch.setattr("worker.library.shared.MAX_BACKENDS", 100)
    engine = engine_here()
    for number in range(16):
        engine.origin(target_of(f"http://host-{number}.test"))
    before = len(os.listdir("/proc/self/fd"))
    for number in range(16, 200):
        engine.origin(target_of(f"http://host-{number}.test"))
    assert len(os.listdir("/proc/self/fd")) <= before
    first = engine.origin(target_of("http://host-199.test"))
    assert engine.origin(target_of("http://host-199.test")) is first
    await engine.aclose()


def forwards(url: str, **options: Any) -> ProxyApp:
    front = ProxyApp(**options)
    front.route = lambda request: proxy_pass(request, url)
    return front


@pytest.fixture
def served() -> Iterator[str]:
    """A backend in a thread of its own, so that loops of ours may come and go."""
    ready: Queue[str] = Queue()
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        async with Backend(answers(body=b"ok")) as backend:
            loops.append(asyncio.get_running_loop())
            ready.put(backend.url)
            await stop.wait()

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    yield ready.get(timeout=20)
    loops[0].call_soon_threadsafe(stop.set)
    thread.join()


@pytest.mark.filterwarnings(
    "ignore::starlette.exceptions.StarletteDeprecationWarning"
)  # it would like a successor of httpx
def test_starlettes_test_client_needs_no_lifespan_and_no_loop_of_its_own(served: str):
    from starlette.testclient import TestClient

    front = forwards(served)
    client = TestClient(front.app)
    for _ in range(3):
        assert client.get("/a").text == "ok"
        assert client.post("/a", content=b"x" * 100_000).text == "ok"
    for _ in range(2):
        with TestClient(front.app) as client:
            assert [client.get("/b").text for _ in range(2)] == ["ok", "ok"]


def test_one_loop_after_another_may_use_an_app(served: str):
    app = FastAPI()
    Proxy(app)

    async def ask() -> bytes:
        asked = Asked(app=app)
        return await asked.answered(await proxy_pass(asked.request, served))

    assert [asyncio.run(ask()) for _ in range(3)] == [b"ok"] * 3
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(ask()) == b"ok"
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert asyncio.run(ask()) == b"ok"
    gc.collect()


async def test_loops_in_two_threads_keep_their_own_connections(app: FastAPI, backend: Backend):
    """Each took the other's place, and what the other had stayed open."""
    engine = engine_of(app)

    async def ask() -> bytes:
        asked = Asked(app=app)
        return await asked.answered(await proxy_pass(asked.request, backend.url))

    assert await ask() == b"ok"
    assert await asyncio.to_thread(asyncio.run, ask()) == b"ok"
    assert await ask() == b"ok"
    assert engine_of(app) is engine
    assert backend.connections_total == 2


async def test_a_middleware_may_read_what_passes_both_ways(backend: Backend):
    front = forwards(backend.url)

    @front.app.middleware("http")
    async def read(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Response:
        await request.body()
        response = await call_next(request)
        return Response(b"".join([part async for part in response.body_iterator]), headers={"x-read": "1"})

    async with running(front.app) as url, RawClient(int(url.rpartition(":")[2])) as client:
        await client.request("POST", "/", [("host", "a")], b"four")
        answer = await client.read_response()
    assert (answer.body, answer.header("x-read")) == (b"ok", b"1")
    assert backend.requests[0].body == b"four"


@pytest.mark.parametrize("timeout", [0.05, (0.05, 0.05, None, None), httpx.Timeout(0.05), 0, -1])
async def test_patience_may_be_said_as_httpx_has_it(app: FastAPI, backend: Backend, timeout: Any):
    asked = Asked(app=app)
    await asked.answered(await proxy_pass(asked.request, backend.url))  # no connection is to be made in so short a time
    backend.handler = never_answers()
    with pytest.raises(httpx.ReadTimeout):
        await proxy_pass(Asked(app=app).request, backend.url, timeout=timeout)


async def test_what_is_no_patience_is_refused(app: FastAPI, backend: Backend):
    with pytest.raises(TypeError):
        await proxy_pass(Asked(app=app).request, backend.url, timeout="soon")  # type: ignore[arg-type]
