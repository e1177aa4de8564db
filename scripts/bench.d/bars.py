"""The figures that must hold, as the project promises them, and whether they did. Pure.

A missed bar is said, not raised: on a busy machine one run proves little.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from figures import Metric, Run, cpu_per_gb, cpu_us, errors, p50, p99, ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """``subject`` may have at most ``limit`` times what ``against`` has; below ``aim`` we are where we want to be.

    Without a limit the aim is all there is.
    """

    load: str
    subject: str = "sidebeat"
    against: str
    metric: Metric
    limit: float | None = None
    aim: float | None = None

    @property
    def goals(self) -> dict[str, float]:
        """Both by their names, the one that must hold first."""
        return {name: goal for name, goal in (("bar", self.limit), ("aim", self.aim)) if goal is not None}


BARS = (
    Bar(load="get", against="nginx", metric=cpu_us, limit=1.7, aim=1.45),
    Bar(load="get", against="seed", metric=cpu_us, limit=1 / 110),
    Bar(load="get", subject="sidebeat-asgi", against="nginx", metric=cpu_us, limit=2.8, aim=2.3),
    Bar(load="get12", against="nginx", metric=cpu_us, limit=2.0, aim=1.65),
    Bar(load="log", subject="json", against="off", metric=cpu_us, limit=1.15),
    Bar(load="post", against="nginx", metric=cpu_us, limit=1.05, aim=0.9),
    Bar(load="big", against="nginx", metric=cpu_per_gb, limit=0.45, aim=0.3),
    Bar(load="big", against="haproxy", metric=cpu_per_gb, limit=0.7, aim=0.4),
    Bar(load="get, 64 connections", against="seed", metric=cpu_us, limit=1 / 110),
    Bar(load="get, 8 connections", against="seed", metric=cpu_us, limit=1 / 65),
    Bar(load="get, 1 connection", against="seed", metric=cpu_us, limit=1 / 14),
    Bar(load="rate", against="nginx", metric=p50, limit=1.3, aim=1.1),
    Bar(load="rate", against="nginx", metric=p99, limit=2.0, aim=1.2),
    Bar(load="ws", against="nginx", metric=cpu_us, limit=1 / 0.8),
    Bar(load="ws", against="seed as installed", metric=cpu_us, limit=1 / 5),
    Bar(load="ws", against="seed", metric=cpu_us, aim=1 / 5),
    Bar(load="sse", against="nginx", metric=p50, limit=1.3),
    Bar(load="library", subject="proxy_pass", against="seed", metric=cpu_us, limit=1 / 14, aim=1 / 20),
    Bar(load="library", subject="proxy_pass", against="no proxy", metric=cpu_us, aim=1.6),
)

IDLE_CONNECTION_KIB = 4.0
SLOW_BODY_MIB = 4.0
IDLE_WEBSOCKETS_MIB = 8.0
"""A thousand of them."""
LIBRARY_MIB = 16.0
"""Growth during one transfer through ``proxy_pass``."""
PICK_US, PICK_AIM_US = 3.5, 2.2
"""CPU of picking and of the board for one request of the default policy, with eight backends and four workers."""

_NAMES: dict[Metric, str] = {cpu_us: "CPU per request", cpu_per_gb: "CPU per GB", p50: "p50", p99: "p99"}


def judge(load: str, runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """A line for each bar of this load whose two sides were measured."""
    for bar in BARS:
        if bar.load == load and bar.subject in runs and bar.against in runs:
            ours, theirs = runs[bar.subject], runs[bar.against]
            found = ratio(ours, theirs, bar.metric)
            goals = ", ".join(f"{name} {times(goal)}" for name, goal in bar.goals.items())
            first = next(iter(bar.goals.values()))
            what = f"{load}: {bar.subject}, {_NAMES[bar.metric]} against {bar.against}"
            said = "void, there were errors" if errors(ours) + errors(theirs) else verdict(found, first)
            yield f"- {what}: {times(found)} ({goals}): {said}"


def verdict(found: float, limit: float) -> str:
    """In a word."""
    return "met" if found <= limit else "**missed**"


def times(found: float) -> str:
    """A ratio as people say it: 1.45x, and 120x less for 1/120."""
    return f"{1 / found:.0f}x less" if 0 < found < 0.1 else f"{found:.2f}x"
