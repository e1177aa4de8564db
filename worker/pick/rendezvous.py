"""``rendezvous``: requests with the same key meet at the same backend, whichever worker or machine they come through.

Each backend draws a lot for the key, by a hash of both; the lowest wins, and the next ones are where retries go
(highest random weight, Thaler and Ravishankar 1998). Lots are exponential variates over the weight, so that each wins
as often as it weighs, and one that comes, goes or weighs more or less moves only the keys that it wins or loses: those
of a newcomer come to it little by little while it starts slowly.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import inf, log
from typing import Final, Self

from typing_extensions import override

from worker.pick.least_request import LeastRequest
from worker.pick.policy import Draw, untried
from worker.pick.weighted import Weighted
from worker.view import Candidate

AT_LEISURE: Final = 6
"""Requests in flight: a browser has so many connections to a host."""
_SPAN: Final = 1 << 64
_MASK: Final = _SPAN - 1


class Rendezvous(Weighted):
    """The winner of the key's lots among those that are not too busy.

    Too busy is who has ``max_load_ratio`` times its share of the load in flight, or more, where the request at hand
    counts in the load, and shares are by weight: so nobody comes to have more than that, rounded up (bounded loads,
    Mirrokni, Thorup and Zadimoghaddam 2018). Nobody is with fewer than ``AT_LEISURE``, or one visitor of an idle pool
    would be all over it. The load is this host's: what is passed on may go elsewhere from another one.

    A request without a key (0) goes where ``LeastRequest`` would have it. Ties there are by draw; lots have none.
    """

    def __init__(
        self,
        draw: Draw,
        *,
        in_flight: Callable[[int], Iterable[int]],
        max_load_ratio: float = 1.25,
        slow_start_s: float = 10.0,
    ) -> None:
        """``max_load_ratio``: 1 or more; all else as ``LeastRequest`` takes it."""
        super().__init__(draw, slow_start_s=slow_start_s)
        self._in_flight = in_flight
        self._max_load_ratio = max_load_ratio
        self._keyless = LeastRequest(draw, in_flight=in_flight, slow_start_s=slow_start_s)
        self._factor_of: Mapping[str, int] = {}
        self._factors: Sequence[int] = ()
        self._under_way: Sequence[Iterable[int]] = ()

    @override
    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        super().use(candidates, now)
        self._keyless.use(candidates, now)
        names = [candidate.backend.id for candidate in candidates]
        self._factor_of = {name: self._factor_of.get(name) or _factor(name) for name in names}
        self._factors = [self._factor_of[name] for name in names]

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:
        """See ``Policy``."""
        if not key:
            return self._keyless.pick(tried, now)
        if not self.candidates:
            return None
        if now >= self.refresh_at:
            self.refresh(now)
        factors, weights = self._factors, self.weights
        mixed = _mixed(key)
        best, lowest = 0, inf
        for index in self._free(untried(self.candidates, tried)):
            lot = -log(((mixed * factors[index] & _MASK) + 1) / _SPAN) / weights[index]
            if lot < lowest:
                best, lowest = index, lot
        return self.candidates[best]

    @override
    def twin(self, draw: Draw | None = None) -> Self:
        twin = super().twin(draw)
        twin._keyless = self._keyless.twin(draw)
        return twin

    @override
    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:
        keyless = self._keyless.figures(now)
        return {row: {**keyless[row], **known} for row, known in super().figures(now).items()}

    def _free(self, left: Sequence[int]) -> Sequence[int]:
        """Those of them that are not too busy; all, where readings make no sense, since somebody never is."""
        weights, under_way = self.weights, self._under_way
        loads = [sum(under_way[index]) for index in left]
        bound = self._max_load_ratio * (sum(loads) + 1) / sum([weights[index] for index in left])
        bounds = [max(bound * weights[index], AT_LEISURE) for index in left]
        return [index for index, load, most in zip(left, loads, bounds, strict=True) if load < most] or left

    @override
    def refresh(self, now: float) -> None:
        super().refresh(now)
        self._under_way = [self._in_flight(candidate.row) for candidate in self.candidates]


def _factor(name: str) -> int:
    """A backend's own odd 64 bits: the same in every process, unlike ``hash``."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") | 1


def _mixed(key: int) -> int:
    """The key with each bit spread over all 64 (splitmix64's finalizer), whatever care was taken in making it.

    A multiplication then suffices to draw each backend's lot from it (multiply-shift, Dietzfelbinger et al. 1997).
    """
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    key = (key ^ key >> 27) * 0x94D049BB133111EB & _MASK
    return key ^ key >> 31
