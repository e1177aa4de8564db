"""When the monitor should doubt its own probes: verdicts that workers' exchanges contradict are held for a while.

Pure: what the probes said and what the workers reported go in, the verdicts to publish instead come out.

An outage begins when at least half of a pool of three or more stop answering their probes within one round of them:
that looks just like a monitor that lost its network. Each verdict that fell in it is held while an exchange with that
very backend began after its probes began to fail, and succeeded: who was really lost cannot have one. Until whoever
lately used the backend has had the time to say so, the verdict is held as well.

What ends a hold: ``HOLD_S`` since the first of the outage, evidence that grows old, a probe that is answered with a
refusal, since only silence is doubted, or that the backend is up. A verdict that was let go is not held again before
it has changed, and the time begins anew only when fewer than half of the pool were silent in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.contract.model import Health, Report, Verdict

HOLD_S = 10.0
"""Whatever the workers say: a view that nobody may doubt for longer is wrong for longer."""
LEAST_POOL = 3
"""In a smaller pool, half of it is one backend: nothing tells its trouble from the monitor's."""
EVIDENCE_MS = 3_000
"""How old a success may be: workers report each 1.2 s at most, reports are read each second."""
WORD_MS = 2_500
"""How long a verdict waits for the word of workers: for one report begun after ``USE_MS``, and for it to be read."""
USE_MS = 250
"""A worker that used a backend should have used it again in that time."""
JITTER = 1.1
"""Rounds of probes vary by 10 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One probed backend as the monitor sees it.

    ``verdict`` is what the probes alone make of it, before any veto; the rest is of its latest probe that counts:
    whether it ``passed``, whether it was ``answered`` at all (an HTTP status, a handshake), and when it began (unix
    ms, Redis' clock).
    """

    verdict: Verdict
    passed: bool
    answered: bool
    began_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What to publish in place of what the probes say.

    ``held`` has, by id, the verdict of before the backend fell silent: publish its state, reason and since_ms, with
    today's admin, weight and ejection. ``suspect`` is for ``View.suspect``: empty when nothing is held. ``ends_at``
    is when time alone will end the hold (monotonic): judge again then; None when nothing is held.
    """

    held: Mapping[str, Verdict] = field(default_factory=dict)
    suspect: str = ""
    ends_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Silence:
    """Since when a backend's probes stay unanswered (Redis' clock), and what was held of it before."""

    since_ms: int
    before: Verdict


class Veto:
    """The doubt of one pool's leader. A new leader begins without any.

    Ask ``judge`` before each edition, and with each beat; what it rules holds until it is asked again.
    """

    def __init__(self, *, interval_s: float, timeout_s: float) -> None:
        """Of the health check: together they say how long one round of probes takes."""
        self._round_ms = max(interval_s, timeout_s) * JITTER * 1000
        self._before: dict[str, Verdict] = {}
        self._silent: dict[str, _Silence] = {}
        self._outage_ms: int | None = None
        self._ends_at: float | None = None
        self._held: set[str] = set()
        self._let_go: set[str] = set()

    def judge(self, sights: Mapping[str, Sight], reports: Sequence[Report], *, now: float, now_ms: int) -> Ruling:
        """Which verdicts to hold.

        Args:
            sights: every backend that is probed, by id, once its first probe ended; those in maintenance left out.
            reports: the fresh ones, as last collected.
            now: monotonic.
            now_ms: the same moment by Redis' clock.
        """
        self._look(sights)
        self._find_outage(len(sights))
        fallen = self._fallen(sights)
        reached = {name for name in fallen if sights[name].passed or self._is_reached(name, reports, now_ms)}
        asked = {name for name in fallen - reached if self._is_asked(name, reports, now_ms)}
        self._hold(reached | asked, now)
        if not self._held:
            return Ruling()
        return Ruling(
            held={name: self._silent[name].before for name in sorted(self._held)},
            suspect=f"{len(self._silent)} of {len(sights)} backends stopped answering probes at once"
            + (f"; workers reach {', '.join(sorted(reached))}" if reached else "; asking the workers"),
            ends_at=self._ends_at,
        )

    def _look(self, sights: Mapping[str, Sight]) -> None:
        """Note who fell silent. One that passes again is counted with them until its verdict says so too."""
        known, self._silent = self._silent, {}
        for name, sight in sights.items():
            is_recovering = name in known and sight.passed and sight.verdict.state is Health.UNHEALTHY
            if is_recovering or not (sight.passed or sight.answered):
                before = self._before.get(name, sight.verdict)
                self._silent[name] = known.get(name) or _Silence(since_ms=sight.began_ms, before=before)
        self._before = {
            name: self._silent[name].before if name in self._silent else sight.verdict for name, sight in sights.items()
        }
        self._let_go &= self._silent.keys()

    def _find_outage(self, pool: int) -> None:
        """Whether at least half of the pool fell silent together; it lasts while half is, or a verdict is held."""
        starts = sorted(silence.since_ms for silence in self._silent.values())
        if self._outage_ms is not None:
            count = sum(start >= self._outage_ms for start in starts)
            if 2 * count >= pool or self._held & self._silent.keys():
                return
        self._outage_ms = self._ends_at = None
        half = (pool + 1) // 2
        if pool >= LEAST_POOL:
            spans = zip(starts, starts[half - 1 :], strict=False)
            self._outage_ms = next((first for first, last in spans if last - first <= self._round_ms), None)

    def _fallen(self, sights: Mapping[str, Sight]) -> set[str]:
        """Whose verdict fell in this outage, and was not let go."""
        if self._outage_ms is None:
            return set()
        return {
            name
            for name, silence in self._silent.items()
            if silence.since_ms >= self._outage_ms
            and sights[name].verdict.state is Health.UNHEALTHY
            and silence.before.state is not Health.UNHEALTHY
            and name not in self._let_go
        }

    def _is_reached(self, name: str, reports: Sequence[Report], now_ms: int) -> bool:
        """Whether an exchange that began after its probes began to fail succeeded, not long ago."""
        since_ms = max(self._silent[name].since_ms + 1, now_ms - EVIDENCE_MS)
        return any(began_ms >= since_ms for report in reports if (began_ms := _ok_began_ms(report, name)) is not None)

    def _is_asked(self, name: str, reports: Sequence[Report], now_ms: int) -> bool:
        """Whether somebody used it lately, has not ejected it, and has not had the time to say how it is now."""
        since_ms = self._silent[name].since_ms
        return now_ms - since_ms <= WORD_MS and any(
            report.heartbeat_ms < since_ms + USE_MS
            and report.tallies[name].ejected_ms == 0
            and began_ms >= since_ms - EVIDENCE_MS
            for report in reports
            if (began_ms := _ok_began_ms(report, name)) is not None
        )

    def _hold(self, names: set[str], now: float) -> None:
        """Hold these as long as the time allows; whoever was held and is not any more was let go."""
        if names and self._ends_at is None:
            self._ends_at = now + HOLD_S
        held = names if self._ends_at is not None and now < self._ends_at else set()
        self._let_go |= self._held & self._silent.keys() - held
        self._held = held


def _ok_began_ms(report: Report, name: str) -> int | None:
    """When the latest exchange that succeeded began, by Redis' clock; None where none has."""
    tally = report.tallies.get(name)
    return None if tally is None or tally.ok_age_ms is None else report.heartbeat_ms - tally.ok_age_ms
