"""scripts/bench balance without its waits: the plan, the backends' queues, what is counted, ratios, bars, tables."""

import asyncio
import os
import time
import tomllib
from collections.abc import AsyncIterator
from itertools import pairwise
from math import inf
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

import balance_origin
from balance_backends import MEAN_S, NEVER, SICK, SICKNESS, SLOTS, SLOWNESS, Slots, Span, capacity, fair_share
from balance_figures import Seen, Turn, Used, headroom, judge, latencies, shares, sum_up, to_better
from balance_load import WRONG, Load, answered_by
from balance_plan import WARM_UP_S, Arrival, Plan, draw_plan
from subjects import Site, balancer
from waiting import eventually

SIX = Span(since=2.0, until=8.0)
TWO = Span(since=4.0, until=6.0)


def seen(due_s: float, took_s: float = 0.02, backend: int = 0) -> Seen:
    return Seen(due_s=due_s, took_s=took_s, late_s=0.0001, backend=WRONG if took_s == inf else backend)


def turn(
    p99_ms: float = 100.0,
    *,
    sick_p99_ms: float = 200.0,
    errors: int = 0,
    late_p99_ms: float = 0.5,
    load: float = 0.1,
    proxy: float = 0.2,
) -> Turn:
    return Turn(
        p50_ms=p99_ms / 5,
        p99_ms=p99_ms,
        p999_ms=2 * p99_ms,
        sick_p99_ms=sick_p99_ms,
        errors=errors,
        requests=1_000,
        shares=tuple(fair_share(number) for number in range(len(SLOWNESS))),
        sick_share=fair_share(SICK) / 10,
        late_p99_ms=late_p99_ms,
        used=Used(load=load, backends=0.05, proxy=proxy),
    )


def turns(*p99_ms: float) -> list[Turn]:
    return [turn(each) for each in p99_ms]


def cells(table: str, subject: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {subject} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_backends_can_serve_what_the_loads_are_shares_of():
    assert capacity() == pytest.approx(1_400)
    assert sum(fair_share(number) for number in range(len(SLOWNESS))) == pytest.approx(1)
    assert fair_share(0) == pytest.approx(2 * fair_share(7))


def test_a_plan_is_the_same_for_everybody_in_a_round_and_another_one_in_the_next():
    assert draw_plan(500, 1, seed=1) == draw_plan(500, 1, seed=1)
    assert draw_plan(500, 1, seed=1).arrivals != draw_plan(500, 1, seed=2).arrivals


def test_arrivals_are_poisson_and_their_work_has_the_mean_it_should():
    arrivals = draw_plan(1_000, 18, seed=0).arrivals
    gaps = [later.due_s - earlier.due_s for earlier, later in pairwise(arrivals)]
    assert len(arrivals) == pytest.approx(20_000, rel=0.03)
    assert fmean(gap * gap for gap in gaps) == pytest.approx(2 / 1_000**2, rel=0.1)  # twice the squared mean
    assert fmean(arrival.work_s for arrival in arrivals) == pytest.approx(MEAN_S, rel=0.03)


def test_the_warm_up_is_not_counted_and_the_sick_phase_is_the_middle_third_of_what_is():
    plan = draw_plan(10, 12, seed=0)
    assert plan.counted == Span(since=WARM_UP_S, until=WARM_UP_S + 12)
    assert plan.sick == Span(since=WARM_UP_S + 4, until=WARM_UP_S + 8)


def test_as_many_are_served_at_once_as_there_are_slots_and_the_next_one_waits():
    slots = Slots(1.0)
    assert [slots.admit(10.0, 1.0) for _ in range(SLOTS)] == [11.0] * SLOTS
    assert slots.admit(10.5, 1.0) == 12.0


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=50))
def test_nobody_is_served_before_those_who_came_first(works: list[float]):
    slots = Slots(1.0)
    begins = [slots.admit(0.0, work) - work for work in works]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(begins))


