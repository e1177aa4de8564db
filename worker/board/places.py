"""Where the pools of one worker count, and that they do not have to know which memory that is."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sidecar.contract.config import Pool
from sidecar.contract.events import Event, line
from worker.board.board import Board
from worker.board.directory import keys_of
from worker.board.writer import Writer

_log = logging.getLogger(__name__)


def _nothing() -> None:
    """There is nobody to tell."""


class Seats:
    """One pool's places: a row of ``board`` for each backend, by its id, and the pen to write there."""

    __slots__ = ("_leave", "board", "rows", "writer")

    def __init__(
        self, board: Board, writer: Writer, rows: Mapping[str, int], leave: Callable[[], None] = _nothing
    ) -> None:
        """Take the seats; ``leave`` is told when they are given up."""
        self.board = board
        self.writer = writer
        self.rows = rows
        self._leave = leave

    @property
    def is_alone(self) -> bool:
        """Whether no sibling sees what is counted here: the memory has room for one worker."""
        return self.writer.cells.slots == 1

    def routes_on(self, epoch: int, at: float) -> None:
        """Tell the siblings which view this worker follows here; see ``Writer.routes_on``."""
        self.writer.routes_on(next(iter(self.rows.values())), epoch, at)

    def views(self) -> list[tuple[int, float]]:
        """What they have told, all of them."""
        return self.board.views(next(iter(self.rows.values())))

    def close(self) -> None:
        """No new attempts begin here; those under way end here all the same."""
        leave, self._leave = self._leave, _nothing
        leave()


class Places:
    """The places of one worker on the board of its master: its slot, and for each of its pools the rows.

    A pool that does not fit as a whole is balanced on what this worker alone knows of it, on a board of its own. Were
    only some of its backends there, a local count would stand beside host-wide ones: those backends would look idle,
    and all workers would send them more than their share.
    """

    __slots__ = ("_held", "_slot", "board", "writer")

    def __init__(self, board: Board, slot: int | None) -> None:
        """Take the slot over; None is a worker past the last one."""
        self.board = board
        self.writer = board.writer(slot)
        self._slot = slot
        self._held: Counter[int] = Counter()

    def seats(self, name: str, pool: Pool) -> Seats:
        """The places of a pool with this name and config, until they are closed."""
        keys = keys_of(name, pool)
        rows = self.board.directory.hold(keys, self._slot)
        if rows is None:
            if self.board.directory.is_news(keys):
                _log.warning(line(Event.BOARD_FULL, pool=name, backends=len(keys), max_backends=self.board.rows))
            return _alone(pool)
        for row in rows:
            self._hold(row, pool.balancing.decay_s)
        named = {backend.id: row for backend, row in zip(pool.members, rows, strict=True)}
        return Seats(self.board, self.writer, named, partial(self._leave, rows))

    def _hold(self, row: int, decay_s: float) -> None:
        self.board.pace(row, decay_s)
        self.writer.cells.pace(row, decay_s)
        if not self._held[row]:
            self.writer.take_over(row)  # whoever had it may have been another backend
        self._held[row] += 1

    def _leave(self, rows: Sequence[int]) -> None:
        """Let go of the rows that no other pool of this worker has."""
        for row in rows:
            self._held[row] -= 1
            if not self._held[row]:
                self.writer.routes_on(row, None, 0.0)
                self.board.directory.let_go(row, self._slot)


def _alone(pool: Pool) -> Seats:
    members = pool.members
    board = Board.create(len(members), 1, decay_s=pool.balancing.decay_s)
    return Seats(board, board.writer(board.claim()), {backend.id: row for row, backend in enumerate(members)})
