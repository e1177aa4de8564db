"""Candidates, loads and chance for policies: all of them made up."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import inf
from random import Random

from sidecar.contract.model import Backend, parse_address
from worker.pick import Draw, Load, Policy
from worker.view import Candidate


def backend(name: str, weight: float = 1.0, *, zone: str | None = None, backup: bool = False) -> Backend:
    url = f"http://{name}.test:80"
    return Backend(id=name, url=url, address=parse_address(url), weight=weight, zone=zone, backup=backup)


def candidate(row: int, weight: float = 1.0, ramp_until: float = -inf) -> Candidate:
    return Candidate(backend=backend(f"b{row}", weight), row=row, weight=weight, ramp_until=ramp_until)


def candidates(*weights: float) -> list[Candidate]:
    return [candidate(row, weight) for row, weight in enumerate(weights)]


def always(drawn: int) -> Draw:
    """Chance that has made up its mind."""
    return lambda count: drawn % count


class Live:
    """A row of the board with one worker, whose count is asked for anew each time."""

    def __init__(self, count: Callable[[], int]) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        yield self.count()


class Gauges:
    """What a board and a monitor say, by row: in-flight counts, (sum of seconds, weight), seconds of a probe."""

    def __init__(
        self,
        *latencies: tuple[float, float],
        in_flight: Sequence[int] = (),
        probes: Sequence[float | None] = (),
    ) -> None:
        self.latencies = dict(enumerate(latencies))
        self.counts = Counter(dict(enumerate(in_flight)))
        self.probes = dict(enumerate(probes))
        self.readings = 0

    def in_flight(self, row: int) -> Live:
        return Live(lambda: self.counts[row])

    def latency(self, row: int, now: float) -> tuple[float, float]:
        self.readings += 1
        return self.latencies.get(row, (0.0, 0.0))

    def probe_s(self, row: int) -> float | None:
        self.readings += 1
        return self.probes.get(row)

    @property
    def load(self) -> Load:
        return Load(in_flight=self.in_flight, latency=self.latency, probe_s=self.probe_s)


def row_of(policy: Policy, tried: Sequence[int] = (), now: float = 0.0, key: int = 0) -> int:
    picked = policy.pick(tried, now, key)
    assert picked is not None
    return picked.row


def rows_of(policy: Policy, count: int, now: float = 0.0) -> list[int]:
    return [row_of(policy, now=now) for _ in range(count)]


def order_of(policy: Policy, count: int, key: int = 0) -> list[int]:
    """Where a request goes that fails everywhere."""
    tried: list[int] = []
    for _ in range(count):
        tried.append(row_of(policy, tried, key=key))
    return tried


def keep_busy(
    policy: Policy, gauges: Gauges, dice: Random, *, concurrency: int, picks: int, keys: Sequence[int] = (0,)
) -> Counter[int]:
    """Shares of a closed loop whose requests all take as long, whoever serves them."""
    running: list[int] = []
    shares: Counter[int] = Counter()
    for number in range(picks):
        if len(running) == concurrency:
            gauges.counts[running.pop(dice.randrange(concurrency))] -= 1
        row = row_of(policy, key=keys[number % len(keys)])
        running.append(row)
        gauges.counts[row] += 1
        shares[row] += 1
    return shares
