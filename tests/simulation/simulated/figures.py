"""A few numbers out of the records of a policy, over all seeds together."""

from collections.abc import Sequence
from dataclasses import dataclass

from simulated.record import Ended, Record, error_ratio, quantile
from simulated.run import HOLLOW, Phases


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a policy came to. Ratios are from 0 to 1; ``steady`` is before anything goes wrong.

    ``busiest`` is how many times its fair share the busiest backend got in a steady second, which is another one in
    each: the mean over those seconds. ``to_hollow`` is the share of attempts that went to the hollow backend while it
    was one.
    """

    requests: int
    p50_s: float
    p99_s: float
    p999_s: float
    steady_p99_s: float
    slow_p99_s: float
    errors: float
    hollow_errors: float
    busiest: float
    to_hollow: float


def figures(records: Sequence[Record], phases: Phases) -> Figures:
    """Of at least one record of the same setup but for its seed."""
    measured = _between(records, phases.measured_s, phases.end_s)
    loads = [each for record in records for each in record.loads(phases.measured_s, phases.slow_s)]
    asked = _machines(records, phases.hollow_s, phases.filled_s)
    return Figures(
        requests=len(measured),
        p50_s=quantile(measured, 0.5),
        p99_s=quantile(measured, 0.99),
        p999_s=quantile(measured, 0.999),
        steady_p99_s=quantile(_between(records, phases.measured_s, phases.slow_s), 0.99),
        slow_p99_s=quantile(_between(records, phases.slow_s, phases.well_s), 0.99),
        errors=error_ratio(measured),
        hollow_errors=error_ratio(_between(records, phases.hollow_s, phases.filled_s)),
        busiest=sum(max(each) for each in loads) / len(loads),
        to_hollow=asked.count(HOLLOW) / max(len(asked), 1),
    )


def _between(records: Sequence[Record], since_s: float, until_s: float) -> list[Ended]:
    return [request for record in records for request in record.between(since_s, until_s)]


def _machines(records: Sequence[Record], since_s: float, until_s: float) -> list[int]:
    return [machine for record in records for at, machine in record.attempts if since_s <= at < until_s]
