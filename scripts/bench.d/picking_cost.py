"""What picking a backend and keeping the board cost one request, by policy, without any traffic.

The real pool of a real config picks from eight backends, on a board whose slots are as many as a master of four workers
makes; so many are handed out, and each has something under way. Time moves on as in a busy worker, so that what is
read now and then is paid for as there. Beside it, in turns, the same number of ``json.dumps`` of a small object, since
machines differ in both alike.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from statistics import median

from bars import PICK_AIM_US, PICK_US, verdict
from lab import LabError, say
from sidecar.contract.config import Config
from tables import markdown
from worker.affinity import Wish
from worker.board import board_for
from worker.pool import Pool
from worker.runtime import Runtime

POLICIES = ("p2c_ewma", "least_request", "round_robin", "random", "rendezvous", "first", "fastest")
YARDSTICK = "json.dumps"
BACKENDS = 8
WORKERS = 4
REQUESTS = 20_000
"""In a round, of each policy: some 50 ms."""
BETWEEN_S = 50e-6
"""From one request of a worker to the next: about as many as one can serve."""
LATENCY_S = 0.02
SMALL_OBJECT = {"method": "GET", "path": "/", "status": 200, "took_s": 0.02}
KEYS = [Wish(key=0x9E3779B97F4A7C15 * number % (1 << 64), row=-1) for number in range(1, 65)]

Serve = Callable[[], None]
"""Does the work of ``REQUESTS`` requests."""


def measure(rounds: int) -> str:
    """All policies in turns, as a table with the bar."""
    return table(asyncio.run(_in_rounds(rounds)))


async def _in_rounds(rounds: int) -> dict[str, list[float]]:
    """CPU µs per request, of each policy and of the yardstick in each round; the first ones do not count."""
    runtimes = {policy: runtime_of(policy) for policy in POLICIES}
    serving: dict[str, Serve] = {policy: _serving(policy, runtime) for policy, runtime in runtimes.items()}
    serving[YARDSTICK] = _dump
    found: dict[str, list[float]] = {name: [] for name in serving}
    say(f"{rounds} rounds of {REQUESTS:,} requests for each policy")
    for _ in range(rounds + 1):
        for name, serve in serving.items():
            began = time.process_time()
            serve()
            found[name].append(1e6 * (time.process_time() - began) / REQUESTS)
    for runtime in runtimes.values():
        await runtime.aclose()
    return {name: figures[1:] for name, figures in found.items()}


def runtime_of(policy: str) -> Runtime:
    """A worker among its siblings, each of which has a request under way to every second backend."""
    urls = [f"http://127.0.0.1:{9_000 + number}" for number in range(BACKENDS)]
    pool = {"backends": urls, "balancing": {"policy": policy}}
    config = Config.model_validate({"listen": {"workers": WORKERS}, "pools": {"bench": pool}})
    board = board_for(config)
    runtimes = [Runtime(config, board, board.claim(), "bench", {}) for _ in range(WORKERS)]
    for runtime in runtimes:
        seats = runtime.pools["bench"].seats
        for row in list(seats.rows.values())[::2]:
            seats.writer.begin(row)
    return runtimes[-1]


def _serving(policy: str, runtime: Runtime) -> Serve:
    wishes = KEYS if policy == "rendezvous" else [None]
    return lambda: serve(runtime.pools["bench"], runtime.clock(), wishes, REQUESTS)


def serve(pool: Pool, now: float, wishes: Sequence[Wish | None], requests: int) -> None:
    """What every request does to pool and board, from its pick to its end.

    Raises:
        LabError: nobody could be picked.
    """
    take, answer, leave = pool.take, pool.writer.answer, pool.leave
    for wish in islice(cycle(wishes), requests):
        candidate = take((), now, True, wish)  # noqa: FBT003 - as it is called for a GET
        if candidate is None:
            raise LabError("nobody is eligible")
        row = candidate.row
        answer(row, 200, LATENCY_S, now)
        leave(row)
        now += BETWEEN_S


def _dump() -> None:
    for _ in range(REQUESTS):
        json.dumps(SMALL_OBJECT)


def table(found: Mapping[str, Sequence[float]]) -> str:
    """The median of the rounds, the ratios of each round with the yardstick, and whether the bar holds."""
    yardstick = found[YARDSTICK]
    rows = [
        [name, f"{median(figures):.2f}", f"{median(map(_ratio, figures, yardstick)):.2f}"]
        for name, figures in found.items()
    ]
    default = median(found["p2c_ewma"])
    bar = f"{default:.2f} µs (bar {PICK_US:g}, aim {PICK_AIM_US:g}): {verdict(default, PICK_US)}"
    return f"{markdown(['policy', 'CPU µs/request', f'x {YARDSTICK}'], rows)}\n\n- p2c_ewma, pick and board: {bar}"


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs
