"""Redis' clock as seen from ours. Pure.

Points in time go over the wire as unix milliseconds by the clock of Redis, so that those of two hosts can be compared;
inside, all times are monotonic. Every answer of our scripts carries Redis' time, and the latest gives the offset.
"""


class WireClock:
    """Turns monotonic seconds into Redis' unix milliseconds and back; exact to half the round trip of the answer."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def learn(self, redis_ms: int, *, sent: float, received: float) -> None:
        """Redis said this in answer to a command sent and answered at these monotonic times."""
        self._offset_s = redis_ms / 1000 - (sent + received) / 2

    def ms(self, at: float) -> int:
        """A monotonic point in time by Redis' clock; 0, which means that nobody knows, before it ever answered."""
        return 0 if self._offset_s is None else max(0, round((at + self._offset_s) * 1000))

    def at(self, ms: int, now: float) -> float:
        """A time of Redis' on our monotonic clock, in the past however long ago; ``now`` where nobody knows."""
        return now if self._offset_s is None or not ms else min(ms / 1000 - self._offset_s, now)