def test_a_slow_backend_takes_twice_as_long_and_a_sick_one_ten_times_for_what_begins_meanwhile():
    assert Slots(2.0).admit(0.0, 1.0) == 2.0
    slots = Slots(1.0)
    slots.start_afresh(Span(since=5.0, until=6.0))
    assert [slots.admit(at, 0.5) - at for at in (4.9, 5.0, 6.0)] == pytest.approx([0.5, 0.5 * SICKNESS, 0.5])


def test_a_new_run_finds_the_queues_empty_and_nobody_sick():
    slots = Slots(1.0)
    slots.start_afresh(Span(since=0.0, until=9.0))
    for _ in range(2 * SLOTS):
        slots.admit(1.0, 1.0)
    slots.start_afresh(NEVER)
    assert slots.admit(2.0, 1.0) == 3.0


async def test_a_backend_answers_work_with_its_number_and_probes_at_once():
    servers = await balance_origin.serve([0] * len(SLOWNESS))
    try:
        reader, writer = await asyncio.open_connection(*servers[3].sockets[0].getsockname())
        writer.write(b"GET /busy/1000 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = [await reader.readuntil(b"\r\n3\n") for _ in range(2)]
        assert [answered_by(answer) for answer in answers] == [3, 3]
        writer.close()
        await writer.wait_closed()
    finally:
        for server in servers:
            server.close()


@pytest.mark.parametrize(
    ("data", "backend"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n5\n", 5),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n5", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n5\n", WRONG),
    ],
)
def test_an_answer_is_told_from_an_error_and_from_a_part_of_one(data: bytes, backend: int | None):
    assert answered_by(data) == backend


def test_only_what_was_due_in_the_counted_span_counts_and_the_sick_phase_has_its_own_figure():
    plan = Plan(arrivals=(), counted=SIX, sick=TWO)
    found = sum_up(
        plan,
        [seen(1.0, 9.0), seen(3.0, 0.02, 1), seen(4.5, 0.3, SICK), seen(5.0, 0.03, 1), seen(7.0, 0.04, 1)],
        Used(load=0.1, backends=0.1, proxy=0.1),
    )
    assert (found.requests, found.errors) == (4, 0)
    assert (found.p50_ms, found.p99_ms, found.sick_p99_ms) == pytest.approx((40, 300, 300))
    assert (found.shares[1], found.shares[SICK], found.sick_share) == (0.75, 0.25, 0.5)


def test_a_request_without_a_right_answer_is_an_error_and_as_late_as_can_be():
    plan = Plan(arrivals=(), counted=SIX, sick=TWO)
    found = sum_up(plan, [seen(3.0), seen(4.0, inf)], Used(load=0.1, backends=0.1, proxy=0.1))
    assert (found.errors, found.p99_ms) == (1, inf)
    assert sum(found.shares) == 0.5


def test_each_round_is_compared_with_whoever_was_better_in_it():
    rounds = {"sidebeat p2c_ewma": turns(90, 90), "nginx": turns(100, 300), "haproxy": turns(200, 180)}
    assert to_better(rounds, "sidebeat p2c_ewma", lambda each: each.p99_ms) == pytest.approx([0.9, 0.5])


def test_the_median_of_the_paired_ratios_meets_a_bar_or_misses_it():
    rounds = {"sidebeat p2c_ewma": turns(90, 100, 900), "nginx": turns(100, 100, 100)}
    whole, sick = judge("57 %", rounds)
    assert whole.endswith("1.00x (bar 1.10x, aim 0.90x; 0.90x to 9.00x in 3 rounds): met")
    assert sick.endswith("1.00x (bar 0.95x, aim 0.70x; 1.00x to 1.00x in 3 rounds): **missed**")


def test_errors_make_a_verdict_void():
    lines = judge("79 %", {"sidebeat p2c_ewma": [turn(errors=1)], "sidebeat first": [turn()], "nginx": [turn()]})
    assert {line.rpartition(": ")[2] for line in lines} == {"void, there were errors"}


def test_alone_nobody_is_judged_and_no_ratio_is_shown():
    rounds = {"sidebeat p2c_ewma": turns(100)}
    assert not list(judge("57 %", rounds))
    assert cells(latencies(rounds), "sidebeat p2c_ewma")[-3:] == ["-", "-", "0"]


def test_a_share_is_shown_as_a_multiple_of_the_fair_one():
    rounds = {"nginx": turns(100)}
    assert cells(shares(rounds), "nginx") == ["nginx", *["1.00"] * len(SLOWNESS), "0.10"]


def test_the_most_that_any_run_used_of_a_core_is_told():
    told = headroom({"nginx": [turn(load=0.2), turn(load=0.31)]})
    assert told == (
        "Of a core at most: load 31 %, backends 5 %, subject 20 %. 99 % of each run's requests were sent within 0.5 ms."
    )


@pytest.mark.parametrize("busy", [turn(load=0.66), turn(proxy=0.71), turn(late_p99_ms=11.0)])
def test_a_machine_that_was_too_busy_is_said_to_have_been(busy: Turn):
    assert headroom({"nginx": [turn(), busy]}).endswith("**Too busy: these figures are not about balancing alone.**")


@pytest.fixture
async def all_is_closed() -> AsyncIterator[None]:
    """In the end: a loop that ends before it has seen a client go leaves that connection to the next test."""
    before = open_descriptors()
    yield
    await eventually(lambda: open_descriptors() <= before)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("all_is_closed")
async def test_every_request_of_a_plan_is_answered_and_told_by_whom():
    servers = await balance_origin.serve([0] * len(SLOWNESS))
    try:
        plan = Plan(arrivals=arrivals(0.0, 0.01, 0.01, 0.02), counted=SIX, sick=TWO)
        found = await asyncio.to_thread(send, servers[5].sockets[0].getsockname()[1], plan)
    finally:
        for server in servers:
            server.close()
    assert [(each.due_s, each.backend) for each in found] == [(0.0, 5), (0.01, 5), (0.01, 5), (0.02, 5)]
    assert all(0.005 <= each.took_s < inf and each.late_s < inf for each in found)


@pytest.mark.usefixtures("all_is_closed")
async def test_an_error_costs_its_request_and_the_next_one_gets_a_connection_all_the_same():
    async def refuse_work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(1_000)
        if head.startswith(b"GET /busy/1 "):
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\n0\n")
        elif head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n0\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse_work, "127.0.0.1", backlog=4096) as server:
        plan = Plan(arrivals=arrivals(0.0, 0.01, first_work_s=1e-6), counted=SIX, sick=TWO)
        found = await asyncio.to_thread(send, server.sockets[0].getsockname()[1], plan)
    assert [(each.took_s == inf, each.backend) for each in found] == [(True, WRONG), (False, 0)]


