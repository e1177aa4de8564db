"""One pool as a worker sees it: who is eligible, who is picked, and the connections to each.

Joins what is known (``view``), what traffic says (``passive``), what is decided (``pick``, ``retry``) and what is
connected (``upstream``), so that an exchange needs to know only its pool.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from sidecar.contract.config import Pool as PoolConfig
from sidecar.contract.events import Event
from worker.board import Board, Writer
from worker.outlier import Standing
from worker.passive import Passive
from worker.pick import Draw, Policy, PowerOfChoices, RoundRobin
from worker.retry import RetryRules
from worker.upstream import CoarseClock, Upstream
from worker.view import Candidate, Knowledge, Selection, Tier, candidates


class Pool:
    """A pool at work in one worker."""

    __slots__ = (
        "_begin", "_generation", "_latest", "_look_at", "_members", "_pick", "_policy", "_rows", "_slow_start_s",
        "knowledge", "leave", "name", "passive", "replay_bytes", "rules", "selection", "timeouts", "upstreams",
        "writer",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        config: PoolConfig,
        *,
        rows: Mapping[str, int],
        board: Board,
        writer: Writer,
        draw: Draw,
        loop: asyncio.AbstractEventLoop,
        coarse: CoarseClock,
        suspect: Callable[[str], None],
        tell: Callable[[str, Event, str], None],
    ) -> None:
        """Set the pool up on what its config says.

        Args:
            name, config: as in the file.
            rows: each member's row on the board, by id.
            board: what all workers of this host know.
            writer: this worker's pen on it.
            draw: chance.
            loop: where connections live.
            coarse: monotonic seconds, as of the last tick.
            suspect, tell: as ``Passive`` takes them.
        """
        self.name = name
        self.knowledge = Knowledge()
        self.timeouts = config.timeouts
        self.replay_bytes = config.retry.replay_buffer_bytes
        self.rules = _rules(config)
        self.writer = writer
        self._begin = writer.begin
        self.leave = writer.end
        self.upstreams = _upstreams(config, rows, loop, coarse)
        self._members = config.members
        self._rows = rows
        self._slow_start_s = config.balancing.slow_start_s
        self.passive = Passive(
            name, {row: backend_id for backend_id, row in rows.items()}, config.outlier_detection, config.timeouts,
            board=board, writer=writer, draw=draw, select=self._select, suspect=suspect, tell=tell,
        )  # fmt: skip
        self._policy = _policy(config, board, draw)
        self._pick = self._policy.pick
        self._latest = board.generation
        self.selection = Selection(tier=Tier.NONE)
        self.reselect(coarse.now)

    def take(self, tried: Collection[int], now: float, safe: bool) -> Candidate | None:  # noqa: FBT001 - a hot path
        """Begin an attempt at a candidate that was not tried, one that was where no other is left; None without any.

        Whoever gets one calls ``leave`` with its row, once, when the attempt is over.

        Args:
            tried: rows that this request has been to.
            now: monotonic.
            safe: whether it can be made again elsewhere without harm, and so may go first to one on probation.
        """
        candidate = None
        if self._latest[0] != self._generation or now >= self._look_at:
            candidate = self._look(tried, now, safe)
        if candidate is None:
            candidate = self._pick(tried, now)
            if candidate is None:
                return None
        self._begin(candidate.row)
        return candidate

    def _look(self, tried: Collection[int], now: float, safe: bool) -> Candidate | None:  # noqa: FBT001
        """Keep the selection up to date; a candidate if this request is to be its canary."""
        self.refresh(now)
        for candidate in () if tried else self.selection.probation:
            if self.passive.claim(candidate.row, now, safe=safe):
                return replace(candidate, is_canary=True)
        return None

    def refresh(self, now: float) -> None:
        """Make the selection anew if anything has changed, on the board or by time alone."""
        if self._latest[0] != self._generation or now >= self.selection.holds_until:
            self.reselect(now)

    def reselect(self, now: float) -> None:
        """Work out anew who is eligible: knowledge has changed, or time alone changed what it says."""
        self._generation = self._latest[0]  # before the board is read: what comes meanwhile is for the next time
        before = {candidate.row for candidate in self.selection.candidates}
        self.selection = self._select(now, self.passive.standings(now))
        self._look_at = 0.0 if self.selection.probation else self.selection.holds_until
        if before:
            # Else one that returns is shunned for as long as its failures take to fade: 10 to 20 s (measured).
            for candidate in self.selection.candidates:
                if candidate.row not in before:
                    self.writer.forget(candidate.row)
        self._policy.use(self.selection.candidates, now)

    def _select(self, now: float, standings: Mapping[int, Standing]) -> Selection:
        return candidates(self._members, self._rows, self.knowledge, now, standings, self._slow_start_s)

    def has_untried(self, tried: Collection[int], now: float) -> bool:
        """Whether an attempt elsewhere is possible."""
        self.refresh(now)
        return any(candidate.row not in tried for candidate in self.selection.candidates)

    def tick(self, now: float) -> None:
        """What time does to a pool, once a second: knowledge ages, connections have rested long enough."""
        self.refresh(now)
        for upstream in self.upstreams.values():
            upstream.tick(now)

    def close(self) -> None:
        """Close all connections."""
        for upstream in self.upstreams.values():
            upstream.close()


def _rules(config: PoolConfig) -> RetryRules:
    retry = config.retry
    return RetryRules(retry_on=retry.retry_on, num_retries=retry.num_retries, connect_retries=retry.connect_retries)


def _upstreams(
    config: PoolConfig, rows: Mapping[str, int], loop: asyncio.AbstractEventLoop, coarse: CoarseClock
) -> dict[int, Upstream]:
    """The way to each backend, by row."""
    settings = config.tls, config.connections, config.timeouts
    return {
        rows[backend.id]: Upstream(backend.address, *settings, loop=loop, coarse=coarse) for backend in config.members
    }


def _policy(config: PoolConfig, board: Board, draw: Draw) -> Policy:
    match config.balancing.policy:
        case "round_robin":
            return RoundRobin(draw)
        case "p2c_ewma":
            return PowerOfChoices(
                draw,
                in_flight=board.under_way,
                latency=board.latency,
                choices=config.balancing.choices,
                slow_start_s=config.balancing.slow_start_s,
            )
