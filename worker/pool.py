"""One pool as a worker sees it: who is eligible, who is picked, and the connections to each.

Joins what is known (``view``), what traffic says (``passive``), what is decided (``pick``, ``retry``) and what is
connected (``upstream``), so that an exchange needs to know only its pool.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Protocol

from sidecar.contract.config import Pool as PoolConfig
from sidecar.contract.events import Event
from worker.affinity import Affinity, Networks, Wish
from worker.allowance import Allowance
from worker.board import Board, Seats
from worker.failure import Failure
from worker.outlier import Standing
from worker.passive import Passive
from worker.pick import Draw, Load, policy_of
from worker.retry import RetryRules
from worker.upstream import CoarseClock, Upstream, UpstreamConnection, Waiting, way_of
from worker.view import Candidate, Eligibility, Knowledge, Selection, candidates, eligibility


class Waiter(Waiting, Protocol):
    """A request that may have to wait for a place at a backend."""

    def start(self) -> None:
        """Try to take one, and go on from there."""


class Pool:
    """A pool at work in one worker. ``try_s`` is what one attempt has for a head, once all of the request is sent."""

    __slots__ = (
        "_begin", "_eligible", "_generation", "_latest", "_look_at", "_members", "_pick", "_slow_start_s",
        "_strangers", "affinity", "allowance", "idle_s", "knowledge", "leave", "loop", "name", "passive", "policy",
        "replay_bytes", "rules", "seats", "selection", "timeouts", "try_s", "upstreams", "writer",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        config: PoolConfig,
        *,
        seats: Seats,
        draw: Draw,
        loop: asyncio.AbstractEventLoop,
        coarse: CoarseClock,
        suspect: Callable[[str], None],
        tell: Callable[[str, Event, str], None],
        salt: str = "",
        trusted: Networks = (),
        zone: str | None = None,
        knowledge: Knowledge | None = None,
        heir_to: "Pool | None" = None,
    ) -> None:
        """Set the pool up on what its config says.

        Args:
            name, config: as in the file.
            seats: where it counts; they are the pool's now, and go with it.
            draw: chance.
            loop: where connections live.
            coarse: monotonic seconds, as of the last tick.
            suspect, tell: as ``Passive`` takes them.
            salt, trusted: as ``Affinity`` takes them.
            zone: where this machine stands; None: in none.
            knowledge: what is known of the pool, where somebody else keeps it; None: nothing yet.
            heir_to: the same pool under its last config, whose knowledge it shares, and whose connections wherever
                the way to a backend is the same; None: it begins with nothing.
        """
        self.name, self.seats = name, seats
        rows, board, writer = seats.rows, seats.board, seats.writer
        self.affinity = Affinity.of(config, salt=salt, rows=rows, trusted=trusted)
        self.knowledge, self._strangers = _inheritance(config, heir_to, knowledge)
        self.timeouts = config.timeouts
        self.idle_s, self.try_s = _deadlines(config)
        self.replay_bytes, self.rules = config.retry.replay_buffer_bytes, _rules(config)
        self.writer = writer
        self._begin, self.leave = writer.begin, writer.end
        self.loop = loop
        self.upstreams = _upstreams(config, rows, loop, coarse, heir_to)
        self.allowance = _allowance(name, config, seats, coarse.now)
        self._members, self._slow_start_s = config.members, config.balancing.slow_start_s
        self.passive = Passive(
            name, {row: backend_id for backend_id, row in rows.items()}, config.outlier_detection, config.timeouts,
            board=board, writer=writer, draw=draw, select=self._select, suspect=suspect, tell=tell,
        )  # fmt: skip
        self.policy = policy_of(config.balancing, self._load(board), draw, zone=zone, members=config.members)
        self._pick = self.policy.pick
        self._latest = board.generation
        self._eligible: Mapping[int, Candidate] = {}
        self.reselect(coarse.now)
        self._prepare(config, draw, salt)

    def _prepare(self, config: PoolConfig, draw: Draw, salt: str) -> None:
        """What else a kind of pool needs."""

    def take(
        self, tried: Collection[int], now: float, safe: bool, wish: Wish | None = None  # noqa: FBT001 - a hot path
    ) -> Candidate | None:  # fmt: skip
        """Begin an attempt at a candidate that was not tried, one that was where no other is left; None without any.

        Whoever gets one calls ``leave`` with its row, once, when the attempt is over.

        Args:
            tried: rows that this request has been to.
            now: monotonic.
            safe: whether it can be made again elsewhere without harm, and so may go first to one on probation.
            wish: whom it would rather have, as ``affinity`` says.
        """
        candidate = None if wish is None else self.wished(wish, tried, now)
        if candidate is None and (self._latest[0] != self._generation or now >= self._look_at):
            candidate = self._look(tried, now, safe)
        if candidate is None:
            candidate = self._pick(tried, now) if wish is None else self._pick(tried, now, wish.key)
            if candidate is None:
                return None
        self._begin(candidate.row)
        return candidate

    def wished(self, wish: Wish, tried: Collection[int], now: float) -> Candidate | None:
        """The candidate that the request would rather have, unless it was tried; None where there is none such."""
        self.refresh(now)
        return None if wish.row in tried else self._eligible.get(wish.row)

    def _look(self, tried: Collection[int], now: float, safe: bool) -> Candidate | None:  # noqa: FBT001
        """Keep the selection up to date; a candidate if this request is to be its canary."""
        self.refresh(now)
        for candidate in () if tried else self.selection.probation:
            if self.may_begin(candidate.row, now) and self.passive.claim(candidate.row, now, safe=safe):
                return replace(candidate, is_canary=True)
        return None

    def next_canary(self, now: float, *, safe: bool) -> Candidate | None:
        """Whom the next request would be the canary of; nothing is claimed. None: of nobody."""
        self.refresh(now)
        for candidate in self.selection.probation:
            if self.may_begin(candidate.row, now) and self.passive.would_claim(candidate.row, now, safe=safe):
                return candidate
        return None

    def may_begin(self, row: int, now: float) -> bool:  # noqa: ARG002 - one with limits may not
        """Whether a backend takes an attempt just now."""
        return True

    def refresh(self, now: float) -> None:
        """Make the selection anew if anything has changed, on the board or by time alone."""
        if self._latest[0] != self._generation or now >= self.selection.holds_until:
            self.reselect(now)

    def reselect(self, now: float) -> None:
        """Work out anew who is eligible: knowledge has changed, or time alone changed what it says."""
        self._generation = self._latest[0]  # before the board is read: what comes meanwhile is for the next time
        before = self._eligible
        self.selection = self._select(now, self.passive.standings(now))
        self._look_at = 0.0 if self.selection.probation else self.selection.holds_until
        self._eligible = {candidate.row: candidate for candidate in self.selection.candidates}
        if before:
            # Else one that returns is shunned for as long as its failures take to fade: 10 to 20 s (measured).
            for candidate in self.selection.candidates:
                if candidate.row not in before:
                    self.writer.forget(candidate.row)
        self.policy.use(self.selection.candidates, now)

    def _load(self, board: Board) -> Load:
        ids, knowledge = {row: backend_id for backend_id, row in self.seats.rows.items()}, self.knowledge
        return Load(
            in_flight=board.under_way,
            latency=board.latency,
            probe_s=lambda row: knowledge.probe_s(ids[row]),
        )

    def _select(self, now: float, standings: Mapping[int, Standing]) -> Selection:
        rows, knowledge = self.seats.rows, self.knowledge
        return candidates(self._members, rows, knowledge, now, standings, self._slow_start_s, self._strangers)

    def eligibility(self, now: float) -> list[Eligibility]:
        """Where each backend stands, those too that are not picked from."""
        rows, standings = self.seats.rows, self.passive.standings(now)
        return eligibility(self._members, rows, self.knowledge, now, standings, self._slow_start_s, self._strangers)

    def strangers(self, config: PoolConfig) -> frozenset[str]:
        """The ids in another config of this pool that its view may not know, or know with another URL."""
        known = {(backend.id, backend.url) for backend in self._members if backend.id not in self._strangers}
        return frozenset(backend.id for backend in config.members if (backend.id, backend.url) not in known)

    def refusal(self, waiter: Waiter) -> Failure | None:  # noqa: ARG002 - one with limits lets it wait
        """Why ``take`` had nothing for a request; None: it waits now, and will be started again, or fail."""
        return Failure.NO_BACKEND

    def stop_waiting(self, waiter: Waiter) -> None:
        """The waiter is gone."""

    def retry_after_s(self, now: float) -> int:  # noqa: ARG002 - as above
        """When a request that found no place may come again."""
        return 1

    def part(self, row: int, connection: UpstreamConnection) -> None:  # noqa: ARG002 - as above
        """``leave``, for an attempt that was given up together with its connection."""
        self.leave(row)

    def has_untried(self, tried: Collection[int], now: float) -> bool:
        """Whether an attempt elsewhere is possible."""
        self.refresh(now)
        return any(candidate.row not in tried for candidate in self.selection.candidates)

    def tick(self, now: float) -> None:
        """What time does to a pool, once a second: knowledge ages, connections have rested long enough."""
        self.refresh(now)
        self.allowance.tick(now)
        for upstream in self.upstreams.values():
            upstream.tick(now)

    def close(self, keep: Collection[Upstream] = ()) -> None:
        """Close all connections, and begin nothing any more; what is under way ends where it began.

        ``keep`` are the upstreams that are another's, too.
        """
        self.seats.close()
        for upstream in self.upstreams.values():
            if upstream not in keep:
                upstream.close()


def _inheritance(
    config: PoolConfig, heir_to: Pool | None, knowledge: Knowledge | None
) -> tuple[Knowledge, frozenset[str]]:
    """What is known, and of which ids it may be about somebody else."""
    if heir_to is None:
        return knowledge or Knowledge(), frozenset()
    return heir_to.knowledge, heir_to.strangers(config)


def _deadlines(config: PoolConfig) -> tuple[float, float]:
    """How long a body may pause, and how long one attempt waits for a head."""
    idle_s, headers_s = config.timeouts.idle_s, config.timeouts.response_headers_s
    return idle_s or float("inf"), min(headers_s, config.retry.per_try_timeout_s or float("inf"))


def _rules(config: PoolConfig) -> RetryRules:
    retry = config.retry
    return RetryRules(retry_on=retry.retry_on, num_retries=retry.num_retries, connect_retries=retry.connect_retries)


def _allowance(name: str, config: PoolConfig, seats: Seats, now: float) -> Allowance:
    return Allowance(
        name, config.retry, config.hedging, rows=seats.rows.values(), board=seats.board, writer=seats.writer, now=now
    )


def _upstreams(
    config: PoolConfig,
    rows: Mapping[str, int],
    loop: asyncio.AbstractEventLoop,
    coarse: CoarseClock,
    heir_to: Pool | None,
) -> dict[int, Upstream]:
    """The way to each backend, by row."""
    settings = config.tls, config.connections, config.timeouts
    before = {backend_id: heir_to.upstreams[row] for backend_id, row in heir_to.seats.rows.items()} if heir_to else {}
    upstreams = {}
    for backend in config.members:
        known = before.get(backend.id)
        if known is None or known.way != way_of(backend.address, *settings):
            known = Upstream(backend.address, *settings, loop=loop, coarse=coarse)
        upstreams[rows[backend.id]] = known
    return upstreams
