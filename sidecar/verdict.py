"""The health of one backend by its probes: a state machine, and the only judge of it.

Pure: a condition and what a probe brought go in, the next condition comes out. A backend's verdict depends on its own
probes alone, never on when other backends answered.

                                 one pass
        UNKNOWN ────────────────────────────▶ ╭─ up, as it says of itself ─╮
           │                                  │                            │
           │                    rise passes:  │          HEALTHY           │
           │  ╭─────────────── slow start ──▶ │         ↙↗     ↖↘          │  one answer
           │  │                               │   DEGRADED ◀──▶ DRAINING   │  moves it
           │  │                               ╰─────────────┬──────────────╯
           ▼  │                                             │
        UNHEALTHY ◀─────────────────────────────────────────╯
              fall fails, or one answer that says unhealthy

A refused connection is certain and counts as two fails. What a backend says of itself (``X-Health-State``) is no
accident of load or network, and is believed at once, without fall: ``unhealthy`` takes it down (Envoy's
``x-envoy-immediate-health-check-fail``, HAProxy's agent-check ``down``), ``draining`` takes it out of service even in
an answer that fails, such as the 503 of an app that ends. Only the way up from UNHEALTHY asks for rise passes, whatever
they say. ``X-Health-Weight`` lowers the weight until a passing probe comes without it.

Flapping: each fall from grace beyond the second within a minute doubles the time for which a backend must pass before
it is up again.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from sidecar.contract.model import Backend, Health, Reading, Verdict

FLAP_WINDOW_S = 60.0
FLAP_FREE_FALLS = 2
FLAP_CAP_S = 3.0
"""Whoever passes for so long in a row does not flap any more; longer would keep a restarted backend out for nothing,
and one that is killed again and again has to be back within 5 s each time."""
REFUSED_COUNTS = 2
"""Nobody listens: unlike a slow answer, that is no accident of load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How many fails and passes in a row change a verdict, how far apart doubtful probes are, and the slow start."""

    fall: int
    rise: int
    fast_interval_s: float
    slow_start_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one probe says: whether it passed, and why, in words for people.

    ``refused``: nobody listened. ``answered``: the backend spoke, by an HTTP status or a finished handshake (for a
    ``tcp`` probe: a connection); a failure without it is one of the transport, which may as well be our own.
    ``advertised`` is the state that the backend gave itself, ``advertised_weight`` the part of its configured weight
    that it asks for, from 0 to 1; None: it said nothing.

    Raises:
        ValueError: a backend cannot advertise ``unknown``, nor pass a probe as ``unhealthy``.
    """

    passed: bool
    reason: str
    refused: bool = False
    answered: bool = False
    advertised: Health | None = None
    advertised_weight: float | None = None

    def __post_init__(self) -> None:
        if self.advertised is Health.UNKNOWN or (self.passed and self.advertised is Health.UNHEALTHY):
            raise ValueError(f"a probe that {'passed' if self.passed else 'failed'} advertises {self.advertised}")
        if self.advertised_weight is not None and not 0 <= self.advertised_weight <= 1:
            raise ValueError(f"an advertised weight is a factor from 0 to 1, not {self.advertised_weight:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """All that the machine remembers of one backend; times are monotonic seconds.

    ``since`` is when ``state`` began, None before the first probe ended. ``falls`` are the moments it became unhealthy
    within the flap window of the latest. ``fail_streak`` counts a refused connection twice. ``advertised_weight`` is
    what the latest passing probe said; None: nothing.
    """

    state: Health = Health.UNKNOWN
    reason: str = "not probed yet"
    since: float | None = None
    ok_streak: int = 0
    fail_streak: int = 0
    passing_since: float | None = None
    falls: tuple[float, ...] = ()
    ramp_until: float | None = None
    advertised_weight: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether a probe has ended, or an earlier leader's verdict was adopted."""
        return self.since is not None

    @property
    def is_in_doubt(self) -> bool:
        """Whether the latest probes speak against the state, or there are too few of them: time to look closer."""
        match self.state:
            case Health.UNKNOWN:
                return True
            case Health.UNHEALTHY:
                return self.ok_streak > 0
            case Health.HEALTHY | Health.DEGRADED | Health.DRAINING:
                return self.fail_streak > 0

    def ramp_s(self, now: float) -> float:
        """What remains of slow start; 0 when there is none."""
        return 0.0 if self.ramp_until is None else max(0.0, self.ramp_until - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The condition after a probe, and the state before it."""

    condition: Condition
    before: Health

    @property
    def flipped(self) -> bool:
        """Whether the state changed: to be logged and published, once."""
        return self.condition.state is not self.before


class _Needs(Enum):
    """What must come in a row before a transition happens."""

    ONE = auto()
    FALL = auto()
    RISE = auto()


_ON_PASS: dict[Health, _Needs] = {
    Health.UNKNOWN: _Needs.ONE,
    Health.HEALTHY: _Needs.ONE,
    Health.DEGRADED: _Needs.ONE,
    Health.DRAINING: _Needs.ONE,
    Health.UNHEALTHY: _Needs.RISE,
}
"""To the state that the backend advertises, healthy where it says nothing."""
_ON_FAIL: dict[Health, tuple[_Needs, Health]] = {
    Health.UNKNOWN: (_Needs.FALL, Health.UNHEALTHY),
    Health.HEALTHY: (_Needs.FALL, Health.UNHEALTHY),
    Health.DEGRADED: (_Needs.FALL, Health.UNHEALTHY),
    Health.DRAINING: (_Needs.FALL, Health.UNHEALTHY),
    Health.UNHEALTHY: (_Needs.ONE, Health.UNHEALTHY),
}
_ON_FAIL_ADVERTISED: dict[tuple[Health, Health], tuple[_Needs, Health]] = {
    (Health.UNKNOWN, Health.UNHEALTHY): (_Needs.ONE, Health.UNHEALTHY),
    (Health.HEALTHY, Health.UNHEALTHY): (_Needs.ONE, Health.UNHEALTHY),
    (Health.DEGRADED, Health.UNHEALTHY): (_Needs.ONE, Health.UNHEALTHY),
    (Health.DRAINING, Health.UNHEALTHY): (_Needs.ONE, Health.UNHEALTHY),
    (Health.UNKNOWN, Health.DRAINING): (_Needs.ONE, Health.DRAINING),
    (Health.HEALTHY, Health.DRAINING): (_Needs.ONE, Health.DRAINING),
    (Health.DEGRADED, Health.DRAINING): (_Needs.ONE, Health.DRAINING),
    (Health.DRAINING, Health.DRAINING): (_Needs.ONE, Health.DRAINING),
}
"""By state and advertised state, where they say more than the failure does."""


def judge(condition: Condition, evidence: Evidence, policy: Policy, now: float) -> Judgement:
    """What a probe that ended at ``now`` makes of a backend."""
    counted = _counted(condition, evidence, now)
    needs, target = _transition(counted.state, evidence)
    if target is counted.state or not _is_met(needs, counted, policy, now):
        return Judgement(condition=counted, before=condition.state)
    flipped = replace(counted, state=target, reason=evidence.reason, since=now)
    if target is Health.UNHEALTHY:
        flipped = replace(flipped, ramp_until=None)
        if condition.state is not Health.UNKNOWN:
            flipped = _fallen(flipped, policy, now)
    elif condition.state is Health.UNHEALTHY and policy.slow_start_s > 0:
        flipped = replace(flipped, ramp_until=now + policy.slow_start_s)
    return Judgement(condition=flipped, before=condition.state)


def adopt(own: Condition, verdict: Verdict, reading: Reading, *, since: float, ramp_s: float, now: float) -> Condition:
    """Go on where an earlier leader stopped: its state, reason and streaks, and what else we saw ourselves.

    Args:
        since: when the published state began, on our own monotonic clock.
        ramp_s: what remains of its slow start.
    """
    return Condition(
        state=verdict.state,
        reason=verdict.reason,
        since=since,
        ok_streak=reading.ok_streak,
        fail_streak=reading.fail_streak,
        passing_since=now if reading.ok_streak else None,
        falls=own.falls,
        ramp_until=now + ramp_s if ramp_s > 0 else None,
        advertised_weight=own.advertised_weight,
    )


def verdict_of(backend: Backend, condition: Condition, *, since_ms: int, now: float) -> Verdict:
    """The condition as the view carries it: with the part of the configured weight that the backend asks for."""
    share = 1.0 if condition.advertised_weight is None else condition.advertised_weight
    return Verdict(
        id=backend.id,
        url=backend.url,
        state=condition.state,
        reason=condition.reason,
        since_ms=since_ms,
        ramp_ms=round(condition.ramp_s(now) * 1000),
        weight=backend.weight * share,
    )


def hold_s(falls: int, policy: Policy) -> float:
    """For how long a backend must pass before it is up, after so many falls within the flap window.

    0 for the first two: ``rise`` passes are enough. From there it doubles the time which those passes take.
    """
    if falls <= FLAP_FREE_FALLS:
        return 0.0
    undamped_s = max(policy.rise - 1, 1) * policy.fast_interval_s
    return min(undamped_s * 2.0 ** min(falls - FLAP_FREE_FALLS, 64), FLAP_CAP_S)


def _transition(state: Health, evidence: Evidence) -> tuple[_Needs, Health]:
    """What the probe speaks for, and what must have come in a row before it happens."""
    if evidence.passed:
        return _ON_PASS[state], evidence.advertised or Health.HEALTHY
    if evidence.advertised is not None and (told := _ON_FAIL_ADVERTISED.get((state, evidence.advertised))):
        return told
    return _ON_FAIL[state]


def _counted(condition: Condition, evidence: Evidence, now: float) -> Condition:
    """The streaks with this probe in them; before a first verdict the reason follows the probes."""
    is_unknown = condition.state is Health.UNKNOWN
    if evidence.passed:
        fails, passes = 0, condition.ok_streak + 1
    else:
        fails, passes = condition.fail_streak + (REFUSED_COUNTS if evidence.refused else 1), 0
    return replace(
        condition,
        reason=evidence.reason if is_unknown else condition.reason,
        since=now if condition.since is None else condition.since,
        ok_streak=passes,
        fail_streak=fails,
        passing_since=(now if condition.passing_since is None else condition.passing_since) if passes else None,
        advertised_weight=evidence.advertised_weight if evidence.passed else condition.advertised_weight,
    )


def _is_met(needs: _Needs, counted: Condition, policy: Policy, now: float) -> bool:
    match needs:
        case _Needs.ONE:
            return True
        case _Needs.FALL:
            return counted.fail_streak >= policy.fall
        case _Needs.RISE:
            passing_since = now if counted.passing_since is None else counted.passing_since
            return counted.ok_streak >= policy.rise and now - passing_since >= hold_s(len(counted.falls), policy)


def _fallen(condition: Condition, policy: Policy, now: float) -> Condition:
    """Remember the fall; a flapping backend's reason says what is now asked of it."""
    falls = (*(at for at in condition.falls if now - at < FLAP_WINDOW_S), now)
    held_s = hold_s(len(falls), policy)
    if not held_s:
        return replace(condition, falls=falls)
    told = f"{condition.reason}; fell {len(falls)} times within {FLAP_WINDOW_S:g} s: must pass for {held_s:g} s"
    return replace(condition, falls=falls, reason=told)
