"""python scripts/bench.d WHAT: measure one thing or all, print the tables, keep them under .bench."""

import argparse
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import access_log
import balance
import event_load
import library
import memory
import openloop
import origin
import picking_cost
import stream_origin
import websocket_load
import wrk
from figures import Metric, Run, cpu_per_gb, cpu_us
from lab import KEPT, Lab, LabError, say
from subjects import SUBJECTS, Proxy, available, launch, start, streamer
from tables import Runs, latency_table, requests_table, sweep_table
from tools import need, versions
from wrk import Load

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "https://bench.example/a/page/before/this/one",
    "Cookie": "session=0d9f1c3e5a7b8d2f4e6a8c0b; theme=dark; consent=2026-11-01",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Priority": "u=0, i",
    "Cache-Control": "max-age=0",
}
GET = Load(name="get")
LOADS: dict[str, tuple[Load, Metric]] = {
    "get": (GET, cpu_us),
    "get12": (Load(name="get12", headers=BROWSER), cpu_us),
    "distinct": (Load(name="distinct", path="/distinct", is_distinct=True), cpu_us),
    "post": (Load(name="post", path="/upload", method="POST", body_bytes=16_384), cpu_us),
    "big": (Load(name="big", path="/files/big", connections=2), cpu_per_gb),
    "m1": (Load(name="m1", path="/files/m1", connections=8), cpu_per_gb),
}
SWEEP = (1, 8, 64, 256)
NO_STREAMERS = {"sidebeat-asgi", "nginx-buffered"}
"""There the app has the WebSockets; it holds events back."""
TOO_SLOW_FOR_RATE = {"seed"}
"""It answers a tenth of the fixed rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long, how often, and who; ``policies``: of sidebeat, where they are what is measured."""

    seconds: int
    rounds: int
    subjects: list[str]
    policies: list[str]

    @property
    def how(self) -> str:
        """The first half of the line below a table."""
        return f"{self.rounds} rounds of {self.seconds} s each, in turns; medians"


def closed_loop(what: str, options: Options) -> str:
    """One load, all subjects in turns."""
    load, metric = LOADS[what]
    with Lab() as lab:
        proxies = _start_all(lab, options.subjects, origin.start_nginx(lab))
        runs = _in_rounds(proxies, options, partial(wrk.measure, lab, load))
    return f"{requests_table(what, runs, metric)}\n\n{options.how}"


def sweep(options: Options) -> str:
    """The small GET at several numbers of connections."""
    found: dict[str, Runs] = {}
    with Lab() as lab:
        proxies = _start_all(lab, options.subjects, origin.start_nginx(lab))
        for connections in SWEEP:
            name = f"get, {connections} connection{'s' if connections > 1 else ''}"
            load = Load(name=f"get-{connections}", connections=connections)
            say(name)
            found[name] = _in_rounds(proxies, options, partial(wrk.measure, lab, load))
    return f"{sweep_table(found)}\n\n{options.how}"


def rate(options: Options) -> str:
    """The small GET at a fixed rate."""
    subjects = [name for name in options.subjects if name not in TOO_SLOW_FOR_RATE]
    with Lab() as lab:
        proxies = _start_all(lab, subjects, origin.start_nginx(lab))
        runs = _in_rounds(proxies, options, openloop.measure)
    return f"{latency_table(runs)}\n\n{openloop.RATE:,} requests/s, open loop; {options.how}"


def slow_and_idle(options: Options) -> str:
    """Memory, one subject after the other; rounds would only repeat what the first left behind."""
    found = {}
    for name in options.subjects:
        with Lab() as lab:
            say(f"{name}: idle connections and slow transfers")
            found[name] = memory.measure(start(lab, name, origin.start_slow(lab)))
    return f"{memory.table(found)}\n\nOne fresh start of each"


def balancing(options: Options) -> str:
    """Backends that differ, one of them slow for a while."""
    return balance.measure(
        seconds=options.seconds, rounds=options.rounds, subjects=options.subjects, policies=options.policies
    )


def websockets(options: Options) -> str:
    """Echoes, plain and compressed, and then a crowd that is silent."""
    tables = []
    with Lab() as lab:
        others = [f"{name} as installed" for name in options.subjects if name == "seed"]
        proxies = _start_streamers(lab, [*options.subjects, *others])
        for load, tongue in {"ws": websocket_load.PLAIN, "ws, compressed": websocket_load.COMPRESSED}.items():
            say(load)
            runs = _in_rounds(proxies, options, partial(websocket_load.measure, tongue))
            tables.append(f"{load}:\n\n{websocket_load.table(load, runs)}")
        say("idle WebSockets")
        tables.append(websocket_load.idle_table({each.name: websocket_load.idle_bytes(each) for each in proxies}))
    tables.append(f"{websocket_load.CONNECTIONS} connections, 1 KiB of text; {options.how}")
    return "\n\n".join(tables)


