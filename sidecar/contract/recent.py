"""What counters that only grow have grown by of late, from looking at them about once a second.

Pure: counts and ``now`` are handed in.
"""

from collections import deque
from collections.abc import Sequence

WINDOW_S = 10.0
"""What "of late" means: as long as a retry budget of Finagle's and linkerd's remembers."""
SAMPLE_S = 1.0
"""How far apart samples are at least."""


class Recent:
    """Samples of the same counters; the newest stays, however old."""

    __slots__ = ("_samples",)

    def __init__(self, now: float, counts: Sequence[int]) -> None:
        """Begin; nothing that was counted before is of late."""
        self._samples: deque[tuple[float, Sequence[int]]] = deque([(now, counts)])

    def is_due(self, now: float) -> bool:
        """Whether the newest sample is old enough for another one."""
        return now - self._samples[-1][0] >= SAMPLE_S

    def note(self, now: float, counts: Sequence[int]) -> None:
        """Take a sample. ``now`` is monotonic; ``counts`` are as many as ever."""
        self._samples.append((now, counts))
        self._forget(now)

    def growth(self, now: float, counts: Sequence[int]) -> tuple[int, ...]:
        """How much each counter has grown by since ten seconds ago, or since the oldest sample where that is younger.

        A counter that fell, as one does whose place was given to another backend, has grown by nothing.
        """
        self._forget(now)
        return tuple(max(count - before, 0) for count, before in zip(counts, self._samples[0][1], strict=True))

    def _forget(self, now: float) -> None:
        samples = self._samples
        while len(samples) > 1 and samples[0][0] < now - WINDOW_S:
            samples.popleft()
