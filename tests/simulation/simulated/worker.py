"""One worker: the project's own pool, without connections, and the requests that go through it."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from sidecar.contract.config import Pool as PoolConfig
from sidecar.contract.model import View
from simulated.agenda import Agenda
from simulated.machine import Machine
from simulated.request import Recorder, Request
from simulated.rivals import Rival
from worker.board import Board, Places
from worker.pick import Draw
from worker.pool import Pool
from worker.upstream import CoarseClock
from worker.view import Beat

POOL = "api"
TICK_S = 1.0
LOOP: Any = object()
"""Nothing is connected, so that nothing runs on it."""

MakeRival = Callable[[Draw, Board, int], Rival]
"""Of a worker's chance, its host's board, and its slot there."""


class PoolOf(Pool):
    """A pool that a rival picks for."""

    def let_pick(self, rival: Rival, now: float) -> None:
        """From now on."""
        self._policy = rival
        self._pick = rival.pick
        rival.use(self.selection.candidates, now)


class Worker:
    """A worker of a host, which is its board."""

    def __init__(
        self,
        agenda: Agenda,
        config: PoolConfig,
        board: Board,
        machines: Sequence[Machine],
        recorder: Recorder,
        chance: Random,
        *,
        patience_s: float,
        rival: MakeRival | None,
    ) -> None:
        """Start.

        Args:
            agenda: the clock.
            config: the pool's.
            board: what it shares with the other workers of its host.
            machines: the pool's members, in order.
            recorder: told of everything.
            chance: what it draws from.
            patience_s: after which its clients go away.
            rival: a policy in the place of the configured one.
        """
        self.agenda = agenda
        self.recorder = recorder
        self.patience_s = patience_s
        slot = board.claim()
        assert slot is not None  # a board has a slot for each of its workers
        seats = Places(board, slot).seats(POOL, config)
        self.machines = dict(zip(seats.rows.values(), machines, strict=True))
        self.suspected: Callable[[str], None] = _nobody

        def draw(count: int) -> int:
            return int(chance.random() * count)

        self.pool = PoolOf(
            POOL,
            config,
            seats=seats,
            draw=draw,
            loop=LOOP,
            coarse=CoarseClock(agenda.now),
            suspect=self._suspect,
            tell=_nobody,
        )
        self.rival = rival(draw, board, slot) if rival else None
        if self.rival:
            self.pool.let_pick(self.rival, agenda.now)
        self._tick()

    def learn(self, view: View, published_at: float) -> None:
        """See ``watch.Follower``."""
        now = self.agenda.now
        if self.pool.knowledge.offer(view, now, now - published_at):
            self.pool.reselect(now)

    def hear(self, beat: Beat, sent_at: float) -> None:
        """See ``watch.Follower``."""
        now = self.agenda.now
        self.pool.knowledge.beat(beat, now, now - sent_at)

    def serve(self, work_s: float, client: int) -> None:
        """A client has sent a GET that takes so long on a backend of slowness 1."""
        Request(self, work_s, client, self.patience_s).start()

    def _tick(self) -> None:
        self.pool.tick(self.agenda.now)
        self.agenda.at(self.agenda.now + TICK_S, self._tick)

    def _suspect(self, name: str) -> None:
        self.suspected(name)


def _nobody(*_: object) -> None:
    """Whom nobody listens to."""
