"""One closed-loop run: wrk makes the load, the meter watches the proxy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from figures import Run
from lab import Lab, LabError
from meter import Meter
from subjects import Proxy
from tools import find

MARK = "figures: "

# What wrk prints for people is rounded; it tells this script everything.
_REPORT = """
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        'figures: {"requests": %d, "bytes": %d, "us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\\n',
        summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""

_DISTINCT = """
local count = 0
request = function()
    count = count + 1
    wrk.headers["X-Request-Id"] = count
    return wrk.format()
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What clients do: ``connections`` of them, each the next request as soon as it has its answer.

    ``is_distinct``: no two requests have the same head.
    """

    name: str
    path: str = "/"
    connections: int = 64
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body_bytes: int = 0
    is_distinct: bool = False

    def script(self) -> str:
        """The load as wrk's Lua."""
        lines = [f'wrk.method = "{self.method}"']
        lines += [f'wrk.headers["{name}"] = {json.dumps(value)}' for name, value in self.headers.items()]
        if self.body_bytes:
            lines.append(f'wrk.body = string.rep("x", {self.body_bytes})')
        return "\n".join(lines) + (_DISTINCT if self.is_distinct else "") + _REPORT


def measure(lab: Lab, load: Load, proxy: Proxy, seconds: int) -> Run:
    """Load a proxy for so long.

    Raises:
        LabError: wrk failed, or nothing came at all.
    """
    script = lab.folder / f"{load.name}.lua"
    script.write_text(load.script())
    meter = Meter(proxy.program.pid)
    program = lab.start("wrk", _command(script, proxy.port, load, seconds), core=lab.load_core)
    output = program.run_to_end(meter.sample)
    run = parse(output, cpu_s=meter.cpu_s, rss_bytes=meter.peak_rss_bytes)
    if not run.received_bytes:
        raise LabError(f"{proxy.name} answered nothing under {load.name}:\n{output}")
    return run


def _command(script: Path, port: int, load: Load, seconds: int) -> list[str]:
    options = ["-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    return [str(find("wrk")), *options, f"http://127.0.0.1:{port}{load.path}"]


def parse(output: str, *, cpu_s: float, rss_bytes: int) -> Run:
    """The figures in what wrk printed.

    Raises:
        LabError: there are none.
    """
    told = next((line.removeprefix(MARK) for line in output.splitlines() if line.startswith(MARK)), None)
    if told is None:
        raise LabError(f"wrk told no figures:\n{output}")
    figures = json.loads(told)
    return Run(
        cpu_s=cpu_s,
        requests=figures["requests"],
        received_bytes=figures["bytes"],
        seconds=figures["us"] / 1e6,
        p50_ms=figures["p50_us"] / 1e3,
        p99_ms=figures["p99_us"] / 1e3,
        rss_bytes=rss_bytes,
        errors=figures["errors"],
    )
