"""Another config under load: it is there within a second, nobody notices, and a broken one changes nothing."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backend import Backend, Connection, Request
from chain import HOST, System, second_terminal, sidebeat, started, worker_started
from load import Load
from processes import Program, children
from raw_client import RawClient, fetch
from waiting import eventually
from wire import encode_head

UPGRADE = [("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "chat")]


class Streaming:
    """What a backend does: GETs as a demo backend answers them, a stream of events, and an echo after an upgrade."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.more = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.target == b"/events":
            await connection.start_chunked(headers=[("content-type", "text/event-stream")])
            await connection.chunk(b"data: one\n\n")
            await self.more.wait()
            await connection.chunk(b"data: two\n\n")
            await connection.end_chunked()
        elif request.header("upgrade"):
            await connection.send(
                encode_head("HTTP/1.1 101 Switching", [("upgrade", "chat"), ("connection", "upgrade")])
            )
            while data := await connection.reader.some():
                await connection.send(data)
        else:
            await connection.respond(body=json.dumps({"backend": self.name}).encode())


@pytest.fixture
async def backends() -> AsyncIterator[dict[str, Backend]]:
    """Three, by their names."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Backend(Streaming(name))) for name in ("a", "b", "c")}


def write(folder: Path, pools: dict[str, list[Backend]], *, routes: str = "", more: str = "", workers: int = 2) -> Path:
    """A file with these pools, each probed fast."""
    file = folder / "sidebeat.toml"
    lines = [
        f'[store]\nhost = "{HOST}"',
        "[listen]",
        *(f'{key} = "127.0.0.1:0"' for key in ("bind", "admin", "console")),
    ]
    lines += [f"workers = {workers}", more]
    for name, members in pools.items():
        lines += [f"[pools.{name}]", f"backends = {json.dumps([member.url for member in members])}"]
    file.write_text("\n".join([*lines, routes, ""]))
    return file


def to_both(prefix: str) -> str:
    return f'[[routes]]\npool = "api"\n[[routes]]\npool = "web"\npath_prefix = "{prefix}"\n'


async def who(system: System, target: str) -> Any:
    return json.loads((await fetch(system.port, target)).body)["backend"]


@asynccontextmanager
async def open_streams(port: int) -> AsyncIterator[tuple[RawClient, RawClient]]:
    """An event stream that has begun, and a connection that was upgraded."""
    async with RawClient(port) as events, RawClient(port) as upgraded:
        await events.request("GET", "/events")
        await events.read_until(b"data: one\n\n")
        await upgraded.request("GET", "/chat", UPGRADE)
        assert (await upgraded.read_head()).status == 101
        yield events, upgraded


async def test_a_changed_pool_route_and_limit_are_there_at_once_and_nothing_ends(
    tmp_path: Path, backends: dict[str, Backend]
):
    a, b, c = backends.values()
    file = write(tmp_path, {"api": [a], "web": [b]}, routes=to_both("/web"))
    with sidebeat("up", "-c", file, cwd=tmp_path) as program:
        system = await started(program)
        assert (await who(system, "/"), await who(system, "/web"), await who(system, "/new")) == ("a", "b", "a")
        async with open_streams(system.port) as (events, upgraded):
            async with Load(system.port, "/", per_second=60) as load:
                await eventually(lambda: len(load.answers) > 20)
                write(tmp_path, {"api": [c], "web": [b]}, routes=to_both("/new"), more="max_headers = 8")
                said = await second_terminal("reload", "-c", str(file), cwd=tmp_path)
                assert said.count("applied after") == 2, said
                assert [await who(system, "/") for _ in range(8)] == ["c"] * 8
                assert [await who(system, "/new") for _ in range(8)] == ["b"] * 8
                many = [("Host", "a"), *((f"x-{number}", "1") for number in range(9))]
                assert {(await fetch(system.port, headers=many)).status for _ in range(8)} == {431}
            load.assert_unharmed()
            for backend in (a, b, c):
                assert isinstance(backend.handler, Streaming)
                backend.handler.more.set()
            assert b"data: two\n\n" in await events.read_until(b"0\r\n\r\n")
            await upgraded.send(b"still there")
            assert await upgraded.read_exactly(11) == b"still there"
        assert program.said(r"reload=applied took_s=[\d.]+")


def has_answers(load: Load, count: int) -> bool:
    return len(load.answers) >= count


async def test_a_limit_comes_changes_and_goes_and_nobody_is_sent_away(tmp_path: Path, backends: dict[str, Backend]):
    def limited(places: str) -> str:
        members = f'backends = [{{ url = "{backends["a"].url}", id = "a"{places} }}]'
        return f"[pools.api]\n{members}\ntimeouts.queue_s = 8.0"  # a crowd on a slow machine is not what is looked at

    file = write(tmp_path, {}, routes=limited(""))
    with sidebeat("up", "-c", file, cwd=tmp_path) as program:
        system = await started(program)
        async with Load(system.port, "/", per_second=60) as load:
            changes = (", max_inflight = 640", ", max_inflight = 320, max_requests = 9999", "")
            for turn, places in enumerate(changes, start=1):
                write(tmp_path, {}, routes=limited(places))
                program.send(signal.SIGHUP)
                await eventually(partial(has_applied, program, 2 * turn), what="monitor and master have applied it")
                await eventually(partial(has_answers, load, len(load.answers) + 20))
        load.assert_unharmed()


async def refused(folder: Path) -> str:
    """What `sidebeat reload` says to somebody whose file cannot be applied."""
    with sidebeat("reload", cwd=folder) as program:
        await eventually(lambda: program.status is not None, within=20)
        assert program.status == 2, program.output
        return program.stderr


async def test_a_broken_file_changes_nothing_and_whoever_asks_is_told(tmp_path: Path, backends: dict[str, Backend]):
    a, b, _ = backends.values()
    file = write(tmp_path, {"api": [a]})
    with sidebeat("up", "-c", file, cwd=tmp_path) as program:
        system = await started(program)
        [master] = [pid for pid in children(program.pid) if len(children(pid)) == 2]
        before = children(master)
        for more, problem in (
            ("max_heders = 9", "listen.max_heders: no such key"),
            ('app = "my:app"', "listen.app: cannot change while it runs: end it and start it again"),
        ):
            write(tmp_path, {"api": [b]}, more=more)
            said = await refused(tmp_path)
            assert said.count(problem) == 2, said
            assert "worker (pid" in said
            assert program.output.count(problem) >= 2
        assert {await who(system, "/") for _ in range(8)} == {"a"}
        assert children(master) == before


async def test_a_worker_that_comes_later_has_what_was_applied_and_not_what_the_file_says_now(
    tmp_path: Path, backends: dict[str, Backend]
):
    a, b, _ = backends.values()
    file = write(tmp_path, {"api": [a]}, workers=1)
    store = {"SIDEBEAT_STORE__URL": "redis://127.0.0.1:1/0"}
    with sidebeat("worker", "-c", file, cwd=tmp_path, env=store) as program:
        system = await worker_started(program, workers=1)
        write(tmp_path, {"api": [b]}, workers=1)
        program.send(signal.SIGHUP)
        await eventually(lambda: program.said("reload=applied"))
        assert await who(system, "/") == "b"
        file.write_text("broken")
        os.kill(children(program.pid)[0], signal.SIGKILL)
        await eventually(lambda: program.output.count("worker-booted") == 2)
        assert await who(system, "/") == "b"


def has_applied(program: Program, times: int) -> bool:
    return program.output.count("reload=applied") == times


async def test_one_reload_after_the_other_leaves_no_descriptor_and_no_row_behind(
    tmp_path: Path, backends: dict[str, Backend]
):
    def descriptors() -> list[int]:
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (program.pid, *children(program.pid))]

    a, b, c = backends.values()
    store = {"SIDEBEAT_STORE__URL": "redis://127.0.0.1:1/0"}
    file = write(tmp_path, {"api": [a]}, more="max_backends = 3")
    with sidebeat("worker", "-c", file, cwd=tmp_path, env=store) as program:
        system = await worker_started(program)
        for turn in range(1, 6):
            write(tmp_path, {"api": [(a, b, c)[turn % 3]], "web": [a]}, routes=to_both("/w"), more="max_backends = 3")
            program.send(signal.SIGHUP)
            await eventually(partial(has_applied, program, turn))
            assert [await who(system, "/") for _ in range(4)] == ["abc"[turn % 3]] * 4
            if turn == 2:
                second = descriptors()
        await eventually(lambda: all(now <= then + 2 for then, now in zip(second, descriptors(), strict=True)))
        assert not program.said("board-full")
