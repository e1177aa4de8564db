"""A monitor goes on under another config: leases are kept, new backends are probed at once, the others do not flap."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backend import Backend, Connection, Request, answers
from redis_server import RedisServer
from sidecar.admin import ask
from sidecar.contract.codec import decode_view
from sidecar.contract.config import load
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.masters import MONITOR
from sidecar.contract.model import Admin, View
from sidecar.contract.rundir import run_directory
from sidecar.monitor import run
from waiting import eventually

QUICK = {"interval_s": 0.3, "fast_interval_s": 0.05, "timeout_s": 10.0}


class System:
    """A monitor over a file that changes, and what it has published."""

    def __init__(self, folder: Path, url: str, namespace: str, environ: dict[str, str], store: Any) -> None:
        self.file = folder / "sidebeat.toml"
        self.store = store
        self.environ = environ
        self.namespace = namespace
        self.asked = asyncio.Event()
        self._head = f'[store]\nurl = "{url}"\nnamespace = "{namespace}"\nhost = "web-1"\n[console]\nenabled = false\n'

    def write(self, *backends: Backend, head: str = "", pool: str = "api", **check: Any) -> None:
        """One pool of these, ``b<port>`` each."""
        members = [{"url": backend.url, "id": f"b{backend.port}"} for backend in backends]
        told = ", ".join(f"{{ url = {json.dumps(each['url'])}, id = '{each['id']}' }}" for each in members)
        lines = [f"[pools.{pool}]", f"backends = [{told}]", f"[pools.{pool}.health_check]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in (QUICK | check).items()]
        self.file.write_text(head + self._head + "\n".join(lines))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The monitor, until the end of the block."""
        async with asyncio.TaskGroup() as tasks:
            config = load(self.file, {})
            task = tasks.create_task(run(config, self.environ, file=self.file, asked=self.asked))
            yield
            task.cancel()

    @property
    def shown(self) -> dict[str, Any]:
        """How it shows itself to commands on this machine; its lock would not keep its own process from taking it."""
        files = list(run_directory(self.namespace, self.environ).glob(MONITOR))
        assert len(files) == 1, files
        shown: dict[str, Any] = json.loads(files[0].read_text())
        return shown

    async def reload(self) -> str | None:
        """Ask for one, and wait for its end: why it was refused, if it was."""
        before = (await eventually(lambda: self.shown))["reloads"]
        self.asked.set()
        await eventually(lambda: self.shown["reloads"] > before)
        refusal: str | None = self.shown["refusal"]
        return refusal

    def keys(self, pool: str = "api") -> PoolKeys:
        return PoolKeys(self.namespace, f"{pool}@web-1")

    async def view(self, pool: str = "api") -> View:
        raw = await self.store.get(self.keys(pool).view)
        assert raw is not None
        return decode_view(raw)

    async def are(self, pool: str = "api", **states: str) -> bool:
        return {name: str(verdict.state) for name, verdict in (await self.view(pool)).backends.items()} == states

    async def seen(self, backend: Backend) -> list[tuple[str, str]]:
        """The changes of a backend that are among the events."""
        events = [event for _, event in await self.store.xrange(self.keys().events)]
        return [(event["from"], event["to"]) for event in events if event["backend"] == f"b{backend.port}"]


@pytest.fixture
async def system(tmp_path: Path, redis_server: RedisServer, namespace: str) -> AsyncIterator[System]:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    async with connect(redis_server.url) as store:
        yield System(tmp_path, redis_server.url, namespace, {"XDG_RUNTIME_DIR": str(folder)}, store)


@pytest.fixture
async def backends() -> AsyncIterator[list[Backend]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Backend()) for _ in range(3)]


def healthy(*backends: Backend) -> dict[str, str]:
    return {f"b{backend.port}": "healthy" for backend in backends}


async def test_members_come_and_go_and_the_others_keep_their_lives(system: System, backends: list[Backend]):
    stays, goes, comes = backends
    system.write(stays, goes)
    async with system.running():
        await eventually(lambda: system.are(**healthy(stays, goes)))
        before, token = (await system.view()).backends, await system.store.hget(system.keys().leader, "token")
        system.write(stays, comes)
        assert await system.reload() is None
        await eventually(lambda: system.are(**healthy(stays, comes)))
        after = await system.view()
        assert await system.store.hget(system.keys().leader, "token") == token == str(after.token)
        assert after.backends[f"b{stays.port}"].since_ms == before[f"b{stays.port}"].since_ms
        assert await system.seen(stays) == await system.seen(comes) == [("unknown", "healthy")]
        assert await system.store.pttl(system.keys().backend(f"b{goes.port}")) > 0
        gone = len(goes.requests)
        seen = len(stays.requests)
        await eventually(lambda: len(stays.requests) > seen + 1)
        assert len(goes.requests) == gone


async def test_another_question_is_asked_from_the_next_probe_on(system: System, backends: list[Backend]):
    async def picky(request: Request, connection: Connection) -> None:
        await connection.respond(200 if request.target == b"/new" else 500)

    one = backends[0]
    one.handler = picky
    system.write(one)
    async with system.running():
        await eventually(lambda: system.are(**{f"b{one.port}": "unhealthy"}))
        system.write(one, path="/new")
        assert await system.reload() is None
        await eventually(lambda: system.are(**healthy(one)))


async def test_one_that_joins_and_is_in_maintenance_is_not_probed(system: System, backends: list[Backend]):
    one, other, _ = backends
    await ask(system.store, system.keys(), f"b{other.port}", Admin.MAINT, by="test")
    system.write(one)
    async with system.running():
        await eventually(lambda: system.are(**healthy(one)))
        system.write(one, other)
        assert await system.reload() is None
        await eventually(lambda: system.are(**healthy(one), **{f"b{other.port}": "unknown"}))
        assert not other.requests


async def test_pools_come_and_go(system: System, backends: list[Backend]):
    system.write(backends[0])
    async with system.running():
        await eventually(lambda: system.are(**healthy(backends[0])))
        system.write(backends[1], pool="web")
        assert await system.reload() is None
        await eventually(lambda: system.are("web", **healthy(backends[1])))
        await eventually(lambda: is_gone(system, system.keys().leader))
        other = backends[1]
        other.handler = answers(503)
        await system.store.publish(system.keys("web").suspect, f"b{other.port}")
        await eventually(lambda: system.are("web", **{f"b{other.port}": "unhealthy"}))


async def is_gone(system: System, key: str) -> bool:
    return not await system.store.exists(key)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("interval_s", "intervall_s"), "pools.api.health_check.intervall_s: no such key"),
        (lambda text: text.replace('host = "web-1"', 'host = "web-2"'), "store.host: cannot change while it runs"),
        (lambda text: text + '\n[pools.api.tls]\nca = "/nowhere.pem"', "pools.api.tls: No such file or directory"),
        (lambda text: "what is this", "not valid TOML"),
    ],
)
async def test_what_cannot_be_used_changes_nothing_and_it_says_why(
    system: System, backends: list[Backend], change: Any, problem: str, caplog: pytest.LogCaptureFixture
):
    system.write(backends[0])
    async with system.running():
        await eventually(lambda: system.are(**healthy(backends[0])))
        view = await system.view()
        system.file.write_text(change(system.file.read_text()))
        assert problem in (await system.reload() or "")
        assert await system.view() == view
    assert any("reload=refused" in record.getMessage() for record in caplog.records)
