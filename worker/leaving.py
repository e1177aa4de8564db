"""The operator takes a backend out: what would stay with it for days is asked to go elsewhere.

Requests under way end by themselves. Streams and tunnels are asked one after the other over a span of time, since
whoever is asked comes back at once, to the backends that are left.
"""

from collections.abc import Collection
from math import ceil

from worker.lane import Ongoing
from worker.pool import Pool

Place = tuple[Pool, str]
"""A backend of a pool, by its id."""


class Leaving:
    """Which backends are being left, and since when; made for one worker."""

    def __init__(self) -> None:
        self._since: dict[Place, float] = {}

    def tick(self, active: Collection[Ongoing], now: float, spread_s: float) -> None:
        """Called about once a second: ask as many as are due for all to have been asked within ``spread_s``."""
        staying: dict[Place, list[Ongoing]] = {}
        for one in active:
            if one.responded and one.backend is not None and one.pool.knowledge.is_taken_out(one.backend.id):
                staying.setdefault((one.pool, one.backend.id), []).append(one)
        self._since = {place: self._since.get(place, now) for place in staying}
        for place, those in staying.items():
            unasked = [one for one in those if not one.drains]
            left_s = self._since[place] + spread_s - now
            for one in unasked[: ceil(len(unasked) / max(left_s, 1.0))]:
                one.drain(now)
