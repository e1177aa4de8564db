"""Socket.IO through two real workers: a session is polled for, then upgraded, and knows one backend of three."""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import socketio  # type: ignore[import-untyped]  # it ships no types

from chain import System, sidebeat, worker_started, write_config
from clients import output_of
from peers import FOLDER, Server, ServerKind, program, started
from processes import Program
from raw_client import fetch

CLIENTS, MESSAGES = 20, 5
NOBODY = "redis://127.0.0.1:1/0"  # workers route on their config without it
SETTINGS = """
[pools.api.balancing]
policy = "round_robin"
[pools.api.sticky]
cookie = "home"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What one client saw: who heard it and what, the answers it gave as they came back, and what went wrong."""

    transport: str
    heard: list[list[str]]
    answers: list[str]
    errors: list[str]


def python_server(port: int, _folder: Path) -> list[str | Path]:
    options = ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    return [sys.executable, "-P", "-m", "uvicorn", "--app-dir", FOLDER, *options, "socketio_app:app"]


@pytest.fixture(scope="module", params=["python-socketio", "npm"])
def backends(request: pytest.FixtureRequest, node_peer: Callable[[str], ServerKind]) -> Iterator[dict[str, Server]]:
    """Three servers of one kind by their names."""
    kinds = {"python-socketio": ServerKind(command=python_server), "npm": node_peer("socketio_server.mjs")}
    with ExitStack() as stack:
        yield {name: stack.enter_context(started(kinds[request.param])) for name in ("alpha", "bravo", "charlie")}


@pytest.fixture(scope="module")
def master(backends: dict[str, Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Two workers over them."""
    folder = tmp_path_factory.mktemp("socketio")
    file = write_config(folder, backends, store={"url": NOBODY}, listen={"workers": 2})
    file.write_text(file.read_text() + SETTINGS)
    with sidebeat("worker", "-c", file, cwd=folder, env={"XDG_RUNTIME_DIR": str(folder)}) as master:
        yield master


@pytest.fixture
async def system(master: Program) -> System:
    return await worker_started(master)


async def with_python(url: str, _request: pytest.FixtureRequest) -> list[Talk]:
    async with asyncio.TaskGroup() as tasks:
        talks = [tasks.create_task(talk(url, f"client-{number}")) for number in range(CLIENTS)]
    return [task.result() for task in talks]


async def talk(url: str, name: str) -> Talk:
    """Each side says so much to the other, which says that it has heard."""
    jar = aiohttp.CookieJar(unsafe=True)  # unless told so it takes no cookies of addresses
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        client = socketio.AsyncClient(reconnection=False, http_session=session)
        errors: list[str] = []
        client.on("connect_error", lambda error: errors.append(str(error)))
        client.on("disconnect", errors.append)
        client.on("question", lambda number: f"{name} {number}")
        await client.connect(url)
        heard = [await client.call("say", f"{name} {number}") for number in range(MESSAGES)]
        answers = await client.call("quiz", MESSAGES)
        seen = Talk(transport=client.transport(), heard=heard, answers=answers, errors=list(errors))
        await client.disconnect()
    return seen


async def with_npm(url: str, request: pytest.FixtureRequest) -> list[Talk]:
    packages = request.getfixturevalue("node_packages")
    said = await output_of(program("node"), FOLDER / "socketio_client.mjs", url, str(CLIENTS), str(MESSAGES), packages)
    return [Talk(**each) for each in json.loads(said)]


@pytest.mark.parametrize("talks_of", [with_python, with_npm], ids=["from-python-socketio", "from-npm"])
async def test_twenty_sessions_upgrade_and_stay_where_they_began(
    system: System,
    request: pytest.FixtureRequest,
    talks_of: Callable[[str, pytest.FixtureRequest], Awaitable[list[Talk]]],
):
    talks = await talks_of(f"http://127.0.0.1:{system.port}", request)
    assert len(talks) == CLIENTS
    homes: set[str] = set()
    for number, talk in enumerate(talks):
        messages = [f"client-{number} {message}" for message in range(MESSAGES)]
        assert (talk.transport, talk.errors) == ("websocket", [])
        assert ([text for _, text in talk.heard], talk.answers) == (messages, messages)
        [home] = {backend for backend, _ in talk.heard}
        homes.add(home)
    assert len(homes) == 3
    assert not await refusals(system)


async def refusals(system: System) -> list[str]:
    """Lines of the metrics that count answers of 400 and above."""
    lines = (await fetch(system.admin, "/metrics")).body.decode().splitlines()
    answered = [line for line in lines if line.startswith("sidebeat_requests_total{")]
    assert answered
    return [line for line in answered if re.search(r'code="[45]', line) and not line.endswith(" 0")]
