"""What compose/examples shows works: each of them under uvicorn, in front of real backends."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import socketio  # type: ignore[import-untyped]  # it ships no types
from fastapi import FastAPI

from apps import loaded, running
from backend import Backend, answers, resets
from peers import FOLDER as PEERS
from talker import BINARY, TEXTS, conversation, talking
from waiting import eventually

COMPOSE = Path(__file__).resolve().parents[2] / "compose"
EXAMPLES = COMPOSE / "examples"

Start = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs an example with these variables; a client of it."""

    @asynccontextmanager
    async def start(name: str, **variables: str) -> AsyncIterator[httpx.AsyncClient]:
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        async with running(loaded(EXAMPLES / f"{name}.py").app) as url, httpx.AsyncClient(base_url=url) as client:
            yield client

    return start


@pytest.fixture
async def demos(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Two of the project's own demo backends."""
    async with AsyncExitStack() as stack:
        urls = []
        for name in ("alpha", "bravo"):
            monkeypatch.setenv("DEMO_NAME", name)
            monkeypatch.setenv("DEMO_BASE_MS", "0")
            app: FastAPI = loaded(COMPOSE / "demo" / "app.py").create_app()
            urls.append(await stack.enter_async_context(running(app)))
        yield urls


def socket_url(client: httpx.AsyncClient, target: str) -> str:
    return f"ws://{client.base_url.netloc.decode()}{target}"


async def test_a_simple_proxy(start: Start, demos: list[str]):
    async with start("simple_proxy", BACKEND=demos[0]) as client:
        answer = await client.patch("/echo?a=1", content=b"hello", headers={"X-Own": "field"})
        said = answer.json()
        assert (answer.status_code, said["method"], said["body"]) == (200, "PATCH", "hello")
        assert said["target"] == f"{demos[0]}/echo?a=1"
        assert ["x-own", "field"] in said["headers"]
        assert (await client.get("/fail?status=418")).status_code == 418
        async with client.stream("GET", "/sse?interval_ms=1&count=3") as stream:
            assert (await stream.aread()).count(b"event: tick") == 3


async def test_errors_and_failover(start: Start):
    async with (
        Backend(answers(body=b"from the primary")) as primary,
        Backend(answers(body=b"from the backup")) as backup,
        start("errors_and_failover", PRIMARY=primary.url, BACKUP=backup.url) as client,
    ):
        assert (await client.get("/")).text == "from the primary"
        assert not backup.requests
        primary.handler = resets()
        assert (await client.get("/a?b")).text == "from the backup"
        assert (backup.requests[0].target, backup.requests[0].header("x-primary")) == (b"/a?b", b"502 Bad Gateway")
        page = await client.post("/")
        assert (page.status_code, "being repaired" in page.text) == (502, True)
        assert len(backup.requests) == 1
        backup.handler = resets()
        assert (await client.get("/")).status_code == 502


async def test_http_and_websocket(start: Start):
    async with talking() as talker, start("http_and_websocket", BACKEND=talker.url) as client:
        told = await conversation(socket_url(client, "/room?a=1"), end="backend")
        assert (told.subprotocol, told.echoes, told.ended) == ("echo", (*TEXTS, *BINARY), (4000, "so long"))
        assert talker.path == "/room?a=1"
        refused = await conversation(socket_url(client, "/no/401"))
        assert refused.refused == 401
        assert (await client.get("/")).status_code == 426  # what that backend says to who wants no WebSocket


async def test_socket_io(start: Start):
    async with (
        running(with_lifespan(loaded(PEERS / "socketio_app.py").server)) as backend,
        start("socket_io", BACKEND=backend) as client,
    ):
        assert (await client.get("/")).json() == {"hello": "from the app"}
        for transports in (["websocket"], ["polling", "websocket"]):
            caller = socketio.AsyncClient(reconnection=False)
            caller.on("question", lambda number: f"answer {number}")
            await caller.connect(str(client.base_url), transports=transports)
            heard = [(await caller.call("say", f"word {number}"))[1] for number in range(5)]
            assert heard == [f"word {number}" for number in range(5)]
            assert await caller.call("quiz", 3) == ["answer 0", "answer 1", "answer 2"]
            assert caller.transport() == "websocket"
            await caller.disconnect()


def with_lifespan(server: socketio.AsyncServer) -> FastAPI:
    """A Socket.IO server in an app."""
    app = FastAPI()
    app.mount("/", socketio.ASGIApp(server))
    return app


async def test_a_load_balancer(start: Start, demos: list[str]):
    async with start("load_balancer", BACKENDS=" ".join(demos)) as client:
        said = [(await client.get("/")).json()["backend"] for _ in range(4)]
        assert said == ["alpha", "bravo", "alpha", "bravo"]
        async with talking() as talker, start("load_balancer", BACKENDS=talker.url) as only:
            told = await conversation(socket_url(only, "/room"))
            assert (told.subprotocol, talker.path) == ("echo", "/room")


async def test_health_and_balancing(start: Start, demos: list[str]):
    async with Backend(answers(body=b'{"backend": "charlie"}')) as third:
        third.handler = answers(503)
        async with start("health_and_balancing", BACKENDS=" ".join([*demos, third.url])) as client:
            status = (await client.get("/health")).json()
            assert status[third.url] is False
            assert all(status[demo] > 0 for demo in demos)
            assert {(await client.get("/")).json()["backend"] for _ in range(20)} == {"alpha", "bravo"}
            third.handler = answers(body=b'{"backend": "charlie"}')
            await eventually(lambda: heard_of(client, "charlie"), within=10, every=0.1)


async def heard_of(client: httpx.AsyncClient, name: str) -> bool:
    return name in {json.loads((await client.get("/")).content)["backend"] for _ in range(10)}


def test_the_page_says_how_to_run_each_of_them():
    page = (EXAMPLES / "README.md").read_text()
    commands = re.findall(r"^\| `(\w+)\.py` \| `(.+?)` \|", page, re.MULTILINE)
    assert {name for name, _ in commands} == {path.stem for path in EXAMPLES.glob("*.py")}
    for name, command in commands:
        source = (EXAMPLES / f"{name}.py").read_text()
        assert command in source
        assert all(f'"{variable}"' in source for variable in re.findall(r"(\w+)=", command))
