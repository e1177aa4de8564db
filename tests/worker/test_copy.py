"""The copy of the view on disk: what a worker begins with that finds no store."""

import asyncio
import json
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnection

from sidecar.contract.codec import ContractError, encode_view
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin, Backend, Health, Verdict, View, parse_address
from waiting import eventually
from worker import copy
from worker.copy import Copies, decode_copy, encode_copy, wall_clock
from worker.follow import Follower
from worker.view import COPY_S, Beat, Freshness, Knowledge, Tier, candidates

KEYS = {"api": PoolKeys("test", "api@host"), "web": PoolKeys("test", "web")}
NOW_S, WALL_S = 100.0, 1_700_000_000.0


def verdict(name: str, state: Health = Health.HEALTHY, *, admin: Admin = Admin.READY) -> Verdict:
    return Verdict(id=name, url=f"http://{name}.test", state=state, admin=admin, ejected_ms=9_000, ramp_ms=9_000)


def a_view(epoch: int = 5, *verdicts: Verdict) -> View:
    return View(
        epoch=epoch, token=3, store_id="store", suspect="all", backends={each.id: each for each in verdicts or A_POOL}
    )


A_POOL = (
    verdict("up"),
    verdict("down", Health.UNHEALTHY),
    verdict("out", admin=Admin.DRAIN),
    verdict("repaired", admin=Admin.MAINT),
)


