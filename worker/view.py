"""From what a worker knows of a pool to the backends that may take the next request.

``Knowledge`` holds the newest view and how old it is; ``candidates`` lays it over the configured members. Pure: views,
heartbeats and ``now`` are handed in.

Selection takes the first tier that is not empty::

    healthy · degraded · unknown · the same three of the backups · panic

Panic is everything that no operator took out, since trying is better than refusing. What is ejected waits there too,
and so does what was met with a hard failure a moment ago, though for the latter nobody panics: it is left alone only
while there is anybody else. The config owns membership: an id that only the view knows is never selected, a member that
the view does not know is unknown.

Knowledge ages by the local monotonic clock. Up to ``FRESH_S`` it is fresh; up to ``STALE_S`` it is stale, and its
verdicts stand; beyond, they are worth nothing: all backends are unknown, those last seen failing are the last resort,
and only what the operator asked for still holds. Traffic never stops for want of news.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import NamedTuple

from sidecar.contract.codec import ContractError
from sidecar.contract.model import Admin, Backend, Health, Verdict, View
from worker.outlier import Phase, Standing

FRESH_S = 3.0
"""Three missed heartbeats of a second each."""
STALE_S = 30.0
"""How long verdicts outlive their monitor."""
COPY_S = 3600.0
"""How long those of a copy on disk do, where no store was ever seen: backends come and go within an hour."""
AHEAD_MS = 86_400_000
"""A view from further in the future is not ours: epochs are close to the store's clock."""
INSISTENCE = 3
"""So many polls must show a lower epoch under a newer lease before it is believed."""


