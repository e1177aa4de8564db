"""A worker's pool over one backend with limits, on a board that may be shared, without a backend or a connection.

board = Board.create(8, 4)
one = LimitedWorker(board, board.claim(), max_inflight=5)
one.begin()
"""

import asyncio
from typing import Any

from sidecar.contract.config import parse
from worker.board import Board, Places
from worker.board.limits import Limit, Rule
from worker.failure import Failure
from worker.limits import LimitedPool
from worker.upstream import CoarseClock

NAMESPACE = "test"


class LimitedWorker:
    """One worker of a master, which may begin requests and end them."""

    def __init__(
        self,
        board: Board,
        slot: int | None,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        sections: dict[str, Any] | None = None,
        **limits: int,
    ) -> None:
        backend = {"url": "http://10.0.0.1:80", "id": "b", **limits}
        pool = {"backends": [backend], "timeouts": {"queue_s": 20.0}, **(sections or {})}
        config = parse({"store": {"url": "unix:///nowhere"}, "pools": {"api": pool}}, {}).pools["api"]
        self.pool = LimitedPool(
            "api", config, seats=Places(board, slot).seats("api", config), draw=lambda _: 0,
            loop=loop or asyncio.get_running_loop(), coarse=CoarseClock(0.0), suspect=lambda _: None,
            tell=lambda *_: None, salt=f"{NAMESPACE}:api",
        )  # fmt: skip
        [self.limit] = self.pool.limits.values()
        self.row = self.limit.row

    def grant(self, places: int, *, until: float, stamp: int = 1) -> None:
        """So many places, as if the store had said so."""
        self.pool.area.grant(self.row, places, stamp=stamp, masters=1, rank=0, until=until)

    def begin(self, now: float = 0.0) -> bool:
        """Begin a request if that is possible; whether it was."""
        return self.pool.take((), now, safe=True) is not None

    def end(self) -> None:
        """End one."""
        self.pool.leave(self.row)

    @property
    def in_flight(self) -> int:
        """Over all workers of the master."""
        return self.pool.in_flight(self.row)


class Waits:
    """A request that takes a place when it can be had, and keeps it."""

    def __init__(self, worker: LimitedWorker, now: float = 0.0) -> None:
        self._worker = worker
        self._now = now
        self.has_begun = False
        self.refused: Failure | None = None

    def start(self) -> None:
        """Try, and wait where that is in vain."""
        self.has_begun = self._worker.begin(self._now)
        if not self.has_begun and (refusal := self._worker.pool.refusal(self)) is not None:
            self.refused = refusal

    def failed(self, failure: Failure) -> None:
        """It has waited for too long."""
        self.refused = failure


def limit_of(
    *, places: int | None = None, requests: int | None = None, window_s: float = 10.0, rule: Rule = "share"
) -> Limit:
    """A limit on row 0."""
    return Limit(row=0, backend="b", places=places, requests=requests, window_s=window_s, rule=rule)
