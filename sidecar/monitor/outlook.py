"""What one pool's leader thinks of each backend, from all it knows: the verdicts as they are to be published.

Probes give the state, which a veto may hold; the operator's intent stands above it, the fleet's ejection beside it.
Points in time are stamped once by Redis' clock. Does no I/O.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sidecar import fleet
from sidecar.contract.model import Admin, Intent, Reading, Report, Verdict
from sidecar.monitor.clock import WireClock
from sidecar.monitor.watch import Watch
from sidecar.verdict import adopt, verdict_of
from sidecar.veto import Ruling, Sight, Veto

DRIFT_S = 2.0
"""What workers say remains of an ejection is as old as their report; an end that moves by less has not moved."""


class Outlook:
    """Conditions, intents and reports as one verdict for each backend. ``ruling`` is the veto's latest.

    ``ejected`` has the end (monotonic) of each fleet ejection, ``accusers`` who stands by it, in words.
    """

    def __init__(self, watch: Watch, clock: WireClock, new_veto: Callable[[], Veto] | None = None) -> None:
        """``new_veto`` None: no verdict is ever held."""
        self.intents: Mapping[str, Intent] = {}
        self.ruling = Ruling()
        self.ejected: Mapping[str, float] = {}
        self.accusers: dict[str, str] = {}
        self._watch = watch
        self._clock = clock
        self._new_veto = new_veto
        self._veto = new_veto and new_veto()
        self._reports: Sequence[Report] = ()
        self._stamps: dict[str, tuple[float, int]] = {}

    def change(self, new_veto: Callable[[], Veto] | None) -> None:
        """There are other members, or other rules; what is held goes on being held."""
        self._new_veto = new_veto
        if self._veto is None or not self.ruling.held:
            self.forget_doubts()
        members = self._watch.members
        self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in members}

    def hear(self, reports: Sequence[Report], now: float) -> None:
        """What the workers say now."""
        self._reports = reports
        ejections = fleet.ejections(reports, self._watch.members)
        self.accusers |= {name: _accusers(name, reports) for name in ejections}
        self.ejected = {name: _steady(self.ejected.get(name), now + ms / 1000) for name, ms in ejections.items()}

    def forget_doubts(self) -> None:
        """Somebody else has led since: what was doubted then is no evidence now."""
        self._veto, self.ruling = self._new_veto and self._new_veto(), Ruling()

    def adopt(self, verdict: Verdict, reading: Reading, *, redis_ms: int, age_ms: int, now: float) -> None:
        """Go on from a verdict that an earlier leader published so long ago."""
        since = self._clock.at(verdict.since_ms, now)
        self._stamps[verdict.id] = (since, min(verdict.since_ms, redis_ms))
        own = self._watch.conditions[verdict.id]
        ramp_s = max(0, verdict.ramp_ms - age_ms) / 1000
        self._watch.adopt(verdict.id, adopt(own, verdict, reading, since=since, ramp_s=ramp_s, now=now))

    def verdicts(self, now: float) -> dict[str, Verdict]:
        """The verdict of every backend of which anything is known, or of which the operator wants something."""
        found = {
            name: verdict_of(backend, condition, since_ms=self._since_ms(name, condition.since), now=now)
            for name, backend in self._watch.members.items()
            if (condition := self._watch.conditions[name]).is_known or self._is_out(name)
        }
        if self._veto is not None:
            self.ruling = self._veto.judge(self._sights(found), self._reports, now=now, now_ms=self._clock.ms(now))
        return {name: self._in_force(verdict, now) for name, verdict in found.items()}

    def _sights(self, verdicts: Mapping[str, Verdict]) -> dict[str, Sight]:
        probed = self._watch.judged
        return {
            name: Sight(
                verdict=verdict,
                passed=probed[name].passed,
                answered=probed[name].answered,
                began_ms=self._clock.ms(probed[name].began),
            )
            for name, verdict in verdicts.items()
            if name in probed and self.intents.get(name, Intent()).admin is not Admin.MAINT
        }

    def _in_force(self, verdict: Verdict, now: float) -> Verdict:
        if held := self.ruling.held.get(verdict.id):
            verdict = replace(verdict, state=held.state, reason=held.reason, since_ms=held.since_ms)
        intent = self.intents.get(verdict.id, Intent())
        return replace(
            verdict,
            admin=intent.admin,
            weight=verdict.weight if intent.weight is None else intent.weight,
            ejected_ms=max(0, round((self.ejected.get(verdict.id, now) - now) * 1000)),
        )

    def _is_out(self, name: str) -> bool:
        """Whether workers must know it before a probe has ended."""
        intent = self.intents.get(name, Intent())
        return intent.admin is not Admin.READY or intent.weight is not None

    def _since_ms(self, name: str, since: float | None) -> int:
        """Stamped once: the offset between the clocks moves, and a verdict that only drifts is no news."""
        if since is None:
            return 0
        if self._stamps.get(name, (None, 0))[0] != since:
            self._stamps[name] = (since, self._clock.ms(since))
        return self._stamps[name][1]


def _steady(known: float | None, end: float) -> float:
    """The end as it was known, also when it has passed: a late report must not eject anew for what is left in it."""
    return known if known is not None and abs(end - known) <= DRIFT_S else end


def _accusers(name: str, reports: Sequence[Report]) -> str:
    """How many of the instances that take part eject it themselves."""
    words = [(report.host, report.instance, report.tallies.get(name)) for report in reports if not report.draining]
    instances = {(host, instance) for host, instance, _ in words}
    accusing = {(host, instance) for host, instance, tally in words if tally is not None and tally.ejected_ms}
    return f"{len(accusing)} of {len(instances)} instances eject it"
