"""``sse``: how long an event takes from the backend's write to the client's read."""

import socket
import time

from bars import judge, times
from figures import Run, cpu_us, errors, p50, p99, percentile, ratio, typical
from lab import LabError
from meter import Meter
from subjects import Proxy
from tables import markdown

EVENTS = 1_000
WARM_UP = 50
REQUEST = b"GET /events HTTP/1.1\r\nHost: bench.example\r\nAccept: text/event-stream\r\n\r\n"


def measure(proxy: Proxy, events: int = EVENTS) -> Run:
    """One stream, of which the first events do not count.

    Raises:
        LabError: it ended.
    """
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(REQUEST)
        _read(connection, WARM_UP)
        meter = Meter(proxy.program.pid)
        began = time.monotonic()
        latencies = sorted(_read(connection, events))
        seconds = time.monotonic() - began
        meter.sample()
    return Run(
        cpu_s=meter.cpu_s,
        requests=len(latencies),
        received_bytes=0,
        seconds=seconds,
        p50_ms=1e3 * percentile(latencies, 0.5),
        p99_ms=1e3 * percentile(latencies, 0.99),
        rss_bytes=meter.peak_rss_bytes,
        errors=0,
    )


def _read(connection: socket.socket, count: int) -> list[float]:
    """Seconds each of so many events took; the backend's clock is ours."""
    took_s: list[float] = []
    rest = b""
    while len(took_s) < count:
        data = connection.recv(65_536)
        now = time.monotonic_ns()
        if not data:
            raise LabError("the event stream ended")
        *told, rest = (rest + data).split(b"\n\n")
        took_s += [(now - int(event.rpartition(b"data: ")[2])) / 1e9 for event in told]
    return took_s[:count]


def table(runs: dict[str, list[Run]]) -> str:
    """All subjects, and the bars."""
    header = ["subject", "p50 ms", "p99 ms", "p50 x nginx", "CPU µs/event", "errors"]
    rows = [
        [
            name,
            *(f"{typical(rounds, each):.3f}" for each in (p50, p99)),
            times(ratio(rounds, runs["nginx"], p50)) if "nginx" in runs else "-",
            f"{typical(rounds, cpu_us):.1f}",
            str(errors(rounds)),
        ]
        for name, rounds in runs.items()
    ]
    return "\n".join([markdown(header, rows), "", *judge("sse", runs)]).rstrip()
