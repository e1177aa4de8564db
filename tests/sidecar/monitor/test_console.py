"""Which monitor has a console."""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from httpx import AsyncClient, TransportError

from backend import Backend
from redis_server import RedisServer
from sidecar.console.serving import Console
from sidecar.contract.config import Config, Socket, load, parse
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.rundir import console_token
from sidecar.monitor import run
from sidecar.monitor.console import serves
from sidecar.monitor.metrics import Exposition
from sidecar.monitor.tenure import Role
from waiting import eventually, free_port, is_port_open

LEADS, STANDS_BY, UNKNOWN = Role.LEADS, Role.STANDS_BY, Role.UNKNOWN


@pytest.mark.parametrize(
    ("roles", "opens", "stays"),
    [
        ([LEADS], True, True),
        ([STANDS_BY], False, False),
        ([UNKNOWN], False, True),
        ([LEADS, STANDS_BY], True, True),
        ([UNKNOWN, STANDS_BY], False, True),
        ([], False, False),
    ],
)
def test_who_leads_has_a_console_and_keeps_it_while_nobody_knows_better(roles, opens, stays):
    assert (serves(roles, already=False), serves(roles, already=True)) == (opens, stays)


class Monitors:
    """Monitors of one namespace on two machines with one address for their consoles."""

    def __init__(self, redis: RedisServer, namespace: str, backend: Backend, folder: Path) -> None:
        self.namespace = namespace
        self.folder = folder
        self.port = free_port()
        self._redis = redis
        self._backend = backend

    def config(self, host: str) -> Config:
        content: dict[str, Any] = {
            "store": {"url": self._redis.url, "namespace": self.namespace, "host": host},
            "listen": {"console": f"127.0.0.1:{self.port}"},
            "pools": {"api": {"backends": [{"url": self._backend.url, "id": "a"}], "scope": "host"}},
        }
        content["pools"]["api"]["health_check"] = {"interval_s": 0.3, "fast_interval_s": 0.05, "timeout_s": 10.0}
        return parse(content, {})

    @property
    def toml(self) -> str:
        """The same as a file."""
        store = f'[store]\nurl = "{self._redis.url}"\nnamespace = "{self.namespace}"\nhost = "web"\n'
        listen = f'[listen]\nconsole = "127.0.0.1:{self.port}"\n'
        return f'{store}{listen}[pools.api]\nbackends = ["{self._backend.url}"]\n'

    def environ(self, host: str) -> dict[str, str]:
        (self.folder / host).mkdir(exist_ok=True)
        return {"XDG_RUNTIME_DIR": str(self.folder / host)}

    @asynccontextmanager
    async def running(self, machine: str):
        """One of them, until the end of the block. All have one name: their pool is the same."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(run(self.config("web"), self.environ(machine)))
            yield
            task.cancel()

    async def heartbeats(self, count: int) -> None:
        """Wait for so many of the leader's; a standby has tried to lead more often by then."""
        async with connect(self._redis.url) as store:

            async def seq() -> int:
                return int(await store.hget(PoolKeys(self.namespace, "api@web").beat, "seq") or 0)

            before = await seq()

            async def has_come() -> bool:
                return await seq() >= before + count

            await eventually(has_come)

    async def session(self) -> dict[str, Any]:
        async with AsyncClient() as client:
            try:
                answer = await client.get(f"http://127.0.0.1:{self.port}/api/session")
            except TransportError as error:
                raise AssertionError("nobody listens") from error
        session: dict[str, Any] = answer.json()
        return session


@pytest.fixture
def monitors(redis_server: RedisServer, namespace: str, backend: Backend, tmp_path: Path) -> Monitors:
    return Monitors(redis_server, namespace, backend, tmp_path)


