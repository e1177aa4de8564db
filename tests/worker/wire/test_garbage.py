"""A request's objects end with it: by their counts alone, without a collector that would have to look for them."""

import gc
from collections.abc import Callable, Iterator

import pytest

from backend import Backend, Handler, answers, answers_chunked, resets
from lanes import StartLane, in_one_lane
from raw_client import RawClient, fetch
from rude import never_answers
from waiting import eventually
from worker.exchange import Exchange
from worker.hedge import Hedge, Hedged


@pytest.fixture
def alive() -> Iterator[Callable[[], list[object]]]:
    """Whatever is left of exchanges, while nobody collects garbage."""
    gc.collect()
    gc.disable()
    yield lambda: [one for one in gc.get_objects() if type(one) in (Exchange, Hedged, Hedge)]
    gc.enable()


@in_one_lane
@pytest.mark.parametrize("is_hedged", [False, True])
@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (answers(), 200),
        (answers_chunked(b"a", b"b"), 200),
        (answers(503), 503),
        (resets(), 502),
        (never_answers(), 504),
    ],
    ids=["answered", "in parts", "unavailable", "reset", "out of time"],
)
async def test_nothing_of_a_request_outlives_it(
    start_lane: StartLane,
    backend: Backend,
    bad: Backend,
    alive: Callable[[], list[object]],
    monkeypatch: pytest.MonkeyPatch,
    handler: Handler,
    status: int,
    is_hedged: bool,
):
    """The last one whose deadline had been looked at stayed where the ticker kept it: with its client and its body."""
    monkeypatch.setattr("worker.allowance.Allowance.hedge_after_s", lambda _, now: 0.001)
    monkeypatch.setattr("worker.allowance.Allowance.may_hedge", lambda _, now: True)
    deadline_s = 0.1 if status == 504 else 20.0
    lane = await start_lane(
        backend.url,
        bad.url,
        routes=[{"pool": "api", "hedge": is_hedged}],
        timeouts={"connect_s": deadline_s, "response_headers_s": deadline_s, "overall_s": deadline_s},
        outlier_detection={"max_ejected_ratio": 0.0},
    )
    backend.handler = bad.handler = handler
    for _ in range(3):
        assert (await fetch(lane.port)).status == status
    await eventually(lambda: not alive())


@in_one_lane
async def test_nothing_of_a_request_outlives_its_client(
    start_lane: StartLane, backend: Backend, alive: Callable[[], list[object]]
):
    backend.handler = never_answers()
    lane = await start_lane(backend.url)
    async with RawClient(lane.port) as client:
        await client.request()
        await eventually(lambda: backend.requests)
        client.abort()
    await eventually(lambda: not alive())
