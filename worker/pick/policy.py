"""What a pool asks for a backend, and what a policy may ask in turn: load and chance."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from worker.view import Candidate

REFRESH_S = 0.02
"""How long a reading is good for: reading every slot's sums at each pick costs 5 to 21 µs (measured)."""

Draw = Callable[[int], int]
"""``draw(n)`` is a whole number from 0 to n - 1, each as likely."""


class Policy(Protocol):
    """What a pool asks for a backend.

    Asked again with what it gave among ``tried``, it gives the next one: its order is that of the retries.
    """

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """Take over a new selection; called when eligibility changed, not for each request."""

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:
        """One candidate whose row is not in ``tried``; one that is, where no other is left; None without any.

        ``key`` is what the request is told apart by, 64 bits; 0: by nothing.
        """

    def twin(self, draw: Draw | None = None) -> Self:
        """Another one in the same state, to be asked what would be: this one takes no notice.

        ``draw`` are its dice; None: the same ones.
        """

    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:
        """What it goes by just now, for people: to each candidate's row, numbers by their names.

        ``weight`` counts with slow start, ``latency_s`` and ``probe_s`` are seconds, the lowest ``cost`` wins, and so
        does the highest ``credit``. What a policy does not look at is not there.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Where policies read how busy and how fast a backend is, by its row.

    ``in_flight``: requests under way on this host, one number for each worker; asked for now and then, while the
    numbers themselves are read at each pick. ``latency``: row and now to (sum of seconds to headers, weight), decayed
    to now. ``probe_s``: what the latest probe took; None: not known.
    """

    in_flight: Callable[[int], Iterable[int]]
    latency: Callable[[int, float], tuple[float, float]]
    probe_s: Callable[[int], float | None]


def untried(candidates: Sequence[Candidate], tried: Collection[int]) -> Sequence[int]:
    """The places of those whose rows were not tried, or of all when every one was."""
    everyone = range(len(candidates))
    if not tried:
        return everyone
    return [index for index in everyone if candidates[index].row not in tried] or everyone
