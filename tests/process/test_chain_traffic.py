"""Real traffic through `sidebeat up URL ...`, started in somebody else's project, and a second terminal beside it."""

import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect as connect_websocket

from chain import Demo, System, ready, second_terminal, sidebeat
from processes import Program
from raw_client import RawClient, fetch
from waiting import eventually

THEIRS = ("worker.py", "sidecar.py", "gunicorn.conf.py", "redis.py")
# Whoever imports it is found out.
TRAP = "from pathlib import Path\nPath(__file__ + '.imported').touch()\nraise SystemExit('not yours')\n"


@pytest.fixture(scope="module")
def environment() -> Iterator[Mapping[str, str]]:
    """Of all terminals of this user."""
    with tempfile.TemporaryDirectory(prefix="run-") as directory:
        yield {"XDG_RUNTIME_DIR": directory}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose files have the names of our packages and of what we import."""
    folder: Path = tmp_path_factory.mktemp("project")
    for name in THEIRS:
        (folder / name).write_text(TRAP)
    return folder


@pytest.fixture(scope="module")
def urls(module_demos: Mapping[str, Demo]) -> list[str]:
    return [demo.url for demo in module_demos.values()]


@pytest.fixture(scope="module")
def program(urls: list[str], project: Path, environment: Mapping[str, str]) -> Iterator[Program]:
    ports = [part for flag in ("--bind", "--admin", "--console") for part in (flag, "127.0.0.1:0")]
    with sidebeat("up", *urls, *ports, cwd=project, env=environment) as program:
        yield program


@pytest.fixture
def system(demos: Mapping[str, Demo], program: Program) -> System:
    program.wait_for_line(r"^ready    3 of 3", within=30)
    return ready(program)


async def test_in_a_directory_with_somebody_elses_files_of_our_names_it_works(system: System, project: Path):
    assert (await fetch(system.port)).status == 200
    assert sorted(path.name for path in project.iterdir()) == sorted(THEIRS)


async def test_a_websocket_echoes_text_and_bytes_and_closes_with_its_code(system: System):
    async with connect_websocket(f"ws://127.0.0.1:{system.port}/ws", open_timeout=20, proxy=None) as websocket:
        for message in ("text", b"\x00bytes", "x" * 100_000):
            await websocket.send(message)
            assert await websocket.recv() == message
        await websocket.close(4001, "enough")
        assert (websocket.close_code, websocket.close_reason) == (4001, "enough")


async def test_server_sent_events_arrive_one_by_one(system: System):
    async with RawClient(system.port) as client:
        await client.request("GET", "/sse?interval_ms=50")  # it never ends
        head = await client.read_head()
        assert head.header("content-type") == b"text/event-stream; charset=utf-8"
        for number in range(1, 4):
            assert f"id: {number}\n".encode() in await client.read_until(b"\n\n")
        await eventually(lambda: under_way(system, 1))
    await eventually(lambda: under_way(system, 0))


async def under_way(system: System, count: int) -> bool:
    """Whether so many requests are: a condition to wait for."""
    return await system.metric("sidebeat_inflight") == count


async def test_a_post_of_a_mebibyte_comes_back_whole(system: System):
    body = bytes(32 + number % 90 for number in range(1 << 20))
    async with RawClient(system.port) as client:
        await client.request("POST", "/echo?a=%2F&b", [("host", "shop.test"), ("x-twice", "1"), ("x-twice", "2")], body)
        response = await client.read_response()
    echo = json.loads(response.body)
    assert (response.status, echo["method"], echo["target"]) == (200, "POST", "http://shop.test/echo?a=%2F&b")
    assert [value for name, value in echo["headers"] if name == "x-twice"] == ["1", "2"]
    assert echo["body"] == body.decode()


async def test_a_second_terminal_sees_the_backends_and_workers_without_being_told_where(
    system: System, urls: list[str], tmp_path: Path, environment: Mapping[str, str]
):
    said = await second_terminal("status", cwd=tmp_path, env=environment)
    lines = said.splitlines()
    assert lines[0].startswith("default@")
    for url in urls:
        (row,) = [line for line in lines if url.removeprefix("http://") in line]
        assert "healthy" in row
        assert "HTTP 200" in row
    for pid in workers(system.program):
        assert any(f" {pid} " in line for line in lines)


def workers(program: Program) -> list[int]:
    """The forwarding processes: those of our `worker` that are not the leader of their session."""
    running = [pid for pid, command in program.descendants().items() if "-m worker" in command]
    return [pid for pid in running if os.getsid(pid) != pid]


async def test_a_second_terminal_can_read_every_key(
    system: System, urls: list[str], tmp_path: Path, environment: Mapping[str, str]
):
    said = await second_terminal("keys", "backend:*", cwd=tmp_path, env=environment)
    keys = [line for line in said.splitlines() if line.startswith("sidebeat:{default:default@")]
    assert len(keys) == 3
    for url in urls:
        assert any(f"}}:backend:{url.removeprefix('http://')}  (hash, stays)" in key for key in keys)
    every = await second_terminal("keys", cwd=tmp_path, env=environment)
    for name in ("view", "beat", "leader", "events", "workers"):
        assert f"}}:{name}  (" in every


async def test_the_line_for_redis_cli_shows_a_backend_to_a_person(system: System, urls: list[str]):
    met = system.program.said(r"^keys +(redis-cli .*)$")
    assert met
    command, option, socket, verb, key = shlex.split(met[1])
    assert (command, option, verb) == ("redis-cli", "-s", "HGETALL")
    async with Redis(unix_socket_path=socket, decode_responses=True) as redis:
        fields = await redis.hgetall(key)
    assert (fields["url"], fields["state"], fields["reason"]) == (urls[0], "healthy", "HTTP 200")
    assert int(fields["since"]) > 0
    assert float(fields["probe_ms"]) > 0
