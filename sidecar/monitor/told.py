"""What this monitor told the world of one pool, and what it would tell now. Does no I/O.

An edition holds what differs from the last one that was accepted, or everything where nobody knows what is there.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from sidecar.collect import Traffic
from sidecar.contract.codec import backend_hash, decimal_text
from sidecar.contract.events import Event
from sidecar.contract.model import Intent, Reading, Report, Verdict, View
from sidecar.monitor.clock import WireClock
from sidecar.monitor.outlook import Outlook
from sidecar.monitor.watch import Watch
from sidecar.publish import Change, Edition, Fields, LastEdition
from sidecar.veto import Veto


class Told:
    """The verdicts that were published, and the editions that follow from what has changed since."""

    def __init__(
        self,
        watch: Watch,
        clock: WireClock,
        config_hash: str,
        new_veto: Callable[[], Veto] | None = None,
        *,
        tells_probes: bool = False,
    ) -> None:
        """``new_veto`` None: no verdict is ever held. ``tells_probes``: each edition says what the probes took."""
        self._watch = watch
        self._outlook = Outlook(watch, clock, new_veto)
        self._config_hash = config_hash
        self._tells_probes = tells_probes
        self._traffic: Mapping[str, Traffic] = {}
        self._rps = 0.0
        self._verdicts: dict[str, Verdict] = {}
        self._ejected: Mapping[str, float] = {}
        self._suspect = ""
        self._departed: set[str] = set()
        self._is_certain = False

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """As they were published last."""
        return self._verdicts

    @property
    def suspect(self) -> str:
        """Why the probes were said to be mistrusted; empty: they were not."""
        return self._suspect

    def doubt(self) -> None:
        """The store may hold anything: the next edition holds everything."""
        self._is_certain = False

    def change(self, config_hash: str, new_veto: Callable[[], Veto] | None, *, tells_probes: bool) -> None:
        """There are other members, or other rules: the next edition says so, and who has departed."""
        members = self._watch.members.keys()
        self._departed = (self._departed | self._verdicts.keys()) - members
        self._verdicts = {name: verdict for name, verdict in self._verdicts.items() if name in members}
        self._config_hash, self._tells_probes = config_hash, tells_probes
        self._outlook.change(new_veto)
        self.doubt()

    def hear(self, reports: Sequence[Report], traffic: Mapping[str, Traffic], now: float) -> None:
        """What the workers say now, and what follows of the traffic."""
        self._traffic = traffic
        self._rps = sum(each.rps for each in traffic.values())
        self._outlook.hear(reports, now)

    def heed(self, intents: Mapping[str, Intent]) -> None:
        """What the operator wants now."""
        self._outlook.intents = intents

    def adopt(self, last: LastEdition, redis_ms: int, now: float) -> None:
        """Go on where an earlier leader stopped. A backend that moved to another URL begins anew."""
        if last.view is None:
            return
        self._outlook.forget_doubts()
        members = self._watch.members
        self._departed = set(last.view.backends) - set(members)
        self._verdicts = {name: verdict for name, verdict in last.view.backends.items() if name in members}
        self._suspect = last.view.suspect
        for name, verdict in self._verdicts.items():
            if verdict.url == members[name].url:
                reading = last.readings.get(name, Reading())
                age_ms = max(0, redis_ms - last.view.epoch)
                self._outlook.adopt(verdict, reading, redis_ms=redis_ms, age_ms=age_ms, now=now)

    def edition(self, *, token: int, store_id: str, now: float) -> Edition | None:
        """A new view with what belongs to it; None when there is nothing new to say."""
        verdicts = self._outlook.verdicts(now)
        suspect = self._outlook.ruling.suspect
        changed = {name for name, verdict in verdicts.items() if self._is_news(verdict)}
        is_news = bool(changed) or bool(suspect) != bool(self._suspect)
        if not verdicts or (self._is_certain and not is_news):
            return None
        return Edition(
            view=View(
                token=token, store_id=store_id, config_hash=self._config_hash, suspect=suspect, backends=verdicts
            ),
            hashes=self._hashes(verdicts, changed if self._is_certain else verdicts.keys()),
            changes=[*self._changes(verdicts), *_doubts(self._suspect, suspect)],
            departed=frozenset(self._departed),
            probe_ms=self._probe_ms(),
        )

    def heartbeat(self, now: float) -> Edition | None:
        """The figures of all published backends, and a point of history of each that was probed; None before a view."""
        if not self._verdicts:
            return None
        verdicts = self._outlook.verdicts(now)
        probed = self._watch.unreported & verdicts.keys()
        return Edition(
            hashes=self._hashes(verdicts, verdicts.keys()),
            histories={name: self._history(name) for name in sorted(probed)},
            probe_ms=self._probe_ms(),
        )

    def _probe_ms(self) -> dict[str, float] | None:
        """What the latest probes took; a refusal is quick, so one that failed has no time."""
        if not self._tells_probes:
            return None
        return {name: result.total_ms for name, result in self._watch.results.items() if result.passed}

    def accepted(self, edition: Edition) -> None:
        """The store took it."""
        self._watch.unreported -= edition.histories.keys()
        if edition.view is not None:
            self._verdicts = dict(edition.view.backends)
            self._ejected = self._outlook.ejected
            self._suspect = edition.view.suspect
            self._departed.clear()
            self._is_certain = True

    def due_s(self, now: float) -> float | None:
        """How long until time alone brings news: the end of a slow start, of an ejection, of a hold; None: never."""
        ends = [now + self._watch.conditions[name].ramp_s(now) for name, told in self._verdicts.items() if told.ramp_ms]
        ends += [
            end for name, end in self._ejected.items() if name in self._verdicts and self._verdicts[name].ejected_ms
        ]
        if self._outlook.ruling.ends_at is not None:
            ends.append(self._outlook.ruling.ends_at)
        return max(0.0, min(ends) - now) if ends else None

    def _is_news(self, verdict: Verdict) -> bool:
        """Whether workers would act otherwise on it than on what they were told."""
        told = self._verdicts.get(verdict.id)
        return told is None or self._acts(told) != self._acts(verdict) or self._has_moved(verdict)

    @staticmethod
    def _acts(verdict: Verdict) -> tuple[object, ...]:
        return verdict.state, verdict.admin, verdict.weight, verdict.ramp_ms > 0, verdict.ejected_ms > 0

    def _has_moved(self, verdict: Verdict) -> bool:
        """Whether an ejection ends at another time than the workers were told."""
        return verdict.ejected_ms > 0 and self._outlook.ejected.get(verdict.id) != self._ejected.get(verdict.id)

    def _changes(self, verdicts: Mapping[str, Verdict]) -> Iterator[Change]:
        """An event for each backend whose state is another, or whose ejection begins or ends."""
        for name, verdict in verdicts.items():
            told = self._verdicts.get(name, Verdict(id=name, url=verdict.url))
            if told.state is not verdict.state:
                yield Change(
                    backend=name, before=told.state, after=verdict.state, reason=verdict.reason,
                    evidence=self._evidence(name),
                )  # fmt: skip
            if verdict.ejected_ms and not told.ejected_ms:
                reason = self._outlook.accusers.get(name, "")
                yield Change(backend=name, before=verdict.state, after=Event.EJECTED, reason=reason)
            elif told.ejected_ms and not verdict.ejected_ms:
                reason = "most instances eject it no more"
                yield Change(backend=name, before=Event.EJECTED, after=Event.READMITTED, reason=reason)

    def _evidence(self, name: str) -> str:
        """What the latest probes brought, in figures; empty where none has counted."""
        condition, result = self._watch.conditions[name], self._watch.results.get(name)
        if result is None or not (condition.ok_streak or condition.fail_streak):
            return ""
        streak = f"{condition.ok_streak} passed" if result.passed else f"{condition.fail_streak} failed"
        return f"{streak} in a row; the latest: {result.reason}, after {result.total_ms:.1f} ms"

    def _hashes(self, verdicts: Mapping[str, Verdict], names: Collection[str]) -> dict[str, Fields]:
        return {name: self._hash(verdicts[name]) for name in sorted(names)}

    def _hash(self, verdict: Verdict) -> Fields:
        result = self._watch.results.get(verdict.id)
        traffic = self._traffic.get(verdict.id, Traffic())
        return backend_hash(verdict, self._watch.reading(verdict.id)) | {
            "asked": str(self._outlook.intents.get(verdict.id, Intent()).since_ms),
            "last_probe": result.reason if result else "",
            "inflight": str(traffic.inflight),
            "rps": f"{traffic.rps:.1f}",
            "error_ratio": _ratio(traffic.error_ratio),
            "share": _ratio(traffic.rps / self._rps if self._rps else None),
            "p50_ms": decimal_text(traffic.p50_ms),
            "p99_ms": decimal_text(traffic.p99_ms),
        }

    def _history(self, name: str) -> Fields:
        result, traffic = self._watch.results[name], self._traffic.get(name, Traffic())
        return {
            "passed": str(int(result.passed)),
            "status": str(result.status or ""),
            "probe_ms": f"{result.total_ms:.1f}",
            "error_ratio": _ratio(traffic.error_ratio),
            "inflight": str(traffic.inflight),
            "rps": f"{traffic.rps:.1f}",
            "p50_ms": decimal_text(traffic.p50_ms),
            "p99_ms": decimal_text(traffic.p99_ms),
        }


def _doubts(before: str, after: str) -> list[Change]:
    """An event where the monitor begins or ceases to mistrust its own probes."""
    if bool(before) == bool(after):
        return []
    if after:
        return [Change(backend="", before="", after=Event.MONITOR_SUSPECT, reason=after)]
    return [Change(backend="", before=Event.MONITOR_SUSPECT, after="", reason="its probes are believed again")]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
