"""What a run of ``balance`` told, its tables and its bars. Pure.

A round is one run of each subject under the same plan. A bar compares within each round, with whoever of the others
was better in it, and the median of these ratios counts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from balance_backends import SICK, SLOWNESS, fair_share
from balance_plan import Plan
from bars import times, verdict
from figures import percentile
from tables import markdown

OURS = "sidebeat p2c_ewma"
"""Who is judged, with any settings; other policies are for comparison."""
OTHERS = ("nginx", "haproxy")
BUSY = 0.7
"""Of a core: above two thirds, a Poisson stream waits for it longer than it uses it (M/D/1)."""
LATE_MS = 10.0
"""Half of a request's mean work, and less than a tenth of any p99 seen here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request: when it was due in its run, how long its answer took from then, who gave it.

    ``took_s`` infinite, and then no ``backend``: no right answer came. ``late_s``: how long after it was due the load
    came to send it, whether or not a connection was free.
    """

    due_s: float
    took_s: float
    late_s: float
    backend: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Seconds on a CPU for each second of a run: of the load, of the backends, of the subject."""

    load: float
    backends: float
    proxy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run of one subject. Latencies count from when a request was due; ``sick``: of those due in the sick phase.

    ``shares``: of all answers, for each backend; ``sick_share``: the sick one's, in the sick phase.
    """

    p50_ms: float
    p99_ms: float
    p999_ms: float
    sick_p99_ms: float
    errors: int
    requests: int
    shares: tuple[float, ...]
    sick_share: float
    late_p99_ms: float
    used: Used


Figure = Callable[[Turn], float]
Rounds = Mapping[str, Sequence[Turn]]
"""The turns of each subject, round by round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """``figure`` may be at most ``limit`` times that of the better of the others."""

    name: str
    figure: Figure
    limit: float
    aim: float


BARS = (
    Bar(name="p99 over the whole run", figure=lambda turn: turn.p99_ms, limit=1.1, aim=0.9),
    Bar(name="p99 in the sick phase", figure=lambda turn: turn.sick_p99_ms, limit=0.95, aim=0.7),
)


def sum_up(plan: Plan, seen: Sequence[Seen], used: Used) -> Turn:
    """The figures of a run, of what was due in its counted span."""
    counted = [each for each in seen if each.due_s in plan.counted]
    sick = [each for each in counted if each.due_s in plan.sick]
    ordered = sorted(each.took_s for each in counted)
    return Turn(
        p50_ms=1e3 * percentile(ordered, 0.5),
        p99_ms=1e3 * percentile(ordered, 0.99),
        p999_ms=1e3 * percentile(ordered, 0.999),
        sick_p99_ms=1e3 * percentile(sorted(each.took_s for each in sick), 0.99),
        errors=sum(each.took_s == inf for each in counted),
        requests=len(counted),
        shares=_shares(counted),
        sick_share=_shares(sick)[SICK],
        late_p99_ms=1e3 * percentile(sorted(each.late_s for each in counted), 0.99),
        used=used,
    )


def _shares(seen: Sequence[Seen]) -> tuple[float, ...]:
    count = Counter(each.backend for each in seen)
    return tuple(count[number] / len(seen) for number in range(len(SLOWNESS)))


def to_better(rounds: Rounds, subject: str, figure: Figure) -> list[float]:
    """A subject's figure as a multiple of the best of the others in the same round, for each round."""
    others = [rounds[name] for name in OTHERS if name in rounds]
    return [
        figure(ours) / min(figure(theirs) for theirs in each)
        for ours, *each in zip(rounds[subject], *others, strict=True)
    ]


def judge(load: str, rounds: Rounds) -> Iterator[str]:
    """A line for each bar and each setting of our default policy; none without anybody to compare with."""
    if not any(name in rounds for name in OTHERS):
        return
    for subject in rounds:
        for bar in BARS if subject.startswith(OURS) else ():
            ratios = to_better(rounds, subject, bar.figure)
            found = median(ratios)
            said = verdict(found, bar.limit) if not _errors(rounds[subject]) else "void, there were errors"
            spread = f"{times(min(ratios))} to {times(max(ratios))} in {len(ratios)} rounds"
            limits = f"bar {times(bar.limit)}, aim {times(bar.aim)}"
            yield f"- {load}: {subject}, {bar.name}: {times(found)} ({limits}; {spread}): {said}"


def latencies(rounds: Rounds) -> str:
    """A row for each subject: medians over the rounds, and ratios to the better of the others."""
    header = ["subject", "p50 ms", "p99 ms", "p99.9 ms", "sick p99 ms", "p99 x better", "sick x better", "errors"]
    figures: tuple[Figure, ...] = (
        lambda turn: turn.p50_ms,
        lambda turn: turn.p99_ms,
        lambda turn: turn.p999_ms,
        lambda turn: turn.sick_p99_ms,
    )
    rows = []
    for name, turns in rounds.items():
        medians = [f"{_median(turns, figure):.1f}" for figure in figures]
        is_ours = name not in OTHERS and any(other in rounds for other in OTHERS)
        ratios = [times(median(to_better(rounds, name, bar.figure))) if is_ours else "-" for bar in BARS]
        rows.append([name, *medians, *ratios, str(_errors(turns))])
    return markdown(header, rows)


def shares(rounds: Rounds) -> str:
    """A row for each subject: what each backend got, as a multiple of what keeps it as busy as the others."""
    backends = range(len(SLOWNESS))
    header = ["x fair share", *(_backend_name(number) for number in backends), "sick phase: 3"]
    rows = []
    for name, turns in rounds.items():
        found = [median(turn.shares[number] for turn in turns) / fair_share(number) for number in backends]
        found.append(_median(turns, lambda turn: turn.sick_share) / fair_share(SICK))
        rows.append([name, *(f"{share:.2f}" for share in found)])
    return markdown(header, rows)


def headroom(rounds: Rounds) -> str:
    """Whether the machine was fast enough for the figures to be about balancing: the most of any run."""
    turns = [turn for each in rounds.values() for turn in each]
    load = max(turn.used.load for turn in turns)
    backends = max(turn.used.backends for turn in turns)
    proxy = max(turn.used.proxy for turn in turns)
    late_ms = max(turn.late_p99_ms for turn in turns)
    used = f"load {100 * load:.0f} %, backends {100 * backends:.0f} %, subject {100 * proxy:.0f} %"
    was_busy = max(load + backends, proxy) > BUSY or late_ms > LATE_MS
    said = " **Too busy: these figures are not about balancing alone.**" if was_busy else ""
    return f"Of a core at most: {used}. 99 % of each run's requests were sent within {late_ms:.1f} ms.{said}"


def _backend_name(number: int) -> str:
    if number == SICK:
        return f"{number + 1} (sick)"
    return f"{number + 1} (slow)" if SLOWNESS[number] > 1 else str(number + 1)


def _median(turns: Sequence[Turn], figure: Figure) -> float:
    return median(figure(turn) for turn in turns)


def _errors(turns: Sequence[Turn]) -> int:
    return sum(turn.errors for turn in turns)
