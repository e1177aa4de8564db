"""From what is known of a pool to what users read: milliseconds, or False. Pure.

Selection is the workers': who is healthy or degraded; where nobody is, those of whom nothing is known; and where the
news are too old to believe, those last seen failing, before nobody at all. What the operator took out, and what is
ejected, is out.
"""

from collections.abc import Mapping
from enum import IntEnum

from sidecar.contract.model import Admin, Health, Verdict
from worker.view import Freshness, Knowledge

Status = float | bool
"""Milliseconds of the latest probe that passed, 0.0 where nobody knows; False: nothing is to be sent there."""

_USABLE = frozenset({Health.HEALTHY, Health.DEGRADED})


class _Rank(IntEnum):
    """Whom to send something, best first."""

    KNOWN = 0
    UNKNOWN = 1
    LAST_RESORT = 2
    OUT = 3


def statuses(
    hosts: Mapping[str, str], knowledge: Knowledge, times_ms: Mapping[str, float], now: float
) -> dict[str, Status]:
    """Of each host.

    Args:
        hosts: to their ids.
        knowledge: of their pool.
        times_ms: what the latest probes took, by id; who is not there is taken for as slow as the slowest.
        now: monotonic.
    """
    verdicts = knowledge.view.backends if knowledge.view else {}
    is_blind = knowledge.freshness(now) in (Freshness.EXPIRED, Freshness.COLD)
    ranks = {host: _rank(verdicts.get(name), knowledge, now, is_blind=is_blind) for host, name in hosts.items()}
    best = min(ranks.values())
    slowest = max((times_ms[name] for name in hosts.values() if name in times_ms), default=0.0)
    return {
        host: times_ms.get(name, slowest) if best is ranks[host] is not _Rank.OUT else False
        for host, name in hosts.items()
    }


def _rank(verdict: Verdict | None, knowledge: Knowledge, now: float, *, is_blind: bool) -> _Rank:
    if verdict is None:
        return _Rank.UNKNOWN
    if verdict.admin is not Admin.READY or verdict.weight == 0 or knowledge.until(verdict.ejected_ms) > now:
        return _Rank.OUT
    if verdict.state in _USABLE:
        return _Rank.UNKNOWN if is_blind else _Rank.KNOWN
    if verdict.state is Health.UNKNOWN:
        return _Rank.UNKNOWN
    return _Rank.LAST_RESORT if is_blind else _Rank.OUT
