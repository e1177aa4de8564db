"""How long one backend's responses took of late, over the whole fleet: what its workers counted, added up.

Pure: counts and ``now`` are handed in.
"""

from collections.abc import Sequence
from operator import add, sub

from sidecar.contract.latency import BUCKETS, quantile
from sidecar.contract.recent import Recent

_NONE = (0,) * (len(BUCKETS) + 1)


def growth(counts: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """What a worker has counted since an earlier report; nothing where its buckets are not ours.

    Args:
        counts: what it has counted since it started; empty: nothing yet.
        before: the same by then. A count that fell has grown by nothing.
    """
    if len(counts) != len(_NONE):
        return _NONE
    if counts == before:
        return _NONE
    known = before if len(before) == len(_NONE) else _NONE
    grown = tuple(map(sub, counts, known))
    return grown if min(grown) >= 0 else tuple(map(max, grown, _NONE))


class Times:
    """A histogram of times to headers that only grows, and what of it is of the last ten seconds."""

    def __init__(self, now: float) -> None:
        self._total = _NONE
        self._recent = Recent(now, _NONE)

    def tick(self, now: float) -> None:
        """Called about once a second, before what is new is added; ``now`` is monotonic."""
        if self._recent.is_due(now):
            self._recent.note(now, self._total)

    def add(self, fresh: Sequence[int]) -> None:
        """So many more responses have come."""
        self._total = tuple(map(add, self._total, fresh))

    def quantile_ms(self, share: float, now: float) -> float | None:
        """The time within which so much of all lately came; None where none came."""
        found = quantile(share, BUCKETS, self._recent.growth(now, self._total), at_least=1)
        return None if found is None else 1000 * found
