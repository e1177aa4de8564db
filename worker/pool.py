"""One pool as a worker sees it: who is eligible, who is picked, and the connections to each.

Joins what is known (``view``), what is decided (``pick``, ``retry``) and what is connected (``upstream``), so that an
exchange needs to know only its pool.
"""

import asyncio
from collections.abc import Collection, Mapping

from sidecar.contract.config import Pool as PoolConfig
from worker.board import Board, Writer
from worker.pick import Draw, Policy, PowerOfChoices, RoundRobin
from worker.retry import RetryRules
from worker.upstream import CoarseClock, Upstream
from worker.view import Knowledge, Selection, Tier, candidates


class Pool:
    """A pool at work in one worker."""

    __slots__ = (
        "_members", "_policy", "_rows", "knowledge", "name", "pick", "replay_bytes", "rules", "selection", "timeouts",
        "upstreams", "writer",
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
    ) -> None:
        """Set the pool up on what its config says.

        Args:
            name: as in the file.
            config: the pool's section.
            rows: each member's row on the board, by id.
            board: what all workers of this host know.
            writer: this worker's pen on it.
            draw: chance.
            loop: where connections live.
            coarse: monotonic seconds, as of the last tick.
        """
        self.name = name
        self.knowledge = Knowledge()
        self.timeouts = config.timeouts
        self.replay_bytes = config.retry.replay_buffer_bytes
        self.rules = RetryRules(
            retry_on=config.retry.retry_on,
            num_retries=config.retry.num_retries,
            connect_retries=config.retry.connect_retries,
        )
        self.writer = writer
        self.upstreams = {
            rows[backend.id]: Upstream(
                backend.address, config.tls, config.connections, config.timeouts, loop=loop, coarse=coarse
            )
            for backend in config.members
        }
        self._members = config.members
        self._rows = rows
        self._policy = _policy(config, board, draw)
        self.pick = self._policy.pick
        self.selection = Selection(tier=Tier.NONE)
        self.reselect(coarse.now)

    def reselect(self, now: float) -> None:
        """Work out anew who is eligible: knowledge has changed, or time alone changed what it says."""
        before = {candidate.row for candidate in self.selection.candidates}
        self.selection = candidates(self._members, self._rows, self.knowledge, now)
        if before:
            # Else one that returns is shunned for as long as its failures take to fade: 10 to 20 s (measured).
            for candidate in self.selection.candidates:
                if candidate.row not in before:
                    self.writer.forget(candidate.row)
        self._policy.use(self.selection.candidates, now)

    def has_untried(self, tried: Collection[int]) -> bool:
        """Whether an attempt elsewhere is possible."""
        return any(candidate.row not in tried for candidate in self.selection.candidates)

    def tick(self, now: float) -> None:
        """What time does to a pool, once a second: knowledge ages, connections have rested long enough."""
        if now >= self.selection.holds_until:
            self.reselect(now)
        for upstream in self.upstreams.values():
            upstream.tick(now)

    def close(self) -> None:
        """Close all connections."""
        for upstream in self.upstreams.values():
            upstream.close()


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
