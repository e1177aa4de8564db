"""What this monitor told the world of one pool, and what it would tell now. Does no I/O.

Verdicts are made from conditions here, with each change stamped once by Redis' clock; an edition holds what differs
from the last one that was accepted, or everything where nobody knows what the store holds.
"""

from collections.abc import Collection, Mapping

from sidecar.collect import Traffic
from sidecar.contract.codec import backend_hash
from sidecar.contract.model import Reading, Verdict, View
from sidecar.monitor.clock import WireClock
from sidecar.monitor.watch import Watch
from sidecar.publish import Edition, Fields, LastEdition, changes
from sidecar.verdict import adopt, verdict_of


class Told:
    """The verdicts that were published, and the editions that follow from what has changed since."""

    def __init__(self, watch: Watch, clock: WireClock, config_hash: str) -> None:
        self.traffic: Mapping[str, Traffic] = {}
        self._watch = watch
        self._clock = clock
        self._config_hash = config_hash
        self._verdicts: dict[str, Verdict] = {}
        self._stamps: dict[str, tuple[float, int]] = {}
        self._departed: set[str] = set()
        self._is_certain = False

    def doubt(self) -> None:
        """The store may hold anything: the next edition holds everything."""
        self._is_certain = False

    def adopt(self, last: LastEdition, redis_ms: int, now: float) -> None:
        """Go on where an earlier leader stopped. A backend that moved to another URL begins anew."""
        if last.view is None:
            return
        age_ms = max(0, redis_ms - last.view.epoch)
        members = self._watch.members
        self._departed = set(last.view.backends) - set(members)
        self._verdicts = {name: verdict for name, verdict in last.view.backends.items() if name in members}
        for name, verdict in self._verdicts.items():
            if verdict.url != members[name].url:
                continue
            since = self._clock.at(verdict.since_ms, now)
            self._stamps[name] = (since, min(verdict.since_ms, redis_ms))
            condition = adopt(
                self._watch.conditions[name],
                verdict,
                last.readings.get(name, Reading()),
                since=since,
                ramp_s=max(0, verdict.ramp_ms - age_ms) / 1000,
                now=now,
            )
            self._watch.adopt(name, condition)

    def edition(self, *, token: int, store_id: str, now: float) -> Edition | None:
        """A new view with what belongs to it; None when there is nothing new to say."""
        verdicts = self._judged(now)
        changed = {name for name, verdict in verdicts.items() if self._is_news(verdict)}
        if not verdicts or (self._is_certain and not changed):
            return None
        return Edition(
            view=View(token=token, store_id=store_id, config_hash=self._config_hash, backends=verdicts),
            hashes=self._hashes(verdicts, changed if self._is_certain else verdicts.keys()),
            changes=changes(self._verdicts, verdicts),
            departed=frozenset(self._departed),
        )

    def heartbeat(self, now: float) -> Edition | None:
        """The figures of all published backends, and a point of history of each that was probed; None before a view."""
        if not self._verdicts:
            return None
        verdicts = self._judged(now)
        probed = self._watch.unreported & verdicts.keys()
        return Edition(
            hashes=self._hashes(verdicts, verdicts.keys()),
            histories={name: self._history(name) for name in sorted(probed)},
        )

    def accepted(self, edition: Edition) -> None:
        """The store took it."""
        self._watch.unreported -= edition.histories.keys()
        if edition.view is not None:
            self._verdicts = dict(edition.view.backends)
            self._departed.clear()
            self._is_certain = True

    def ramp_s(self, now: float) -> float | None:
        """How long until a published slow start is over, which is worth a new view; None when there is none."""
        ramps = [
            self._watch.conditions[name].ramp_s(now) for name, verdict in self._verdicts.items() if verdict.ramp_ms
        ]
        return min(ramps, default=None)

    def _judged(self, now: float) -> dict[str, Verdict]:
        """The verdict of every backend of which anything is known."""
        return {
            name: verdict_of(backend, condition, since_ms=self._since_ms(name, condition.since), now=now)
            for name, backend in self._watch.members.items()
            if (condition := self._watch.conditions[name]).since is not None
        }

    def _since_ms(self, name: str, since: float) -> int:
        """Stamped once: the offset between the clocks moves, and a verdict that only drifts is no news."""
        if self._stamps.get(name, (None, 0))[0] != since:
            self._stamps[name] = (since, self._clock.ms(since))
        return self._stamps[name][1]

    def _is_news(self, verdict: Verdict) -> bool:
        """Whether workers would act otherwise on it than on what they were told."""
        told = self._verdicts.get(verdict.id)
        return told is None or told.state is not verdict.state or (told.ramp_ms > 0) != (verdict.ramp_ms > 0)

    def _hashes(self, verdicts: Mapping[str, Verdict], names: Collection[str]) -> dict[str, Fields]:
        return {name: self._hash(verdicts[name]) for name in sorted(names)}

    def _hash(self, verdict: Verdict) -> Fields:
        result = self._watch.results.get(verdict.id)
        traffic = self.traffic.get(verdict.id, Traffic())
        return backend_hash(verdict, self._watch.reading(verdict.id)) | {
            "last_probe": result.reason if result else "",
            "inflight": str(traffic.inflight),
            "rps": f"{traffic.rps:.1f}",
            "error_ratio": _ratio(traffic.error_ratio),
        }

    def _history(self, name: str) -> Fields:
        result = self._watch.results[name]
        return {
            "passed": str(int(result.passed)),
            "status": str(result.status or ""),
            "probe_ms": f"{result.total_ms:.1f}",
            "error_ratio": _ratio(self.traffic.get(name, Traffic()).error_ratio),
        }


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
