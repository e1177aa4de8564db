"""Who would get a request, as a pool goes about it: the backend it is bound to, else a canary's, else the policy's."""

from collections.abc import Collection
from dataclasses import dataclass

from worker.affinity import Wish
from worker.pick import WAYS, Odds, odds
from worker.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What is known before the policy is asked.

    ``by`` is who decides: "affinity", "canary" or "policy", "nobody" without candidates. ``row`` is what the first two
    have decided, -1 for nothing. ``tried`` and ``full`` are as ``odds`` takes them, ``key`` as the policy does.
    """

    by: str
    row: int = -1
    tried: tuple[int, ...] = ()
    full: Collection[int] = ()
    key: int = 0


def prospect_of(pool: Pool, wish: Wish | None, now: float, *, safe: bool) -> Prospect:
    """How the next request would be decided; see ``Pool.take`` for what is asked."""
    pool.refresh(now)
    wished = None if wish is None else pool.wished(wish, (), now)
    if wished is not None and pool.may_begin(wished.row, now):
        return Prospect(by="affinity", row=wished.row)
    canary = pool.next_canary(now, safe=safe) if wished is None else None
    if canary is not None:
        return Prospect(by="canary", row=canary.row)
    candidates = pool.selection.candidates
    return Prospect(
        by="policy" if candidates else "nobody",
        tried=() if wished is None else (wished.row,),
        full=frozenset(each.row for each in candidates if not pool.may_begin(each.row, now)),
        key=0 if wish is None else wish.key,
    )


def odds_of(pool: Pool, prospect: Prospect, now: float, ways: int = WAYS) -> Odds:
    """How likely each backend is; changes nothing, and may be asked in another thread."""
    if prospect.row >= 0:
        return Odds(rows={prospect.row: 1.0})
    return odds(pool.policy, now, key=prospect.key, tried=prospect.tried, full=prospect.full, ways=ways)
