"""The host area: what is decided of each backend for all workers, and outlives the one that decided.

Whoever changes a row holds its pool's lock, or the row's canary: nobody else touches the row while that is out.
"""

from worker.board import layout
from worker.board.layout import Layout
from worker.board.memory import Memory
from worker.outlier import Standing

NO_SLOT = 0xFFFF
"""In a canary's owner: a worker past the last slot, of which nobody can see that it died. Its deadline has to do."""


class HostArea:
    """Every backend's ejection and canary on this host. Times are monotonic."""

    __slots__ = ("_layout", "_reals", "_words")

    def __init__(self, memory: Memory, where: Layout) -> None:
        self._words = memory.words
        self._reals = memory.reals
        self._layout = where

    def knows(self, row: int) -> bool:
        """Whether anything was ever decided of a backend."""
        cell = self._layout.host_row(row)
        return bool(self._reals[cell + layout.EJECTED_UNTIL] or self._reals[cell + layout.READMITTED_AT])

    def standing(self, row: int) -> Standing:
        """How a backend stands. The canary of a worker that is gone is none."""
        words, reals = self._words, self._reals
        cell = self._layout.host_row(row)
        owner = words[cell + layout.CANARY]  # first: once it is cleared, what its outcome was has been written
        return Standing(
            ejected_at=reals[cell + layout.EJECTED_AT],
            ejected_until=reals[cell + layout.EJECTED_UNTIL],
            ejections=words[cell + layout.EJECTIONS],
            readmitted_at=reals[cell + layout.READMITTED_AT],
            canary_until=reals[cell + layout.CANARY_DEADLINE] if owner and self._lives(owner) else 0.0,
        )

    def eject(self, row: int, now: float, until: float, ejections: int) -> None:
        """Put a backend out, or leave it out for longer; ``ejections`` in a row, this one included. Ends its canary."""
        words, reals = self._words, self._reals
        cell = self._layout.host_row(row)
        if not reals[cell + layout.EJECTED_UNTIL]:
            reals[cell + layout.EJECTED_AT] = now
        words[cell + layout.EJECTIONS] = ejections
        reals[cell + layout.EJECTED_UNTIL] = until
        words[cell + layout.CANARY] = 0

    def readmit(self, row: int, now: float) -> None:
        """Let a backend back in; how often it was put out stays known. Ends its canary."""
        cell = self._layout.host_row(row)
        self._reals[cell + layout.READMITTED_AT] = now
        self._reals[cell + layout.EJECTED_UNTIL] = 0.0
        self._words[cell + layout.CANARY] = 0

    def claim(self, row: int, owner: int, deadline: float) -> None:
        """Note whose the backend's canary is; ``owner`` is ``Writer.identity``."""
        cell = self._layout.host_row(row)
        self._reals[cell + layout.CANARY_DEADLINE] = deadline
        self._words[cell + layout.CANARY] = owner

    def owns(self, row: int, owner: int) -> bool:
        """Whether the backend's canary is still theirs: past its deadline others may have taken it."""
        return self._words[self._layout.host_row(row) + layout.CANARY] == owner

    def unclaim(self, row: int) -> None:
        """The canary came to nothing: the next may go."""
        self._words[self._layout.host_row(row) + layout.CANARY] = 0

    def _lives(self, owner: int) -> bool:
        slot = owner & NO_SLOT
        return slot == NO_SLOT or self._words[self._layout.owner(slot) + layout.PID] == owner >> 16
