"""A request is followed by the code that real ones run through, and leaves no trace of its own."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

import pytest

from lanes import LANES, config_of, serving
from sidecar.contract.model import Admin, Health, Verdict, View
from worker.affinity import cookie_value
from worker.explain import Explanation, Question, explain
from worker.failure import Refused
from worker.outlier import Phase
from worker.runtime import Runtime
from worker.survey import Stand

IDS = ("a", "b", "c")
StartRuntime = Callable[..., Awaitable[Runtime]]


@pytest.fixture
async def start() -> AsyncIterator[StartRuntime]:
    """A worker over three backends, which are healthy unless verdicts say something else."""
    async with AsyncExitStack() as stack:

        async def start(*verdicts: Verdict, **sections: Any) -> Runtime:
            more = sections.pop("backends", {})
            backends = [
                {"url": f"http://127.0.0.1:{port}", "id": name, **more.get(name, {})}
                for port, name in enumerate(IDS, 1)
            ]
            content = config_of(*backends, **{"balancing": {"policy": "p2c_ewma"}, **sections})
            lane = await stack.enter_async_context(serving(LANES["direct"], content))
            runtime = lane.runtime
            told = {name: verdict(name) for name in IDS} | {each.id: each for each in verdicts}
            runtime.knowledge["api"].offer(View(epoch=7, backends=told), runtime.clock(), 0.5)
            runtime.pools["api"].reselect(runtime.clock())
            return runtime

        yield start


def verdict(name: str, state: Health = Health.HEALTHY, **more: Any) -> Verdict:
    return Verdict(id=name, url=f"http://127.0.0.1:{IDS.index(name) + 1}", state=state, reason="as told", **more)


async def asked(runtime: Runtime, method: str = "GET", url: str = "/", *headers: str, **more: Any) -> Explanation:
    return await explain(runtime, Question(method=method, url=url, headers=headers, **more))


def stands(told: Explanation) -> dict[str, Stand]:
    return {each.id: each for each in told.backends}


def shares(told: Explanation) -> dict[str, float]:
    return {each.id: each.probability for each in told.backends}


@pytest.mark.parametrize(
    ("one", "cause"),
    [
        (verdict("a", admin=Admin.DRAIN), "drain, as an operator asked"),
        (verdict("a", admin=Admin.MAINT), "maint, as an operator asked"),
        (verdict("a", weight=0.0), "its weight is 0"),
        (verdict("a", Health.UNHEALTHY), "unhealthy: as told"),
        (verdict("a", Health.DEGRADED), "it is degraded, and healthy goes first"),
        (verdict("a", ejected_ms=60_000), "ejected for the whole fleet for"),
    ],
)
async def test_whoever_is_not_eligible_has_a_cause(start: StartRuntime, one: Verdict, cause: str):
    found = stands(await asked(await start(one)))
    assert not found["a"].eligible
    assert found["a"].cause.startswith(cause)
    assert (found["a"].probability, found["b"].eligible, found["b"].cause) == (0.0, True, "")


async def test_what_this_host_holds_against_one_is_told(start: StartRuntime):
    runtime = await start()
    rows, now = runtime.seats["api"].rows, runtime.clock()
    runtime.board.host.eject(rows["a"], now, now + 60, 2)
    runtime.writer.skip(rows["b"], now + 60)
    runtime.board.announce(0)
    found = stands(await asked(runtime))
    assert found["a"].cause.startswith("ejected on this host for ")
    assert found["a"].cause.endswith("(2 in a row)")
    assert found["b"].cause.startswith("nobody was there a moment ago")
    assert found["c"].probability == 1.0


async def test_slow_start_and_zones_stand_against_those_that_are_eligible(start: StartRuntime):
    zones = {name: {"zone": zone} for name, zone in zip(IDS, ("here", "here", "there"), strict=True)}
    runtime = await start(verdict("a", ramp_ms=5_000), backends=zones, store={"url": "unix:///nowhere", "zone": "here"})
    found = stands(await asked(runtime))
    assert found["a"].cause.startswith("slow start: it counts with 5")
    assert found["a"].ramp == pytest.approx(0.5, abs=0.1)
    assert found["c"].eligible
    assert (found["c"].probability, found["c"].cause) == (0.0, "its zone is another one, and enough of ours is there")


async def test_probabilities_are_those_of_real_picks(start: StartRuntime):
    runtime = await start(balancing={"policy": "random"}, backends={"b": {"weight": 3}})
    runtime.knowledge["api"].offer(View(epoch=8, backends={"b": verdict("b", weight=3.0)}), runtime.clock(), 0)
    runtime.pools["api"].reselect(runtime.clock())
    told = await asked(runtime)
    pool, seen = runtime.pools["api"], Counter[str]()
    for _ in range(5_000):
        candidate = pool.take((), runtime.clock(), safe=True)
        assert candidate is not None
        seen[candidate.backend.id] += 1
        pool.leave(candidate.row)
    for name, share in shares(told).items():
        assert seen[name] / 5_000 == pytest.approx(share, abs=0.04)


async def test_asking_disturbs_nothing(start: StartRuntime):
    runtime = await start(balancing={"policy": "round_robin"})
    pool = runtime.pools["api"]
    for _ in range(9):
        told = [await asked(runtime) for _ in range(3)]
        candidate = pool.take((), runtime.clock(), safe=True)
        assert candidate is not None
        assert [shares(each)[candidate.backend.id] for each in told] == [1.0] * 3
        assert pool.writer.cells.in_flight(candidate.row) == 1
        pool.leave(candidate.row)
    assert runtime.active == set()


async def test_the_place_of_a_canary_is_told_and_not_taken(start: StartRuntime):
    runtime = await start()
    row, now = runtime.seats["api"].rows["a"], runtime.clock()
    runtime.board.host.eject(row, now - 2, now - 1, 1)
    runtime.board.announce(0)
    safe, unsafe = await asked(runtime), await asked(runtime, "POST")
    assert safe.choice is not None
    assert unsafe.choice is not None
    assert (safe.choice.decided_by, shares(safe)["a"]) == ("canary", 1.0)
    assert (unsafe.choice.decided_by, shares(unsafe)["a"]) == ("policy", 0.0)
    assert stands(safe)["a"].cause == "ejected on this host; that time is over, and one request is to try it"
    assert runtime.board.host.standing(row).phase(runtime.clock()) is Phase.PROBATION


async def test_a_cookie_decides_while_its_backend_is_eligible(start: StartRuntime):
    runtime = await start(verdict("b", admin=Admin.DRAIN), sticky={"cookie": "sb", "secret": "of some length!!"})
    sticky, salt = runtime.config.pools["api"].sticky, f"default:{runtime.config.key_name('api')}"
    assert sticky is not None
    for name, decided_by in (("a", "affinity"), ("b", "policy")):
        told = await asked(runtime, "GET", "/", f"Cookie: sb={cookie_value(sticky, salt, name).decode()}")
        assert told.choice is not None
        assert told.affinity is not None
        assert (told.choice.decided_by, told.affinity.backend) == (decided_by, name)
        assert shares(told)[name] == (1.0 if name == "a" else 0.0)
    other = (await asked(runtime)).affinity
    assert other is not None
    assert other.outcome == "no cookie sb of ours: the answer will set one"


async def test_whoever_is_full_is_passed_over(start: StartRuntime):
    runtime = await start(backends={"a": {"max_inflight": 1}}, limits={"without_store": "open"})
    pool, row = runtime.pools["api"], runtime.seats["api"].rows["a"]
    pool.writer.begin(row)
    full = stands(await asked(runtime))["a"]
    pool.leave(row)
    assert full.eligible
    assert (full.probability, full.inflight) == (0.0, 1)
    assert full.cause == "all that it may take at a time, or in this window, is in use"


async def test_the_rules_are_those_of_the_request(start: StartRuntime):
    runtime = await start()
    get, post = (await asked(runtime, "GET")).rules, (await asked(runtime, "POST")).rules
    keyed = (await asked(runtime, "POST", "/", "Idempotency-Key: 1")).rules
    assert get is not None
    assert post is not None
    assert keyed is not None
    assert "since GET may be made again" in get.retry[1]
    assert post.retry[1].endswith("never, since POST may do something, and it has no Idempotency-Key")
    assert "since it has an Idempotency-Key" in keyed.retry[1]
    assert get.timeouts["connect_s"] == 30.0


async def test_what_the_backend_would_see_is_told(start: StartRuntime):
    route = {"pool": "api", "path_prefix": "/api", "strip_prefix": True, "host_header": "upstream"}
    runtime = await start(routes=[route], listen={"trusted_proxies": ["10.0.0.0/8"]})
    forwarded = ("X-Forwarded-For: 1.2.3.4",)
    told = await asked(runtime, "GET", "http://shop.test/api/x?y=1", *forwarded, client="10.1.2.3")
    assert (told.host, told.trusted) == ("shop.test", True)
    assert told.forwarded is not None
    assert told.forwarded.request_line == "GET /x?y=1 HTTP/1.1"
    changed = {each.name: (each.before, each.after) for each in told.forwarded.changes}
    assert changed["X-Forwarded-For"] == (("1.2.3.4",), ("1.2.3.4, 10.1.2.3",))
    assert changed["Host"][1] == (f"127.0.0.1:{IDS.index(told.forwarded.backend) + 1}",)


@pytest.mark.parametrize(
    ("method", "url", "header", "failure"),
    [
        ("TRACE", "/", "a: b", "method_refused"),
        ("GET", "/x", "a: b", "no_route"),
        ("GET", "/api/%2e%2e/x", "a: b", "bad_request"),
        ("OPTIONS", "/api", "Max-Forwards: 0", "last_hop"),
    ],
)
async def test_an_answer_of_ours_is_told_with_its_reason(
    start: StartRuntime, method: str, url: str, header: str, failure: str
):
    runtime = await start(routes=[{"pool": "api", "path_prefix": "/api"}])
    told = await asked(runtime, method, url, header)
    assert told.refused is not None
    assert (told.refused.failure, told.choice, bool(told.refused.why)) == (failure, None, True)


async def test_a_pool_without_anybody_says_what_is_the_matter(start: StartRuntime):
    told = await asked(await start(*(verdict(name, admin=Admin.MAINT) for name in IDS)))
    assert told.refused is not None
    assert told.choice is not None
    assert (told.refused.failure, told.choice.decided_by, told.choice.tier) == ("no_backend", "nobody", "none")
    assert [each.cause for each in told.backends] == ["maint, as an operator asked"] * 3


async def test_the_view_and_the_worker_are_told(start: StartRuntime):
    told = await asked(await start())
    assert told.view is not None
    assert (told.view.epoch, told.view.freshness) == (7, "fresh")
    assert told.view.age_ms is not None
    assert told.view.age_ms >= 500
    assert told.worker.slot == 0
    assert asdict(told)["worker"]["store_up"] is False


@pytest.mark.parametrize(
    "question",
    [
        {"url": "/a b"},
        {"url": "ftp://h/x"},
        {"method": "GE T"},
        {"headers": ("a: b\r\n\r\nGET / HTTP/1.1",)},
        {"headers": ("no colon",)},
        {"headers": ("Host: a", "Host: b")},
        {"headers": ("a: b\r\nc: d",)},
    ],
)
async def test_what_is_no_request_is_refused(start: StartRuntime, question: dict[str, Any]):
    runtime = await start()
    with pytest.raises(Refused):
        await explain(runtime, Question(**{"method": "GET", "url": "/", **question}))