def arrivals(*due_s: float, first_work_s: float = 0.005) -> tuple[Arrival, ...]:
    works = [first_work_s] + [0.005] * (len(due_s) - 1)
    return tuple(Arrival(due_s=due, work_s=work) for due, work in zip(due_s, works, strict=True))


def send(port: int, plan: Plan) -> list[Seen]:
    load = Load(port)
    try:
        return load.run(plan, time.monotonic())
    finally:
        load.close()


def test_sidebeat_balances_with_the_policy_and_the_settings_it_is_named_after(site: Site):
    balancer("sidebeat p2c_ewma+choices=3+decay_s=1.5")(site)
    config = tomllib.loads((site.folder / "sidebeat.toml").read_text())
    assert config["listen"]["workers"] == 4
    assert config["pools"]["bench"]["balancing"] == {"policy": "p2c_ewma", "choices": 3, "decay_s": 1.5}


def test_nginx_counts_connections_over_its_workers_and_haproxy_over_its_threads(site: Site):
    balancer("nginx")(site)
    balancer("haproxy")(site)
    nginx = (site.folder / "nginx.conf").read_text()
    assert "worker_processes 4;" in nginx
    assert nginx.index("zone backends") < nginx.index("least_conn;") < nginx.index("keepalive 256;")
    haproxy = (site.folder / "haproxy.cfg").read_text()
    assert "nbthread 4\n" in haproxy
    assert "balance leastconn\n" in haproxy
    assert all(f"127.0.0.1:{port} check" in haproxy and f"127.0.0.1:{port};" in nginx for port in site.backends)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(folder=tmp_path, port=4_000, backends=tuple(range(4_001, 4_009)), workers=4)
