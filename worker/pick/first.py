"""``first``: the first in the file, and the next ones only when it was tried."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Self

from worker.pick.policy import Draw, untried
from worker.view import Candidate


class First:
    """The first candidate in the order given; weights and slow start do not matter."""

    def __init__(self) -> None:
        self._candidates: Sequence[Candidate] = ()

    def use(self, candidates: Sequence[Candidate], now: float) -> None:  # noqa: ARG002
        """See ``Policy``."""
        self._candidates = candidates

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:  # noqa: ARG002
        """See ``Policy``."""
        candidates = self._candidates
        return candidates[untried(candidates, tried)[0]] if candidates else None

    def twin(self, draw: Draw | None = None) -> Self:  # noqa: ARG002
        """See ``Policy``."""
        return copy(self)

    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:  # noqa: ARG002
        """See ``Policy``: the order is all there is."""
        return {candidate.row: {} for candidate in self._candidates}
