"""python scripts/console.d/measure.py: a monitor of many backends, reports of many workers, their page in a browser."""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from browsing import SIZES, Seen, visit
from chromium import chromium, find_chromium
from counting_origin import Origin
from crew import Crew
from findings import Finding, at_most, table, told
from processes import Program
from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from waiting import eventually, free_port, is_port_open

FIRST_PAINT_MS, UPDATE_MS = 1_000, 50
HOST, NAMESPACE = "web-1", "console"
DEAD = 3
"""Backends that refuse connections, so that there is something to see."""
KEPT = Path(__file__).resolve().parents[2] / ".bench"
CONFIG = """
[store]
url = "{url}"
namespace = "{namespace}"
host = "{host}"
[listen]
console = "127.0.0.1:{port}"
[pools.api]
backends = {backends}
"""


@asynccontextmanager
async def fleet(backends: int, workers: int) -> AsyncIterator[str]:
    """The URL of a console that has so much to show."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="console-")))
        server = stack.enter_context(RedisServer())
        origin = await stack.enter_async_context(Origin())
        names = [f"app-{number:03d}" for number in range(backends)]
        port, dead = free_port(), free_port()
        members = ", ".join(
            f'{{ id = "{name}", url = "http://127.0.0.1:{dead if number < DEAD else origin.port}" }}'
            for number, name in enumerate(names)
        )
        file = folder / "sidebeat.toml"
        file.write_text(
            CONFIG.format(url=server.url, namespace=NAMESPACE, host=HOST, port=port, backends=f"[{members}]")
        )
        command: list[str | Path] = [sys.executable, "-P", "-m", "sidecar", "monitor", "-c", file]
        monitor = stack.enter_context(Program(command, env={"XDG_RUNTIME_DIR": str(folder)}))
        store = await stack.enter_async_context(connect(server.url))
        crew = Crew(store, PoolKeys(NAMESPACE, f"api@{HOST}"), workers, names)
        reporting = await stack.enter_async_context(asyncio.TaskGroup())
        task = reporting.create_task(crew.run())
        stack.callback(task.cancel)
        await eventually(lambda: is_port_open(port), within=30, what=lambda: f"a console; {monitor.output[-2000:]}")
        yield f"http://127.0.0.1:{port}/"


def findings(seen: Seen) -> Sequence[Finding]:
    """What was seen, against the bars."""
    updates = sorted(seen.updates_ms)
    return [
        at_most("first paint", round(seen.first_paint_ms), FIRST_PAINT_MS, "ms"),
        told("first rows", f"{seen.first_rows_ms:.0f} ms"),
        told("an update, median", f"{statistics.median(updates):.1f} ms"),
        at_most("the longest update", updates[-1], UPDATE_MS, "ms"),
        at_most("with its parsing, style and layout", seen.scripts_ms + seen.layout_ms, UPDATE_MS, "ms"),
        told("with paint and all else", f"{seen.main_thread_ms:.0f} ms"),
        told("tasks above 50 ms", str(len(seen.long_tasks_ms))),
    ]


async def measure(options: argparse.Namespace, path: str) -> list[tuple[str, Finding]]:
    """The findings of each size of window, each in a page of its own."""
    found: list[tuple[str, Finding]] = []
    async with fleet(options.backends, options.workers) as url, chromium(path) as browser:
        for size in SIZES:
            sys.stderr.write(f"console: {size}, {options.backends} backends, {options.workers} workers\n")
            shot = options.shots and options.shots / f"console-{options.backends}-{size}.png"
            seen = await visit(browser, url, size=size, seconds=options.seconds, shot=shot)
            found += [(size, finding) for finding in findings(seen)]
    return found


def main() -> int:
    """0: every bar was met; 1: not; 2: there is no browser here."""
    parser = argparse.ArgumentParser(prog="console", description=__doc__)
    parser.add_argument("--backends", type=int, default=200)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each page is watched")
    parser.add_argument("--shots", type=Path, help="a folder for pictures of the pages")
    options = parser.parse_args()
    if (path := find_chromium()) is None:
        sys.stderr.write("console: there is no Chromium here\n")
        return 2
    found = asyncio.run(measure(options, path))
    text = table(found)
    KEPT.mkdir(exist_ok=True)
    (KEPT / "console.md").write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return int(any(finding.met is False for _, finding in found))


if __name__ == "__main__":
    sys.exit(main())