class Disk:
    """One machine's run directory, and workers on it that follow nothing."""

    def __init__(self) -> None:
        self.wall_s = WALL_S
        self.directory = Path(os.environ["XDG_RUNTIME_DIR"], "sidebeat", "test")

    @property
    def path(self) -> Path:
        return self.directory / "view.api@host.json"

    def copies(self, knowledge: Knowledge | None = None, *, is_scribe: Callable[[], bool] = lambda: True) -> Copies:
        known = {"api": knowledge or Knowledge(), "web": Knowledge()}
        return Copies(
            KEYS, known, namespace="test", environ=os.environ, is_scribe=is_scribe, clock=lambda: NOW_S,
            wall=lambda: self.wall_s,
        )  # fmt: skip

    def leave(self, content: bytes) -> None:
        self.directory.mkdir(mode=0o700, parents=True)
        self.directory.parent.chmod(0o700)
        self.path.write_bytes(content)

    def confirmed_s(self) -> float:
        return float(json.loads(self.path.read_bytes())["confirmed_s"])


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is long for a test."""
    monkeypatch.setattr(copy, "EVERY_S", 0.02)


@asynccontextmanager
async def running(copies: Copies) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(copies.keep())
        try:
            yield
        finally:
            task.cancel()


def confirmed(view: View) -> Knowledge:
    knowledge = Knowledge()
    assert knowledge.offer(view, NOW_S, 0.0)
    return knowledge


# Reading


def test_a_copy_holds_the_verdicts_and_nothing_that_was_still_running():
    recalled = decode_copy(encode_copy(a_view(), WALL_S), WALL_S + 60)

    assert recalled is not None
    assert recalled.age_s == 60
    assert recalled.view == View(backends={each.id: replace(each, ejected_ms=0, ramp_ms=0) for each in A_POOL})


@pytest.mark.parametrize(
    ("age_s", "is_known"), [(0, True), (COPY_S, True), (COPY_S + 1, False), (-1, False), (-1e9, False)]
)
def test_a_copy_is_good_for_an_hour_and_never_from_the_future(age_s: float, *, is_known: bool):
    assert (decode_copy(encode_copy(a_view(), WALL_S), WALL_S + age_s) is not None) is is_known


UNREADABLE = {
    "empty": b"",
    "half": encode_copy(a_view(), WALL_S)[:80],
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "another product's": b'{"users": 5}',
    "without a view": b'{"confirmed_s": 1700000000}',
    "with a word for its time": encode_copy(a_view(), WALL_S).replace(b"1700000000.000", b'"now"'),
    "of a schema to come": encode_copy(a_view(), WALL_S).replace(b'"schema":1', b'"schema":99'),
    "nested without end": b"[" * 100_000,
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_copy_is_left_out_and_told_of(disk: Disk, caplog: pytest.LogCaptureFixture, content: bytes):
    with pytest.raises(ContractError):
        decode_copy(content, WALL_S)

    disk.leave(content)
    assert disk.copies().recall() == {}
    (record,) = caplog.records
    assert record.message.startswith("store-garbage part=copy pool=api problem=")


def test_where_there_is_no_copy_there_is_nothing_to_tell_and_nothing_is_made(
    disk: Disk, caplog: pytest.LogCaptureFixture
):
    assert disk.copies().recall() == {}
    assert not caplog.records
    assert not disk.directory.exists()


# Writing


@pytest.mark.usefixtures("quick")
async def test_what_one_worker_writes_the_next_recalls(disk: Disk):
    async with running(disk.copies(confirmed(a_view()))):
        await eventually(disk.path.exists)
    disk.wall_s += 600

    assert disk.copies().recall()["api"].view.backends.keys() == a_view().backends.keys()
    assert disk.copies().recall()["api"].age_s == 600
    assert stat.S_IMODE(disk.path.stat().st_mode) == 0o600
    assert os.listdir(disk.directory) == [disk.path.name]


@pytest.mark.usefixtures("quick")
async def test_only_the_scribe_writes(disk: Disk):
    turns: list[str] = []

    def is_scribe() -> bool:
        turns.append("asked")
        return len(turns) > 5

    async with running(disk.copies(confirmed(a_view()), is_scribe=is_scribe)):
        await eventually(disk.path.exists)
    assert len(turns) > 5


@pytest.mark.usefixtures("quick")
async def test_a_view_is_written_when_it_is_another_and_else_only_stamped_now_and_then(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    knowledge = confirmed(a_view(5))
    async with running(disk.copies(knowledge)):
        await eventually(disk.path.exists)
        disk.wall_s += 10
        assert knowledge.offer(a_view(6), NOW_S, 0.0)
        await eventually(lambda: json.loads(disk.path.read_bytes())["view"]["epoch"] == 6)
        stamped_s = disk.confirmed_s()

        disk.wall_s += 10
        await asyncio.sleep(5 * copy.EVERY_S)
        assert disk.confirmed_s() == stamped_s
        monkeypatch.setattr(copy, "RESTAMP_S", 0.0)
        await eventually(lambda: disk.confirmed_s() > stamped_s)


@pytest.mark.usefixtures("quick")
async def test_old_knowledge_is_not_written(disk: Disk):
    knowledge, recalled = Knowledge(), Knowledge()
    assert knowledge.offer(a_view(), NOW_S, 10.0)
    fresh = decode_copy(encode_copy(a_view(), WALL_S), WALL_S)
    assert fresh is not None
    assert recalled.offer(fresh.view, NOW_S, fresh.age_s)

    for known in (knowledge, recalled, Knowledge()):
        async with running(disk.copies(known)):
            await asyncio.sleep(5 * copy.EVERY_S)
    assert not disk.directory.exists()


@pytest.mark.usefixtures("quick")
async def test_a_disk_that_cannot_be_written_is_told_of_once_and_used_when_it_can(
    disk: Disk, caplog: pytest.LogCaptureFixture
):
    disk.directory.parent.write_bytes(b"in the way")
    knowledge = confirmed(a_view())
    async with running(disk.copies(knowledge)):
        await eventually(lambda: "store-down part=copy" in caplog.text)
        disk.directory.parent.unlink()
        await eventually(disk.path.exists)
        await eventually(lambda: "store-up part=copy" in caplog.text)
    assert len(caplog.records) == 2


@pytest.mark.usefixtures("quick")
async def test_a_copy_that_fails_half_way_leaves_the_last_one(disk: Disk, monkeypatch: pytest.MonkeyPatch):
    knowledge = confirmed(a_view(5))
    async with running(disk.copies(knowledge)):
        await eventually(disk.path.exists)
        before = disk.path.read_bytes()
        made: list[str] = []
        mkstemp = tempfile.mkstemp

        def unwritable(dir: Path, prefix: str) -> tuple[int, str]:  # noqa: A002 - as the original names it
            handle, path = mkstemp(dir=dir, prefix=prefix)
            os.close(handle)
            made.append(path)
            return os.open(path, os.O_RDONLY), path

        monkeypatch.setattr(tempfile, "mkstemp", unwritable)
        assert knowledge.offer(a_view(6), NOW_S, 0.0)
        await eventually(lambda: len(made) > 1)
    assert disk.path.read_bytes() == before
    assert os.listdir(disk.directory) == [disk.path.name]


# Beginning with it


def members(*names: str) -> list[Backend]:
    return [Backend(id=each, url=f"http://{each}.test", address=parse_address(f"http://{each}.test")) for each in names]


@asynccontextmanager
async def following(disk: Disk, open_store: Callable[[str], Redis]) -> AsyncIterator[tuple[Knowledge, list[str]]]:
    knowledge, changes = {"api": Knowledge(), "web": Knowledge()}, list[str]()
    copies = Copies(KEYS, knowledge, namespace="test", environ=os.environ, is_scribe=lambda: False)
    follower = Follower(KEYS, knowledge, changes.append, lambda: "redis://fake", copies=copies, open_store=open_store)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follower.run())
        try:
            await eventually(lambda: changes)
            yield knowledge["api"], changes
        finally:
            task.cancel()


def nobody(_url: str) -> Redis:
    raise NoConnection("nobody there")


async def test_a_worker_that_finds_no_store_begins_with_the_copy_and_knows_that_it_is_old(disk: Disk):
    disk.leave(encode_copy(a_view(), wall_clock() - 2.0))
    async with following(disk, nobody) as (knowledge, changes):
        now = time.monotonic()
        assert changes == ["api"]
        assert knowledge.freshness(now) is Freshness.STALE
        assert (knowledge.age_s(now) or 0) > 3

        pool = members("up", "down", "out", "repaired", "added")
        selection = candidates(pool, {each.id: row for row, each in enumerate(pool)}, knowledge, now)
        assert (selection.tier, [each.backend.id for each in selection.candidates]) == (Tier.HEALTHY, ["up"])
        taken_out = members("out", "repaired")
        assert candidates(taken_out, {"out": 0, "repaired": 1}, knowledge, now).tier is Tier.NONE


async def test_whatever_the_store_says_replaces_the_copy(disk: Disk):
    disk.leave(encode_copy(a_view(2_000_000_000_000), wall_clock() - 60))
    server = FakeServer()
    async with FakeAsyncRedis(server=server, decode_responses=True) as store:
        await store.set(KEYS["api"].view, encode_view(replace(a_view(5, verdict("up")), token=1)))
        async with following(disk, lambda _: FakeAsyncRedis(server=server, decode_responses=True)) as (knowledge, _):
            await eventually(lambda: knowledge.view and knowledge.view.epoch == 5)


def test_a_heartbeat_alone_does_not_make_a_copy_young():
    knowledge = Knowledge()
    recalled = decode_copy(encode_copy(a_view(5), WALL_S), WALL_S)
    assert recalled is not None
    knowledge.offer(recalled.view, 100.0, recalled.age_s)

    beat = Beat(seq=1, epoch=5, store_id="store", redis_ms=0)
    knowledge.beat(beat, 100.0, 0.0)
    assert knowledge.freshness(100.0) is Freshness.STALE
    assert knowledge.is_behind(beat)


@pytest.mark.parametrize("age_s", [0.0, 29.0, 600.0, 3599.0])
def test_the_verdicts_of_a_copy_stand_for_an_hour_and_are_never_fresh(age_s: float):
    recalled = decode_copy(encode_copy(a_view(), WALL_S), WALL_S + age_s)
    assert recalled is not None
    knowledge = Knowledge()
    knowledge.offer(recalled.view, 100.0, recalled.age_s)

    assert knowledge.freshness(100.0) is Freshness.STALE
    assert knowledge.freshness(100.0 + COPY_S - age_s - 5.0) is not Freshness.FRESH
    assert knowledge.freshness(100.0 + COPY_S - age_s + 5.0) is Freshness.EXPIRED
    assert knowledge.holds_until(100.0) == pytest.approx(100.0 + COPY_S - recalled.age_s)
