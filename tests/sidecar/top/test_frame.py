"""What a frame says: whose figures, which backends first, which one is slow; at every size of a terminal."""

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from rich.console import Console

from published import EPOCH, publish, report
from redis_server import RedisServer
from sidecar.collect import Traffic
from sidecar.contract.codec import report_hash
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys, worker_member
from sidecar.contract.model import Health, Report, Tally, Verdict
from sidecar.status import PoolStatus, Status, read_status
from sidecar.status.traffic import slowest
from sidecar.top import Frame, Reader
from sidecar.top.draw import draw
from sidecar.top.frame import most_telling, with_traffic

UP = Verdict(id="a", url="http://10.0.0.1:80", state=Health.HEALTHY, reason="HTTP 200")


@pytest.fixture
async def store(shared_redis: RedisServer):
    async with connect(shared_redis.url) as client:
        yield client


@pytest.fixture
async def pool(shared_redis: RedisServer, store: Redis, namespace: str) -> PoolStatus:
    """Of twenty backends and a worker; only the last is down."""
    verdicts = [replace(UP, id=f"b{number}") for number in range(19)]
    down = Verdict(id="z", url="http://10.0.0.2:80", state=Health.UNHEALTHY, reason="connection refused")
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, *verdicts, down)
    await report(store, keys, 0)
    return (await read_status(shared_redis.url, namespace)).pools["api"]


def with_times(pool: PoolStatus, **p99_ms: float) -> PoolStatus:
    return replace(
        pool, backends={name: replace(each, p99_ms=p99_ms.get(name)) for name, each in pool.backends.items()}
    )


def text_of(frame: Frame, **size: Any) -> list[str]:
    width = size["size"][0] if size else 200
    console = Console(width=width, force_terminal=False, highlight=False, emoji=False, markup=False)
    with console.capture() as capture:
        console.print(draw(frame, **size))
    return capture.get().splitlines()


async def test_who_is_in_trouble_comes_before_those_for_whom_there_is_no_room(pool: PoolStatus):
    assert most_telling(pool, 2) == (["b0", "z"], 18)
    assert most_telling(pool, 20) == (list(pool.backends), 0)


async def test_the_slowest_is_one_that_stands_out(pool: PoolStatus):
    assert slowest(with_times(pool, b0=10, b1=12, b2=30)) == "b2"
    assert slowest(with_times(pool, b0=10, b1=12, b2=20)) is None
    assert slowest(with_times(pool, b0=10)) is None


async def test_the_figures_of_a_dead_monitor_are_replaced(pool: PoolStatus):
    found = with_traffic(pool, {"b0": Traffic(rps=30, error_ratio=0.5, p99_ms=7), "b1": Traffic(rps=10)})
    assert (found.backends["b0"].rps, found.backends["b0"].share, found.backends["b0"].p99_ms) == (30, 0.75, 7)
    assert (found.backends["b2"].rps, found.backends["b2"].share) == (None, None)


@pytest.mark.parametrize("size", [(200, 60), (80, 24), (60, 12), (40, 10)])
async def test_a_frame_fits_into_its_terminal_and_names_who_is_down(pool: PoolStatus, size: tuple[int, int]):
    frame = Frame(status=Status(namespace="default", now_ms=EPOCH, pools={"api": pool}))
    lines = text_of(frame, size=size)
    assert max(map(len, lines)) <= size[0]
    assert len(lines) <= max(size[1], 11)
    assert any(line.startswith(" z") for line in lines)


async def test_a_frame_for_a_pipe_leaves_nothing_out_and_says_why(pool: PoolStatus):
    slow = with_times(pool, b0=10, b1=12, b2=30)
    lines = text_of(Frame(status=Status(namespace="default", now_ms=EPOCH, pools={"api": slow})))
    assert sum(" healthy " in line for line in lines) == 19
    assert any("30.0 ms" in line and "slowest of its pool, though its probe took 4.2 ms" in line for line in lines)


async def test_a_slow_backend_whose_probes_are_slow_too_is_said_to_be_slow_altogether(pool: PoolStatus):
    slow = with_times(pool, b0=10, b1=12, b2=30)
    slow = replace(slow, backends={**slow.backends, "b2": replace(slow.backends["b2"], probe_ms=25.0)})
    lines = text_of(Frame(status=Status(namespace="default", now_ms=EPOCH, pools={"api": slow})))
    assert any("slowest of its pool, and its probe took 25.0 ms" in line for line in lines)


async def test_the_names_of_backends_are_whole_on_a_narrow_terminal(pool: PoolStatus):
    """They were cut to "127.0.0." each, and nobody could tell which of them was slow."""
    named = {f"127.0.0.1:{number}": each for number, each in enumerate(pool.backends.values(), 18081)}
    pools = {"api": with_times(replace(pool, backends=named), **{"127.0.0.1:18082": 400})}
    lines = text_of(Frame(status=Status(namespace="default", now_ms=EPOCH, pools=pools)), size=(80, 40))
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(tuple(f" {name} " for name in named)) for line in lines) == len(named)


async def test_a_backend_that_fails_requests_and_passes_probes_is_said_to(pool: PoolStatus):
    failing = {**pool.backends, "b3": replace(pool.backends["b3"], error_ratio=0.3)}
    pools = {"api": replace(pool, backends=failing)}
    (line,) = [
        line for line in text_of(Frame(status=Status(namespace="n", now_ms=EPOCH, pools=pools))) if "30.0%" in line
    ]
    assert line.startswith(" b3 ")
    assert "its requests fail, though its probes pass; HTTP 200" in line


async def test_where_no_monitor_adds_up_the_reports_are(shared_redis: RedisServer, store: Redis, namespace: str):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP, leader=False, age_ms=60_000)
    await store.hset(keys.backend("a"), mapping={"rps": "999"})
    reader = Reader(shared_redis.url, namespace)
    await tell(store, keys, requests=100, at_ms=EPOCH)
    first = await reader.frame()
    await tell(store, keys, requests=150, at_ms=EPOCH + 2_000)
    second = await reader.frame()
    assert [frame.status.pools["api"].backends["a"].rps for frame in (first, second)] == [None, 25.0]
    assert second.as_json()["measured_by"] == {"api": "top"}


async def test_where_one_does_its_figures_are_those_of_status(shared_redis: RedisServer, store: Redis, namespace: str):
    keys = PoolKeys(namespace, "api")
    await publish(store, keys, UP)
    await store.hset(keys.backend("a"), mapping={"rps": "12.5"})
    told = (await Reader(shared_redis.url, namespace).frame()).as_json()
    assert told["measured_by"] == {"api": "monitor"}
    assert told["pools"]["api"]["backends"]["a"]["rps"] == 12.5  # type: ignore[index]


async def tell(store: Redis, keys: PoolKeys, *, requests: int, at_ms: int) -> None:
    worker = Report(
        host="web-1", instance="i1", slot=0, pid=1, incarnation="x", heartbeat_ms=at_ms,
        tallies={"a": Tally(requests=requests)},
    )  # fmt: skip
    member = worker_member("web-1", "i1", 0)
    await store.zadd(keys.workers, {member: at_ms})
    fields: dict[Any, Any] = dict(report_hash(worker))
    await store.hset(keys.worker(member), mapping=fields)
