"""What happens when. The clock of a simulation: it moves from one event to the next, and nothing else moves it."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Agenda:
    """Calls in the order of their times; those of the same time in the order in which they were asked for."""

    __slots__ = ("_heap", "_tickets", "now")

    def __init__(self, now: float) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._tickets = count()

    def at(self, when: float, act: Callable[..., None], *args: object) -> None:
        """Call ``act`` then; what lies in the past comes next."""
        heappush(self._heap, (when, next(self._tickets), act, args))

    def run(self, until: float) -> None:
        """Let time pass."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, act, args = heappop(heap)
            act(*args)
        self.now = until
