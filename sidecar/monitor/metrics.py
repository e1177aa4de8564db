"""What a monitor knows, as Prometheus reads it: its own probes, and the fleet's traffic as the workers report it.

The names of the fleet's sums are other ones than those of the hosts, whose workers tell the same at once and in more
detail. Counters never fall while the monitor lives. A monitor that becomes the leader begins with what the living
workers have counted, so where another one is asked from now on, its totals are those of another series.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import version

from sidecar.contract.events import Metric
from sidecar.contract.exposition import Kind, Page, bounds_of, labels
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Health, Report
from sidecar.monitor.counted import Account, Probes
from sidecar.monitor.post import Post
from sidecar.monitor.totals import Total

VERSION = version("sidebeat")
DAY_S = 86_400
_BOUNDS = bounds_of(BUCKETS)
_TOTALS = (
    (Metric.FLEET_REQUESTS, "requests", "Attempts at a backend, over the fleet."),
    (Metric.FLEET_RESPONSES, "responses", "Responses of a backend, over the fleet."),
    (Metric.FLEET_FAILURES, "failures", "Attempts that failed by the backend's fault, over the fleet."),
    (Metric.FLEET_RETRIES, "retries", "Attempts that were followed by another one, over the fleet."),
)
"""Counters by the field of ``Total`` that they tell."""


class Exposition:
    """The page for a scrape. ``render`` may be called from another thread."""

    def __init__(self, posts: Callable[[], Iterable[Post]]) -> None:
        """``posts`` gives those there are now."""
        self._posts = posts

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its type, for who accepts that."""
        page = Page(accept, VERSION)
        pools, probes, fleet = _Pools(page), _Probes(page), _Fleet(page)
        for post in self._posts():
            pools.add(labels(pool=post.keys.pool), post)
            probes.add(post)
            fleet.add(post)
        return b"".join(page.parts()), page.content_type


class _Pools:
    """The families that have a sample for each pool."""

    def __init__(self, page: Page) -> None:
        gauge, counter = Kind.GAUGE, Kind.COUNTER
        self._leader = page.family(Metric.LEADER, gauge, "1 while this monitor is the one that publishes.")
        self._suspect = page.family(
            Metric.SUSPECT, gauge, "1 while the monitor mistrusts its probes and holds verdicts."
        )
        self._publishes = page.family(Metric.PUBLISHES, counter, "Writes to the store by how they ended.")
        self._events = page.family(Metric.EVENTS, counter, "Transitions made known by what they led to.")
        self._fresh = page.family(Metric.WORKERS_FRESH, gauge, "Workers that reported within five seconds.")
        self._behind = page.family(Metric.FLEET_BEHIND, gauge, "Workers that follow an older view than another one.")
        self._age = page.family(Metric.FLEET_VIEW_AGE, gauge, "How old the oldest view is that any worker follows.")
        self._epoch = page.family(Metric.FLEET_EPOCH, gauge, "The oldest view that any worker follows; 0: none yet.")

    def add(self, key: str, post: Post) -> None:
        """All of one pool; ``key`` has its label."""
        account: Account = post.leader.account
        self._leader.add(key, post.leader.is_leading)
        self._suspect.add(key, post.leader.is_leading and bool(post.told.suspect))
        for outcome, count in account.outcomes.items():
            self._publishes.add(f'{key},outcome="{outcome.name.lower()}"', count)
        for event, count in account.events.copy().items():
            self._events.add(f"{key},{labels(event=event)}", count)
        if post.leader.is_leading:
            self._tell_workers(key, account.reports)

    def _tell_workers(self, key: str, reports: Iterable[Report]) -> None:
        epochs = [report.applied_epoch for report in reports]
        ages = [report.view_age_ms for report in reports if report.view_age_ms is not None]
        self._fresh.add(key, len(epochs))
        newest = max(epochs, default=0)
        self._behind.add(key, sum(epoch < newest for epoch in epochs))
        if epochs:
            self._epoch.add(key, min(epochs))
        if ages:
            self._age.add(key, max(ages) / 1000)


class _Probes:
    """What was probed."""

    def __init__(self, page: Page) -> None:
        self._times = page.family(
            Metric.PROBE_TIMES, Kind.HISTOGRAM, "From the start of a probe to the end of a phase."
        )
        self._results = page.family(Metric.PROBE_RESULTS, Kind.COUNTER, "Probes by how they ended.")
        self._certificate = page.family(
            Metric.CERTIFICATE, Kind.GAUGE, "How long a backend's certificate is still valid, in whole days."
        )

    def add(self, post: Post) -> None:
        """All backends of one pool."""
        watch = post.watch
        for name in watch.members:
            key = labels(pool=post.keys.pool, backend=name)
            if (probes := watch.counted.get(name)) is not None:
                self._tell(key, probes)
            if (result := watch.results.get(name)) is not None and result.expires_days is not None:
                self._certificate.add(key, result.expires_days * DAY_S)

    def _tell(self, key: str, probes: Probes) -> None:
        for ending, count in probes.endings.items():
            self._results.add(f'{key},result="{ending}"', count)
        for phase, seen in probes.times.items():
            self._times.add_histogram(f'{key},phase="{phase}"', _BOUNDS, tuple(seen.counts), seen.total_s)


class _Fleet:
    """What all workers count, by backend."""

    def __init__(self, page: Page) -> None:
        gauge = Kind.GAUGE
        self._state = page.family(Metric.FLEET_STATE, gauge, "1 for the state of a backend as it was published.")
        self._ejected = page.family(Metric.FLEET_EJECTED, gauge, "1 while most instances keep a backend out.")
        self._inflight = page.family(Metric.FLEET_INFLIGHT, gauge, "Requests under way, over the fleet.")
        self._rate = page.family(
            Metric.FLEET_RATE, gauge, "Requests per second, over the fleet, between two heartbeats."
        )
        self._errors = page.family(
            Metric.FLEET_ERRORS, gauge, "Failures by requests, over the fleet, in the same time."
        )
        self._totals = [(page.family(metric, Kind.COUNTER, said), name) for metric, name, said in _TOTALS]
        self._first_byte = page.family(
            Metric.FLEET_FIRST_BYTE, Kind.HISTOGRAM, "Time to the response head, over the fleet."
        )

    def add(self, post: Post) -> None:
        """All backends of one pool."""
        totals = post.leader.account.totals.read()
        for name in post.watch.members:
            key = labels(pool=post.keys.pool, backend=name)
            if name in totals:
                self._tell_total(key, totals[name])
            if post.leader.is_leading:
                self._tell_now(key, post, name)

    def _tell_total(self, key: str, total: Total) -> None:
        for family, name in self._totals:
            family.add(key, getattr(total, name))
        self._first_byte.add_histogram(key, _BOUNDS, total.first_bytes, total.latency_s)

    def _tell_now(self, key: str, post: Post, name: str) -> None:
        verdict = post.told.verdicts.get(name)
        current = verdict.state if verdict else Health.UNKNOWN
        for state in Health:
            self._state.add(f'{key},state="{state}"', state is current)
        self._ejected.add(key, verdict is not None and verdict.ejected_ms > 0)
        if (traffic := post.leader.account.traffic.get(name)) is not None:
            self._inflight.add(key, traffic.inflight)
            self._rate.add(key, traffic.rps)
            if traffic.error_ratio is not None:
                self._errors.add(key, traffic.error_ratio)
