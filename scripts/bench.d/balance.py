"""Latency while backends differ: one of eight turns ten times slower for a while, and everybody balances over them.

Open-loop load at two shares of what the backends can serve, the same requests at the same moments for every subject
of a round. Each subject has four workers, as its users start them, on the core that it is measured on.
"""

import gc
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from balance_backends import NEVER, SICK, SLOWNESS, Span, capacity
from balance_figures import OTHERS, Turn, Used, headroom, judge, latencies, shares, sum_up
from balance_load import Load
from balance_plan import Plan, draw_plan
from lab import Lab, LabError, Program, free_ports, say, serves
from meter import Meter
from subjects import Proxy, balancer, launch

LOADS = (0.57, 0.79)
"""Shares of capacity. While one backend is slow, 0.79 is 0.9 of what is left."""
WORKERS = 4
HEADWAY_S = 0.2
"""From when a run is prepared to when it begins."""


class Origin:
    """The backends, all in one process on the load's core."""

    def __init__(self, lab: Lab) -> None:
        """Start them.

        Raises:
            LabError: they do not start.
        """
        self.ports = tuple(free_ports(len(SLOWNESS)))
        command = [sys.executable, str(Path(__file__).with_name("balance_origin.py")), *map(str, self.ports)]
        self.program: Program = lab.start("balance-origin", command, core=lab.load_core)
        for port in self.ports:
            self.program.wait_until(partial(serves, port))

    def start_afresh(self, plan: Plan, began: float) -> None:
        """Empty all queues, and have one backend slow in the plan's sick phase of the run that begins then.

        Raises:
            LabError: one of them does not hear.
        """
        spans = [NEVER] * len(self.ports)
        spans[SICK] = Span(since=began + plan.sick.since, until=began + plan.sick.until)
        for port, span in zip(self.ports, spans, strict=True):
            _tell(port, f"/afresh/{span.since}/{span.until}")


def _tell(port: int, path: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, HTTPException) as error:
        raise LabError(f"a backend does not hear {path}: {error!r}") from error
    finally:
        connection.close()


def measure(*, seconds: int, rounds: int, subjects: Sequence[str], policies: Sequence[str]) -> str:
    """The tables of each load.

    Args:
        seconds: counted, of each run.
        rounds: how often each subject has its turn under each load.
        subjects: any of sidebeat, nginx and haproxy; others do not take part.
        policies: of sidebeat; each is a subject. ``NAME+KEY=VALUE`` sets more of ``[pools.NAME.balancing]``.

    Raises:
        LabError: something does not start, or nobody is left to be measured.
    """
    names = [f"sidebeat {policy}" for policy in policies] if "sidebeat" in subjects else []
    names += [name for name in OTHERS if name in subjects]
    if not names:
        raise LabError(f"balance measures only sidebeat, {' and '.join(OTHERS)}")
    with Lab() as lab:
        origin = Origin(lab)
        say(f"starting {', '.join(names)}")
        proxies = [launch(lab, name, balancer(name), origin.ports, workers=WORKERS) for name in names]
        parts = [_under(load, origin, proxies, seconds=seconds, rounds=rounds) for load in LOADS]
    how = f"{rounds} rounds of {seconds} s each, in turns, a third of it with a sick backend; medians"
    return "\n\n".join([*parts, f"{WORKERS} workers each; {how}"])


def _under(load: float, origin: Origin, proxies: Sequence[Proxy], *, seconds: int, rounds: int) -> str:
    """All rounds under one load; who begins moves on by one in each."""
    turns: dict[str, list[Turn]] = {proxy.name: [] for proxy in proxies}
    rate = load * capacity()
    for number in range(rounds):
        say(f"{100 * load:.0f} % of capacity, round {number + 1} of {rounds}")
        plan = draw_plan(rate, seconds, seed=number)
        first = number % len(proxies)
        for proxy in (*proxies[first:], *proxies[:first]):
            turns[proxy.name].append(_turn(proxy, origin, plan))
    title = f"### {100 * load:.0f} % of capacity: {rate:,.0f} requests/s"
    bars = "\n".join(judge(f"{100 * load:.0f} %", turns))
    return "\n\n".join(part for part in (title, latencies(turns), shares(turns), bars, headroom(turns)) if part)


def _turn(proxy: Proxy, origin: Origin, plan: Plan) -> Turn:
    """One run of one subject.

    Raises:
        LabError: it takes no connections.
    """
    meters = Meter(origin.program.pid), Meter(proxy.program.pid)
    gc.collect()
    gc.disable()
    try:
        with closing(Load(proxy.port)) as load:
            began = time.monotonic() + HEADWAY_S
            origin.start_afresh(plan, began)
            cpu_s = time.process_time()
            seen = load.run(plan, began)
            cpu_s = time.process_time() - cpu_s
    except OSError as error:
        raise LabError(f"{proxy.name}: {error}") from error
    finally:
        gc.enable()
    for meter in meters:
        meter.sample()
    took_s = time.monotonic() - began
    backends, subject = (meter.cpu_s / took_s for meter in meters)
    return sum_up(plan, seen, Used(load=cpu_s / took_s, backends=backends, proxy=subject))
