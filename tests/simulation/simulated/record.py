"""What happened in a run, and the figures made of it. Times are seconds after the traffic began."""

from collections.abc import Sequence
from typing import NamedTuple

BIN_S = 1.0


class Ended(NamedTuple):
    """One request: when it came, how long its client waited, and for which status; 0 is none within its patience."""

    arrived_s: float
    took_s: float
    status: int

    @property
    def is_error(self) -> bool:
        """Whether the client did not get what it asked for."""
        return self.status != 200


class Record:
    """All requests and all attempts of a run, in the order of their ends and of their beginnings."""

    def __init__(self, begins: float, capacities: Sequence[float]) -> None:
        """``begins``: when the traffic does, on the agenda. ``capacities``: of the backends, in requests per second."""
        self.begins = begins
        self.capacities = capacities
        self.requests: list[Ended] = []
        self.attempts: list[tuple[float, int]] = []

    def asked(self, now: float, machine: int) -> None:
        """See ``request.Recorder``."""
        self.attempts.append((now - self.begins, machine))

    def answered(self, arrived: float, now: float, status: int) -> None:
        """See ``request.Recorder``."""
        self.requests.append(Ended(arrived - self.begins, now - arrived, status))

    def between(self, since_s: float, until_s: float) -> list[Ended]:
        """The requests that came in that time."""
        return [request for request in self.requests if since_s <= request.arrived_s < until_s]

    def loads(self, since_s: float, until_s: float, bin_s: float = BIN_S) -> list[list[float]]:
        """For each bin of that time, attempts at each backend over its fair share: its share of the capacity."""
        counts = [[0] * len(self.capacities) for _ in range(round((until_s - since_s) / bin_s))]
        for at, machine in self.attempts:
            if since_s <= at < until_s:
                counts[min(int((at - since_s) / bin_s), len(counts) - 1)][machine] += 1
        return [self._relative(each) for each in counts]

    def _relative(self, counts: Sequence[int]) -> list[float]:
        fair = sum(counts) / sum(self.capacities) or 1.0
        return [count / (fair * capacity) for count, capacity in zip(counts, self.capacities, strict=True)]


def quantile(requests: Sequence[Ended], share: float) -> float:
    """How long so large a share of the clients waited at most, of those that were answered well or lost patience.

    An error that came at once is no short wait: it is left out, and counted as what it is.
    """
    waits = sorted(request.took_s for request in requests if request.status in (200, 0))
    return waits[min(int(share * len(waits)), len(waits) - 1)] if waits else 0.0


def error_ratio(requests: Sequence[Ended]) -> float:
    """The share of clients that did not get what they asked for."""
    return sum(request.is_error for request in requests) / len(requests) if requests else 0.0