def logged(options: Options) -> str:
    """The small GET with each form of the access log, and without one."""
    with Lab() as lab:
        proxy = access_log.Talkative.start(lab)
        runs = _in_rounds([proxy.named(form) for form in access_log.FORMS], options, proxy.measure)
    return f"{requests_table('log', runs, cpu_us)}\n\n{options.how}"


def events(options: Options) -> str:
    """One event stream at a time; its length is in events, not in seconds."""
    with Lab() as lab:
        proxies = _start_streamers(lab, options.subjects)
        runs = _in_rounds(proxies, options, lambda proxy, _: event_load.measure(proxy))
    return f"{event_load.table(runs)}\n\n{options.rounds} rounds of {event_load.EVENTS:,} events, in turns; medians"


def _start_streamers(lab: Lab, subjects: list[str]) -> list[Proxy]:
    backends = stream_origin.start(lab)
    wanted = [name for name in subjects if name not in NO_STREAMERS]
    say(f"starting {', '.join(wanted)}")
    return [launch(lab, name, streamer(name), backends, workers=1) for name in wanted]


def in_an_app(options: Options) -> str:
    """The small GET through a route of a user's own app, and what big bodies take there."""
    with Lab() as lab:
        runs = _in_rounds(library.start_all(lab), options, partial(wrk.measure, lab, GET))
    say("big bodies through proxy_pass")
    grown = library.growth_table(library.growth())
    return f"{requests_table('library', runs, cpu_us)}\n\n{grown}\n\n{options.how}"


def pick(options: Options) -> str:
    """Without traffic: nothing is started."""
    return f"{picking_cost.measure(options.rounds)}\n\nMedians of {options.rounds} rounds, in turns"


def _start_all(lab: Lab, subjects: list[str], backends: tuple[int, int]) -> list[Proxy]:
    say(f"starting {', '.join(subjects)}")
    return [start(lab, name, backends) for name in subjects]


def _in_rounds(proxies: list[Proxy], options: Options, measure: Callable[[Proxy, int], Run]) -> dict[str, list[Run]]:
    """Each subject once in each round, after one short turn each that does not count."""
    runs: dict[str, list[Run]] = {proxy.name: [] for proxy in proxies}
    for proxy in proxies:
        measure(proxy, 1)
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        for proxy in proxies:
            runs[proxy.name].append(measure(proxy, options.seconds))
    return runs


MEASUREMENTS: dict[str, Callable[[Options], str]] = {
    **{what: partial(closed_loop, what) for what in LOADS},
    "sweep": sweep,
    "rate": rate,
    "memory": slow_and_idle,
    "balance": balancing,
    "ws": websockets,
    "sse": events,
    "log": logged,
    "library": in_an_app,
    "pick": pick,
}
PROGRAMS: dict[str, set[str]] = {"library": {"wrk", "nginx"}, "log": {"wrk", "nginx"}, "pick": set()}
"""What is needed where the subjects of the others are not measured."""
LENGTHS = {"balance": (12, 9), "pick": (0, 15)}
"""Seconds of a run and rounds, where a slow phase or a noisy tail needs more than the usual 3 and 5."""


def publish(what: str, table: str) -> Path:
    """Print a table and keep it."""
    machine = f"{platform.system()} {platform.release()}, {platform.machine()}; {versions()}"
    text = f"## {what}\n\n{table}; {machine}; {datetime.now(UTC):%Y-%m-%d}.\n"
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"results-{what}.md"
    path.write_text(text)
    return path


def parse_arguments() -> dict[str, Options]:
    """What to measure, and how."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("what", choices=[*MEASUREMENTS, "all"])
    parser.add_argument("--seconds", type=int, help="of each run; default: 3, for balance 12")
    parser.add_argument("--rounds", type=int, help="default: 5, for balance 9, for pick 15")
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help="default: %(default)s")
    parser.add_argument("--policies", default="p2c_ewma", help="of sidebeat in balance; default: %(default)s")
    given = parser.parse_args()
    subjects = given.subjects.split(",")
    if unknown := set(subjects) - SUBJECTS.keys():
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    chosen = {}
    for what in MEASUREMENTS if given.what == "all" else [given.what]:
        seconds, rounds = LENGTHS.get(what, (3, 5))
        chosen[what] = Options(
            seconds=given.seconds or seconds,
            rounds=given.rounds or rounds,
            subjects=subjects,
            policies=given.policies.split(","),
        )
    return chosen


def main() -> int:
    """Do it; the exit status is 0, or 1 when something could not be measured."""
    chosen = parse_arguments()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        for what, options in chosen.items():
            able = options
            need(PROGRAMS.get(what, {"wrk", "nginx", *options.subjects}))
            if what not in PROGRAMS:
                able = replace(options, subjects=available(options.subjects))
            say(f"kept in {publish(what, MEASUREMENTS[what](able))}")
    except LabError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
