"""Zones: what stands near goes first, while enough of it is eligible."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from math import fsum
from typing import Self

from sidecar.contract.model import Backend
from worker.pick.policy import Draw, Policy
from worker.view import Candidate


class Zoned:
    """Any policy, asked first for the candidates of this machine's own zone.

    Where less than ``min_ratio`` of the zone's weight is eligible, what is left of it would drown in the traffic of
    all: then zones do not matter. They do not for a retry either, once every near one was tried.
    """

    def __init__(
        self, near: Policy, everyone: Policy, *, zone: str, members: Sequence[Backend], min_ratio: float
    ) -> None:
        """Two policies of one kind.

        Args:
            near: for the own zone's candidates.
            everyone: for all.
            zone: this machine's.
            members: the pool as configured; what operators make of the weights moves no traffic between zones.
            min_ratio: from 0, any near candidate will do, to 1, none may be missing.
        """
        self._near = near
        self._everyone = everyone
        self._members = [member for member in members if member.zone == zone]
        self._zone = zone
        self._min_ratio = min_ratio
        self._near_rows: Sequence[int] = ()

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Policy``."""
        near = [candidate for candidate in candidates if candidate.backend.zone == self._zone]
        self._near_rows = [candidate.row for candidate in near] if self._is_enough(near, candidates) else ()
        self._near.use(near, now)
        self._everyone.use(candidates, now)

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:
        """See ``Policy``."""
        return self.asked(tried).pick(tried, now, key)

    def asked(self, tried: Collection[int]) -> Policy:
        """Which of the two is asked now."""
        is_near = any(row not in tried for row in self._near_rows) if tried else self._near_rows
        return self._near if is_near else self._everyone

    def leaves_out(self, row: int) -> bool:
        """Whether a candidate has to stand back for the near ones."""
        return bool(self._near_rows) and row not in self._near_rows

    def twin(self, draw: Draw | None = None) -> Self:
        """See ``Policy``."""
        twin = copy(self)
        twin._near, twin._everyone = self._near.twin(draw), self._everyone.twin(draw)
        return twin

    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:
        """See ``Policy``: the near ones have them from their own, while that goes first."""
        near = self._near.figures(now)
        return {**self._everyone.figures(now), **(near if self._near_rows else {})}

    def _is_enough(self, near: Sequence[Candidate], candidates: Sequence[Candidate]) -> bool:
        """Backups are measured against backups: while they wait, nobody misses them, nor the primaries beside them."""
        kinds = {candidate.backend.backup for candidate in candidates}
        eligible = fsum(candidate.backend.weight for candidate in near)
        return eligible >= self._min_ratio * fsum(each.weight for each in self._members if each.backup in kinds)
