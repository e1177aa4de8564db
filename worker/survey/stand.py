"""One line for each backend of a pool: what it is, how it stands, and what the policy makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from worker.limits import LimitedPool
from worker.pick import Odds, Zoned
from worker.pool import Pool
from worker.survey.prospect import Prospect
from worker.survey.words import drawback, exclusion
from worker.view import Eligibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A backend at this moment, as this host sees it.

    ``cause`` says why it is not ``eligible``, or what stands against one that is. ``state``, ``reason`` and ``admin``
    are the view's. ``weight`` is the configured one, or what an operator made of it, ``ramp`` the share of it that
    counts during slow start (None: the policy does not weigh). ``latency_ms`` is the mean time to headers that the
    policy goes by, or that was measured lately; None without any. ``probe_ms`` took the latest probe, as far as the
    policy cares. ``cost`` and ``credit`` are the policy's own. ``probability`` is that of getting the next request.
    ``places`` and ``requests_left`` are this host's part of its limits, None where it has none.
    """

    id: str
    url: str
    zone: str | None
    backup: bool
    eligible: bool
    cause: str
    state: str
    reason: str
    admin: str
    weight: float
    ramp: float | None
    inflight: int
    latency_ms: float | None
    probe_ms: float | None
    cost: float | None
    credit: float | None
    probability: float
    places: int | None
    requests_left: int | None


Figures = Mapping[int, Mapping[str, float]]


def stands_of(pool: Pool, prospect: Prospect, odds: Odds, now: float, most: int | None = None) -> tuple[Stand, ...]:
    """All of a pool, or the first so many, in the order of the config; changes nothing, as ``odds_of``."""
    figures = pool.policy.twin().figures(now)
    return tuple(_stand(pool, member, prospect, odds, figures, now) for member in pool.eligibility(now)[:most])


def _stand(pool: Pool, member: Eligibility, prospect: Prospect, odds: Odds, figures: Figures, now: float) -> Stand:
    candidate, verdict = member.candidate, member.verdict
    backend, row = candidate.backend, candidate.row
    is_eligible, known = row in figures, figures.get(row, {})
    ramp = known["weight"] / candidate.weight if is_eligible and "weight" in known else None
    places, requests_left = _limits(pool, row, now)
    return Stand(
        id=backend.id,
        url=backend.url,
        zone=backend.zone,
        backup=backend.backup,
        eligible=is_eligible,
        cause=_cause(pool, member, prospect, ramp, now, is_eligible=is_eligible),
        state=verdict.state,
        reason=verdict.reason,
        admin=verdict.admin,
        weight=candidate.weight,
        ramp=ramp,
        inflight=pool.writer.cells.in_flight(row),
        latency_ms=ms(known.get("latency_s", _measured_s(pool, row, now))),
        probe_ms=ms(known.get("probe_s")),
        cost=known.get("cost"),
        credit=known.get("credit"),
        probability=odds.rows.get(row, 0.0),
        places=places,
        requests_left=requests_left,
    )


def _cause(
    pool: Pool, member: Eligibility, prospect: Prospect, ramp: float | None, now: float, *, is_eligible: bool
) -> str:
    if not is_eligible:
        return exclusion(member, pool.selection.tier, now)
    row, policy = member.candidate.row, pool.policy
    is_far = isinstance(policy, Zoned) and policy.leaves_out(row)
    return drawback(member, now, ramp, is_full=row in prospect.full, is_far=is_far)


def _limits(pool: Pool, row: int, now: float) -> tuple[int | None, int | None]:
    limit = pool.limits.get(row) if isinstance(pool, LimitedPool) else None
    if limit is None or not isinstance(pool, LimitedPool):
        return None, None
    return _count(pool.area.places(limit, now)), _count(pool.area.requests_left(limit, now))


def _count(number: float) -> int | None:
    return None if number == inf else int(number)


def _measured_s(pool: Pool, row: int, now: float) -> float | None:
    """The mean time to headers that all workers of this host have seen lately; None where it has all but faded."""
    total, samples = pool.seats.board.latency(row, now)
    return total / samples if samples > 0 else None


def ms(seconds: float | None) -> float | None:
    """Seconds as records have them: milliseconds, to the microsecond; None stays None."""
    return None if seconds is None else round(seconds * 1_000, 3)
