"""One request on its way through a worker: the attempts at it, what their answers mean, and a client's patience."""

from collections.abc import Mapping
from typing import Protocol

from simulated.agenda import Agenda
from simulated.machine import Answer, Job, Machine
from simulated.rivals import Rival
from worker.affinity import Wish
from worker.failure import Failure, Stage
from worker.outlier import is_bad, is_hard
from worker.pool import Pool
from worker.retry import GATEWAY_ERRORS


class Recorder(Protocol):
    """Whoever writes down what happens."""

    def asked(self, now: float, machine: int) -> None:
        """An attempt begins at the machine with this number."""

    def answered(self, arrived: float, now: float, status: int) -> None:
        """A request is over; status 0 is a client that lost patience."""


class Side(Protocol):
    """What a request needs of its worker."""

    agenda: Agenda

    @property
    def pool(self) -> Pool:
        """The project's."""

    @property
    def machines(self) -> Mapping[int, Machine]:
        """By their rows on the board."""

    @property
    def recorder(self) -> Recorder:
        """Told of everything."""

    @property
    def rival(self) -> Rival | None:
        """Who picks for the pool, if it is not a policy of the project's own."""


class Request:
    """A GET on its way to a response: what ``worker.attempts`` and ``worker.exchange`` do about it, without its bytes.

    A backend's whole response comes at once, so that the time to its head is the time to its end, and each attempt is
    as one over a new connection.
    """

    __slots__ = (
        "_agenda", "_arrived", "_began", "_connect_failures", "_is_canary", "_job", "_other_failures", "_pool", "_row",
        "_side", "_tried", "_wish", "_work_s",
    )  # fmt: skip

    def __init__(self, side: Side, work_s: float, client: int, patience_s: float) -> None:
        """Prepare.

        Args:
            side: the worker that the request has come to.
            work_s: what it takes on a backend of slowness 1.
            client: a number for whoever sent it, for policies that tell requests apart; never 0.
            patience_s: after which the client goes away.
        """
        self._side = side
        self._agenda = side.agenda
        self._pool = side.pool
        self._work_s = work_s
        self._wish = Wish(client, -1) if side.pool.affinity else None
        self._arrived = self._began = side.agenda.now
        self._row = -1
        self._tried: tuple[int, ...] = ()
        self._is_canary = False
        self._connect_failures = self._other_failures = 0
        self._job: Job | None = None
        self._agenda.at(self._arrived + patience_s, self._lose_patience)

    def start(self) -> None:
        """Ask a backend; also for each further attempt."""
        now = self._agenda.now
        candidate = self._pool.take(self._tried, now, True, self._wish)
        if candidate is None:
            self._side.recorder.answered(self._arrived, now, 503)
            return
        self._row, self._began, self._is_canary = candidate.row, now, candidate.is_canary
        machine = self._side.machines[candidate.row]
        self._side.recorder.asked(now, machine.number)
        self._job = Job(self._work_s, self._ended)
        machine.take(self._job)

    def _ended(self, job: Job, answer: Answer) -> None:
        if job is not self._job:
            return  # nobody waits for it any more
        now = self._agenda.now
        self._report(now)
        if isinstance(answer, Failure):
            self._failed(answer, now)
        elif not is_bad(answer):
            self._pool.writer.answer(self._row, answer, now - self._began, now)
            if self._is_canary:
                self._pool.passive.canary_succeeded(self._row, now, f"status {answer}")
            self._finish(answer)
        elif not self._is_retried_error(answer, now):
            self._finish(answer)

    def _failed(self, failure: Failure, now: float) -> None:
        self._blame(failure, now, is_hard=is_hard(failure, fresh=True))
        if not self._retries(failure, now):
            self._finish(502)

    def _is_retried_error(self, status: int, now: float) -> bool:
        writer, elapsed_s = self._pool.writer, now - self._began
        if status not in GATEWAY_ERRORS:
            writer.error(self._row, status, elapsed_s, now)
        self._blame(Failure.GATEWAY_ERROR, now)
        if status not in GATEWAY_ERRORS:
            return False
        if status in self._pool.rules.gateway_errors and self._retries(Failure.GATEWAY_ERROR, now):
            return True
        writer.status(self._row, status)
        writer.fail(self._row, elapsed_s, now)
        return False

    def _blame(self, failure: Failure, now: float, *, is_hard: bool = False) -> None:
        passive = self._pool.passive
        if self._is_canary:
            self._is_canary = False
            passive.canary_failed(self._row, now, failure.text)
        passive.blame(self._row, failure, now, failure.text, is_hard=is_hard)

    def _retries(self, failure: Failure, now: float) -> bool:
        if failure.stage is Stage.CONNECT:
            self._connect_failures += 1
        else:
            self._other_failures += 1
        pool, tried = self._pool, (*self._tried, self._row)
        allowed = (
            pool.has_untried(tried, now)
            and pool.rules.allows(
                failure,
                repeatable=True,
                connect_failures=self._connect_failures,
                other_failures=self._other_failures,
            )
            and pool.allowance.may_retry(now)
        )
        if failure is Failure.GATEWAY_ERROR and not allowed:
            return False
        pool.writer.fail(self._row, now - self._began, now)
        if not allowed:
            return False
        pool.leave(self._row)
        pool.writer.retry(self._row, failure)
        self._tried = tried
        self.start()
        return True

    def _lose_patience(self) -> None:
        if self._job is None:
            return
        now = self._agenda.now
        self._job.is_given_up = True
        self._report(now)
        if self._is_canary:
            self._pool.passive.canary_left(self._row)
        self._finish(0)

    def _report(self, now: float) -> None:
        if self._side.rival:
            self._side.rival.ended(self._row, now - self._began, now)

    def _finish(self, status: int) -> None:
        self._job = None
        self._pool.leave(self._row)
        self._side.recorder.answered(self._arrived, self._agenda.now, status)