async def test_a_standby_has_no_console_until_the_leader_is_gone_and_then_one_with_the_same_token(
    monitors: Monitors, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    token, other = (console_token(monitors.namespace, monitors.environ(machine)) for machine in ("one", "two"))
    async with AsyncExitStack() as later:
        async with monitors.running("one"):
            first = await eventually(monitors.session)
            assert first["token_file"] == str(token)
            assert token.stat().st_mode & 0o777 == 0o600
            await later.enter_async_context(monitors.running("two"))
            await eventually(lambda: caplog.text.count("started monitor=") == 2)
            await monitors.heartbeats(2)
            assert not other.exists(), "it has not even looked for a token"
            assert "in use" not in caplog.text
        session = await eventually(monitors.session)
        assert session["monitor"] != first["monitor"]
        assert other.read_text() == token.read_text()


async def test_an_address_that_is_in_use_is_said_once_and_tried_until_it_is_free(
    monitors: Monitors, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", monitors.port)) as taken:
        async with monitors.running("one"):
            await eventually(lambda: "in use" in caplog.text)
            taken.close()
            await eventually(monitors.session)
    assert caplog.text.count("in use") == 1


async def test_a_monitor_that_is_told_to_end_while_its_console_opens_ends_that_too(
    monitors: Monitors, monkeypatch: pytest.MonkeyPatch
):
    is_opening, may_go_on, is_open = Event(), Event(), Event()

    def slowly(console: Console, start: Callable[[Console], Socket] = Console.start) -> Socket:
        is_opening.set()
        may_go_on.wait(20)
        where = start(console)
        is_open.set()
        return where

    monkeypatch.setattr(Console, "start", slowly)
    async with monitors.running("one"):
        await eventually(is_opening.is_set)
        asyncio.get_running_loop().call_soon(may_go_on.set)  # once it is told
    await eventually(is_open.is_set)
    assert not is_port_open(monitors.port)


async def test_a_store_that_is_away_does_not_take_the_console_away(monitors: Monitors, redis_server: RedisServer):
    async with monitors.running("one"):
        before = await eventually(monitors.session)
        redis_server.kill()
        async with AsyncClient() as client:
            status = f"http://127.0.0.1:{monitors.port}/api/status"

            async def has_noticed() -> bool:
                return (await client.get(status)).status_code == 503

            await eventually(has_noticed)
        assert await monitors.session() == before
        redis_server.start()


async def test_a_reload_switches_it_on_and_off_and_gives_it_another_token(monitors: Monitors, tmp_path: Path):
    asked, file = asyncio.Event(), tmp_path / "sidebeat.toml"

    def write(console: str) -> None:
        file.write_text(f"{monitors.toml}[console]\n{console}\n")
        asked.set()

    async def status_of_login() -> int:
        async with AsyncClient() as client:
            answer = await client.post(f"http://127.0.0.1:{monitors.port}/api/login", json={"token": "x" * 20})
        return answer.status_code

    async def is_closed() -> bool:
        try:
            await monitors.session()
        except AssertionError:
            return True
        return False

    write("enabled = true")
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(load(file, {}), monitors.environ("one"), file=file, asked=asked))
        assert (await eventually(monitors.session))["token_file"]
        assert await status_of_login() == 401
        write(f'token = "{"x" * 20}"')

        async def is_not_in_a_file() -> bool:
            return (await monitors.session())["token_file"] is None

        await eventually(is_not_in_a_file)
        assert await status_of_login() == 204
        write("enabled = false")
        await eventually(is_closed)
        write("")
        assert (await eventually(monitors.session))["token_file"]
        task.cancel()


class Blocked:
    """Metrics that take as long as a test wants."""

    def __init__(self) -> None:
        self.is_asked, self.may_go_on = Event(), Event()

    def render(self, accept: str) -> tuple[bytes, str]:
        self.is_asked.set()
        self.may_go_on.wait(20)
        return b"", "text/plain"


async def test_whatever_a_console_is_busy_with_backends_are_probed_meanwhile(
    monitors: Monitors, backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    metrics = Blocked()
    monkeypatch.setattr(Exposition, "render", lambda _, accept: metrics.render(accept))
    async with monitors.running("one"), AsyncClient() as client, asyncio.TaskGroup() as tasks:
        await eventually(monitors.session)
        scrape = tasks.create_task(client.get(f"http://127.0.0.1:{monitors.port}/metrics", timeout=20))
        await eventually(metrics.is_asked.is_set)
        probed = len(backend.requests)
        await eventually(lambda: len(backend.requests) >= probed + 5)
        assert not scrape.done()
        metrics.may_go_on.set()
