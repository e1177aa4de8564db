"""Why a backend is not picked from, and why another one is less likely to be, in words. Pure."""

from sidecar.contract.model import Admin
from worker.outlier import Phase
from worker.view import Eligibility, Freshness, Tier

_TIERS = {
    Tier.HEALTHY: "healthy ones come first",
    Tier.DEGRADED: "none is healthy",
    Tier.UNKNOWN: "none is healthy or degraded",
    Tier.BACKUP_HEALTHY: "nothing but backups is left",
    Tier.BACKUP_DEGRADED: "nothing but backups is left, and none of them is healthy",
    Tier.BACKUP_UNKNOWN: "nothing but backups is left, and none of them is healthy or degraded",
    Tier.PANIC: "nobody is left that one would choose, so whatever no operator took out is tried",
    Tier.NONE: "operators took out every one",
}
_FRESHNESS = {
    Freshness.COLD: "no view has come yet, so that all are unknown",
    Freshness.EXPIRED: "the view is too old for its verdicts to stand, so that all are unknown",
}


def reason_of_tier(tier: Tier, freshness: Freshness) -> str:
    """Why candidates come from this tier."""
    return "; ".join(filter(None, (_TIERS[tier], _FRESHNESS.get(freshness))))


def exclusion(member: Eligibility, chosen: Tier, now: float) -> str:
    """Why a backend is not among the candidates, which come from the tier ``chosen``."""
    if member.tier is Tier.NONE:
        return _taken_out(member)
    standing = member.standing
    match member.phase:
        case Phase.OUT:
            left_s = standing.ejected_until - now
            return f"ejected on this host for {left_s:.1f} s more ({standing.ejections} in a row)"
        case Phase.PROBATION:
            return "ejected on this host; that time is over, and one request is to try it"
        case Phase.TRIAL:
            return "ejected on this host; that time is over, and one request tries it now"
        case Phase.IN:
            return _passed_over(member, chosen, now)


def _taken_out(member: Eligibility) -> str:
    if member.verdict.admin is not Admin.READY:
        return f"{member.verdict.admin}, as an operator asked"
    return "its weight is 0"


def _passed_over(member: Eligibility, chosen: Tier, now: float) -> str:
    if member.ejected_until > now:
        return f"ejected for the whole fleet for {member.ejected_until - now:.1f} s more"
    if member.tier is Tier.PANIC:
        return f"{member.verdict.state}: {member.verdict.reason}"
    if member.standing.skip_until > now:
        return f"nobody was there a moment ago; left alone for {member.standing.skip_until - now:.1f} s"
    return f"it is {member.tier}, and {chosen} goes first"


def drawback(member: Eligibility, now: float, ramp: float | None, *, is_full: bool, is_far: bool) -> str:
    """What stands against one that is a candidate; empty for nothing.

    Args:
        member: where it stands.
        now: monotonic.
        ramp: the share of its weight that it counts with; None: weights do not matter.
        is_full: it takes no attempt just now.
        is_far: it is not of this machine's zone, and those that are go first.
    """
    parts = []
    if is_full:
        parts.append("all that it may take at a time, or in this window, is in use")
    if is_far:
        parts.append("its zone is another one, and enough of ours is there")
    if ramp is not None and ramp < 1:
        left_s = member.candidate.ramp_until - now
        parts.append(f"slow start: it counts with {ramp:.0%} of its weight, in {left_s:.1f} s with all")
    return "; ".join(parts)
