"""The original's two ways to choose, by what this process alone knows: in turn, and the fastest below its limit."""

from collections import Counter
from collections.abc import Mapping, Sequence

from worker.library.checker import HealthChecker

Limits = Mapping[str, int | None]
"""Requests per health-check interval, by host; None: no limit."""


class InTurn:
    """The servers of a list, one after the other; it may change meanwhile."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = servers
        self._index = 0

    def peek(self, limits: Limits) -> str | None:  # noqa: ARG002 - nobody watches them, so there is no interval
        """Who is next; None where there is nobody."""
        return self._servers[self._index % len(self._servers)] if self._servers else None

    def get(self, limits: Limits) -> str | None:
        """The same, and the next one's turn afterwards."""
        server = self.peek(limits)
        if server is not None:
            self._index = (self._index + 1) % len(self._servers)
        return server

    def set_index(self, index: int) -> None:
        """Whose turn it is.

        Raises:
            IndexError: there is no such server.
        """
        if index < 0 or (self._servers and index >= len(self._servers)):
            raise IndexError("Index out of range")
        self._index = index


class Fastest:
    """Whoever answered its latest probe fastest, of those below their limits; ``last_update`` begins anew."""

    def __init__(self, checker: HealthChecker) -> None:
        self._checker = checker
        self._counted: Counter[str] = Counter()
        self._since = 0.0

    def peek(self, limits: Limits) -> str | None:
        """Who is next; None where all are down or have had what they may."""
        if self._checker.last_update > self._since:
            self._counted.clear()
            self._since = self._checker.last_update
        times = self._checker.get_response_times()
        free = [host for host in times if (limit := limits.get(host)) is None or self._counted[host] < limit]
        return min(free, key=times.__getitem__, default=None)

    def get(self, limits: Limits) -> str | None:
        """The same, and counted."""
        host = self.peek(limits)
        if host is not None:
            self._counted[host] += 1
        return host