class Freshness(StrEnum):
    """How far the view may be trusted."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"
    COLD = "cold"


class Tier(StrEnum):
    """Which backends a selection was made from, best first; ``none`` when the operator took out every one."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    BACKUP_HEALTHY = "backup_healthy"
    BACKUP_DEGRADED = "backup_degraded"
    BACKUP_UNKNOWN = "backup_unknown"
    PANIC = "panic"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The monitor's heartbeat: ``seq`` moves each second, ``epoch`` and ``store_id`` name the view in force.

    ``probe_ms`` is what the latest probes took, by id of those that passed; empty where nobody is picked by it.
    """

    seq: int
    epoch: int
    store_id: str
    redis_ms: int
    probe_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A backend that may be picked. ``ramp_until`` is when its slow start ends (monotonic); past means it is over.

    ``is_canary``: the request that gets it is the one that this host tries it with, and its outcome has to be told.
    """

    backend: Backend
    row: int
    weight: float
    ramp_until: float = -inf
    is_canary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The candidates of one tier: in the order of the config, in panic those that failed longest ago first.

    Until ``holds_until`` (monotonic) only new knowledge can change it, so it need not be made again before.
    ``probation`` are those beside them that a canary could bring back.
    """

    tier: Tier
    candidates: tuple[Candidate, ...] = ()
    probation: tuple[Candidate, ...] = ()
    holds_until: float = inf


class Knowledge:
    """What one worker knows of one pool: the newest acceptable view, and when it was last known to hold."""

    __slots__ = ("_accepted_at", "_beat", "_confirmed_at", "_heard_at", "_insisted", "_view")

    def __init__(self) -> None:
        self._view: View | None = None
        self._accepted_at = -inf  # when remaining times in the view began to run
        self._confirmed_at = -inf  # when a living monitor last stood by this view
        self._heard_at: float | None = None
        self._beat: Beat | None = None
        self._insisted = 0

    @property
    def view(self) -> View | None:
        """The newest accepted view; None before the first."""
        return self._view

    def age_s(self, now: float) -> float | None:
        """How long ago a living monitor last stood by the view; None if none ever did."""
        return None if self._view is None else max(now - self._confirmed_at, 0.0)

    def freshness(self, now: float) -> Freshness:
        """How far the view may be trusted."""
        if self._view is None:
            return Freshness.COLD
        if now <= self._confirmed_at + FRESH_S and self._view.epoch:
            return Freshness.FRESH
        return Freshness.STALE if now <= self._confirmed_at + self._lasts_s else Freshness.EXPIRED

    @property
    def _lasts_s(self) -> float:
        """How long verdicts stand unconfirmed; a view of epoch 0 was not published: it is a copy."""
        return STALE_S if self._view is None or self._view.epoch else COPY_S

    def probe_s(self, backend_id: str) -> float | None:
        """What the latest probe of a backend took, as last heard; None: it failed, or nobody says."""
        probe_ms = self._beat.probe_ms.get(backend_id) if self._beat is not None else None
        return None if probe_ms is None else probe_ms / 1000

    def is_taken_out(self, backend_id: str) -> bool:
        """Whether the operator wants no more work to go to a backend, however old that news is."""
        verdict = self._view.backends.get(backend_id) if self._view is not None else None
        return verdict is not None and verdict.admin is not Admin.READY

    def holds_until(self, now: float) -> float:
        """When time alone will next change what the view says: an ejection ends, or all of it expires (monotonic)."""
        verdicts = self._view.backends.values() if self._view else ()
        ends = (self.until(verdict.ejected_ms) for verdict in verdicts if verdict.ejected_ms)
        return min((end for end in (*ends, self._confirmed_at + self._lasts_s) if end >= now), default=inf)

    def is_behind(self, beat: Beat) -> bool:
        """Whether the heartbeat names another view than ours, so that reading it is worth while."""
        view = self._view
        return view is None or (beat.store_id, beat.epoch) != (view.store_id, view.epoch)

    def offer(self, view: View, now: float, age_s: float, *, redis_ms: int | None = None) -> bool:
        """Take a view if it is newer; whether it was taken.

        A lower epoch is believed only in another life of the store, or when a newer lease insists on it.

        Args:
            view: as read from the store.
            now: monotonic.
            age_s: how long ago it was published.
            redis_ms: the store's clock when it was read; None: not known.

        Raises:
            ContractError: its epoch is more than a day ahead of the store's clock.
        """
        if redis_ms is not None and view.epoch > redis_ms + AHEAD_MS:
            raise ContractError(f"the view's epoch {view.epoch} is more than a day ahead of the store's clock")
        if not self._supersedes(view):
            return False
        self._view = view
        self._insisted = 0
        self._accepted_at = now - age_s
        self._confirmed_at = max(self._confirmed_at, now - age_s)
        return True

    def _supersedes(self, view: View) -> bool:
        known = self._view
        if known is None or view.store_id != known.store_id or view.epoch > known.epoch:
            return True
        if view.epoch == known.epoch or view.token <= known.token:
            self._insisted = 0
            return False
        self._insisted += 1
        return self._insisted >= INSISTENCE

    def beat(self, beat: Beat, now: float, age_s: float) -> None:
        """Hear a heartbeat; the view is as young as the last new one that agrees with it.

        Args:
            beat: as read from the store; one that was heard before changes nothing.
            now: monotonic.
            age_s: how long ago it was written by the store's clock. It is believed only as far as this clock cannot
                know better: a beat that was not there at the last reading is no older than that.
        """
        previous, heard_at = self._beat, self._heard_at
        self._beat, self._heard_at = beat, now
        view = self._view
        if beat == previous or view is None or view.store_id != beat.store_id or view.epoch < beat.epoch:
            return
        at = now - max(age_s, 0.0)
        self._confirmed_at = max(self._confirmed_at, at if heard_at is None else max(at, heard_at))

    def until(self, remaining_ms: int) -> float:
        """When a time that travelled as remaining milliseconds is over (monotonic)."""
        return self._accepted_at + remaining_ms / 1000


_PRIMARY = {Health.HEALTHY: Tier.HEALTHY, Health.DEGRADED: Tier.DEGRADED, Health.UNKNOWN: Tier.UNKNOWN}
_BACKUP = {
    Health.HEALTHY: Tier.BACKUP_HEALTHY,
    Health.DEGRADED: Tier.BACKUP_DEGRADED,
    Health.UNKNOWN: Tier.BACKUP_UNKNOWN,
}
_RANK = {tier: rank for rank, tier in enumerate(Tier)}


_SPOTLESS = Standing()


class Eligibility(NamedTuple):  # a third of what a frozen dataclass costs to make, and there may be a thousand of them
    """A member and where it stands; ``tier`` is what it would be if it were in, ``none`` for what an operator took out.

    ``ejected_until`` is when a fleet's ejection ends (monotonic).
    """

    tier: Tier
    phase: Phase
    verdict: Verdict
    standing: Standing
    candidate: Candidate
    ejected_until: float


def candidates(
    members: Sequence[Backend],
    rows: Mapping[str, int],
    knowledge: Knowledge,
    now: float,
    standings: Mapping[int, Standing] | None = None,
    slow_start_s: float = 0.0,
    strangers: Collection[str] = (),
) -> Selection:
    """The backends that may take a request now; empty only if the operator took out every one.

    Args:
        members: the pool as configured.
        rows: each member's row on the board, by id.
        knowledge: of the same pool.
        now: monotonic.
        standings: by row, what real traffic says of them on this host; nothing against those that are not there.
        slow_start_s: how long one grows that was readmitted.
        strangers: ids of members that the view may know with another URL: that verdict is about another backend.
    """
    standings = standings or {}
    every = eligibility(members, rows, knowledge, now, standings, slow_start_s, strangers)
    left = [each for each in every if each.tier is not Tier.NONE]
    tier, chosen = _first_tier(left, now)
    return Selection(
        tier=tier,
        candidates=chosen,
        probation=tuple(each.candidate for each in left if _awaits_canary(each)),
        holds_until=min([knowledge.holds_until(now), *(each.next_change(now) for each in standings.values())]),
    )


def eligibility(
    members: Sequence[Backend],
    rows: Mapping[str, int],
    knowledge: Knowledge,
    now: float,
    standings: Mapping[int, Standing],
    slow_start_s: float,
    strangers: Collection[str],
) -> list[Eligibility]:
    """Where each member stands, in the order of the config; all as ``candidates`` takes it."""
    verdicts = knowledge.view.backends if knowledge.view else {}
    has_expired = knowledge.freshness(now) is Freshness.EXPIRED
    found: list[Eligibility] = []
    for backend in members:
        verdict = verdicts.get(backend.id)
        if verdict is None or (backend.id in strangers and verdict.url != backend.url):
            verdict = _unknown(backend, verdict)
        standing = standings.get(rows[backend.id], _SPOTLESS)
        ramp_until = knowledge.until(verdict.ramp_ms)
        if standing.readmitted_at:
            ramp_until = max(ramp_until, standing.readmitted_at + slow_start_s)
        candidate = Candidate(backend=backend, row=rows[backend.id], weight=verdict.weight, ramp_until=ramp_until)
        ejected_until = knowledge.until(verdict.ejected_ms)
        tier = Tier.PANIC if ejected_until > now else _tier(backend, verdict.state, has_expired=has_expired)
        if verdict.admin is not Admin.READY or verdict.weight == 0:
            tier = Tier.NONE
        found.append(Eligibility(tier, standing.phase(now), verdict, standing, candidate, ejected_until))
    return found


def _unknown(backend: Backend, namesake: Verdict | None) -> Verdict:
    """Nothing of its health; what the operator wants, he said of the id."""
    admin = namesake.admin if namesake is not None else Admin.READY
    return Verdict(id=backend.id, url=backend.url, weight=backend.weight, admin=admin)


def _tier(backend: Backend, state: Health, *, has_expired: bool) -> Tier:
    """Where a backend stands that is neither taken out nor ejected; a state that has no tier is for panic."""
    if has_expired and state in _PRIMARY:
        state = Health.UNKNOWN
    return (_BACKUP if backend.backup else _PRIMARY).get(state, Tier.PANIC)


def _awaits_canary(member: Eligibility) -> bool:
    """One that fails its probes, too, is not worth a request."""
    return member.phase is Phase.PROBATION and member.tier is not Tier.PANIC


def _first_tier(members: Sequence[Eligibility], now: float) -> tuple[Tier, tuple[Candidate, ...]]:
    """The best tier, counting first those that no hard failure was met at, then all that are not ejected, then all.

    In panic, too, whoever a hard failure was met at waits while there is anybody else: most policies know no order.
    """
    calm = [each for each in members if each.phase is Phase.IN and each.tier is not Tier.PANIC]
    trusted = [each for each in calm if each.standing.skip_until <= now] or calm
    if not trusted:
        left = [each for each in members if each.standing.skip_until <= now] or members
        chosen = sorted(left, key=_failed_longest_ago)
        return (Tier.PANIC if chosen else Tier.NONE), tuple(each.candidate for each in chosen)
    best = min((each.tier for each in trusted), key=_RANK.__getitem__)
    return best, tuple(each.candidate for each in trusted if each.tier is best)


def _failed_longest_ago(member: Eligibility) -> tuple[bool, float, int]:
    """Order in panic: those that are only ejected pass their probes; of the others, the longest in their state."""
    standing, verdict = member.standing, member.verdict
    failed_at = max(standing.ejected_until, standing.skip_until)
    return verdict.state not in _PRIMARY, failed_at, verdict.since_ms
