"""What the workers of a fleet have ever counted, out of reports that each hold only what one worker counted so far.

Does no I/O. A sum over those who report now would fall with each of them that goes; what a worker counted stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import add

from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Report, Tally

FORGET_ROUNDS = 3_600
"""After so many rounds without a word, an hour, a worker's counts are put to those of the dead. Should it come back
after all, it is counted twice; kept for ever, each worker that ever lived would take room."""

_Who = tuple[str, str, int]
_NOTHING = Tally()
_NO_TIMES = (0,) * (len(BUCKETS) + 1)


@dataclass(slots=True)
class Total:
    """What was ever counted of one backend; ``latency_s`` goes with ``first_bytes``."""

    requests: int = 0
    responses: int = 0
    failures: int = 0
    retries: int = 0
    latency_s: float = 0.0
    first_bytes: tuple[int, ...] = _NO_TIMES

    def add(self, tally: "Tally | Total") -> None:
        """Put this to it."""
        self.requests += tally.requests
        self.responses += tally.responses
        self.failures += tally.failures
        self.retries += tally.retries
        # Else it was counted in other buckets than ours, or in none.
        if len(tally.first_bytes) == len(self.first_bytes):
            self.latency_s += tally.latency_s
            self.first_bytes = tuple(map(add, self.first_bytes, tally.first_bytes))


@dataclass(frozen=True, slots=True)
class _Latest:
    report: Report
    round: int


@dataclass(frozen=True, slots=True)
class _State:
    living: Mapping[_Who, _Latest]
    folded: Mapping[str, Total]


class Totals:
    """Grows with each round of reports. May be read from another thread: what is read is replaced, never changed."""

    def __init__(self) -> None:
        self._state = _State({}, {})
        self._round = 0

    def hear(self, reports: Sequence[Report]) -> None:
        """Take a round of reports; a worker that is not among them keeps what it had."""
        self._round += 1
        living = dict(self._state.living)
        ended: list[tuple[str, Tally]] = []
        for report in reports:
            who = report.host, report.instance, report.slot
            if (before := living.get(who)) is not None:
                ended += _ended(before.report, report)
            living[who] = _Latest(report, self._round)
        for who in [who for who, each in living.items() if self._round - each.round > FORGET_ROUNDS]:
            ended += living.pop(who).report.tallies.items()
        self._state = _State(living, _with(self._state.folded, ended) if ended else self._state.folded)

    def read(self) -> dict[str, Total]:
        """By backend, all that was ever heard of."""
        state = self._state
        totals: dict[str, Total] = {}
        for name, total in state.folded.items():
            totals.setdefault(name, Total()).add(total)
        for latest in state.living.values():
            for name, tally in latest.report.tallies.items():
                totals.setdefault(name, Total()).add(tally)
        return totals


def _ended(before: Report, after: Report) -> list[tuple[str, Tally]]:
    """What the later report does not go on from: a worker began anew, or has begun a backend anew."""
    if before.incarnation != after.incarnation:
        return list(before.tallies.items())
    return [
        (name, tally)
        for name, tally in before.tallies.items()
        if tally.requests > after.tallies.get(name, _NOTHING).requests
    ]


def _with(folded: Mapping[str, Total], ended: Sequence[tuple[str, Tally]]) -> dict[str, Total]:
    """A copy of the former, with the latter in it."""
    sums = dict(folded)
    for name in {name for name, _ in ended}:
        sums[name] = Total()
        sums[name].add(folded.get(name, Total()))
    for name, tally in ended:
        sums[name].add(tally)
    return sums
