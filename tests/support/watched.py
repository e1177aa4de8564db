"""A pool under watch without a probe: its conditions are what a test says they are."""

import time
from dataclasses import replace

from sidecar.contract.model import Backend, parse_address
from sidecar.monitor.gate import Gate
from sidecar.monitor.watch import Watch
from sidecar.probe import ProbeResult
from sidecar.schedule import Schedule
from sidecar.verdict import Policy, judge

POLICY = Policy(fall=1, rise=1, fast_interval_s=0.01, slow_start_s=0.0)
PASS = ProbeResult(passed=True, answered=True, reason="HTTP 200", total_ms=1.5, status=200)
SILENT = ProbeResult(passed=False, reason="no answer within 1.0 s", total_ms=1000.0)


async def never() -> ProbeResult:
    """A probe that is not made."""
    raise AssertionError("nobody probes here")


class Watched:
    """The watch, and how to tell it what the probes found."""

    def __init__(self, *names: str) -> None:
        members = [Backend(id=name, url=f"http://{name}", address=parse_address(f"http://{name}")) for name in names]
        self.schedule = Schedule(names, interval_s=1.0, fast_interval_s=1.0, now=time.monotonic())
        self.watch = Watch(
            "api", members, probes=dict.fromkeys(names, never), policy=POLICY, schedule=self.schedule, gate=Gate()
        )

    def probed(self, *names: str, result: ProbeResult = PASS, now: float | None = None) -> None:
        """A probe of each of these ended so."""
        now = time.monotonic() if now is None else now
        result = replace(result, began=now - result.total_ms / 1000)
        for name in names:
            self.watch.results[name] = self.watch.judged[name] = result
            self.watch.conditions[name] = judge(self.watch.conditions[name], result, POLICY, now).condition
