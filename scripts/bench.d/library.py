"""What the library costs in a user's own app: the same route on ours, on the package it replaces, and on neither.

All of them run under plain uvicorn, in the same environment, with the loop and the parser that it takes by itself.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import memory
import origin
from bars import LIBRARY_MIB, verdict
from lab import Lab
from meter import Meter
from subjects import Proxy, Site, Start, launch
from tables import markdown

HERE = Path(__file__).parent
SEED = Path(sys.prefix, "seeds", "0.4.0")


def _under_uvicorn(environ: Mapping[str, str], site: Site) -> Start:
    command = [sys.executable, "-P", "-m", "uvicorn", "passing_app:app", "--app-dir", str(HERE)]
    options = ["--port", str(site.port), "--no-access-log", "--timeout-keep-alive", "75", "--log-level", "warning"]
    backend = {"BACKEND": f"http://127.0.0.1:{site.backends[0]}"}
    return Start(command=[*command, *options], environ={**backend, **environ})


SUBJECTS: dict[str, Callable[[Site], Start]] = {
    "proxy_pass": partial(_under_uvicorn, {"LIBRARY": "worker"}),
    "seed": partial(_under_uvicorn, {"LIBRARY": "fastapi_reverse_proxy", "PYTHONPATH": str(SEED)}),
    "no proxy": partial(_under_uvicorn, {}),
}
"""Ours, 0.4.0, and a route that answers by itself."""


def start_all(lab: Lab) -> list[Proxy]:
    """Start each of them over nginx."""
    backends = origin.start_nginx(lab)
    return [launch(lab, name, prepare, backends, workers=1) for name, prepare in SUBJECTS.items()]


def growth() -> dict[str, int]:
    """How far the memory of ours rises in each transfer of 200 MiB, on a fresh start."""
    with Lab() as lab:
        proxy = launch(lab, "proxy_pass", SUBJECTS["proxy_pass"], origin.start_slow(lab), workers=1)
        memory.warm_up(proxy.port)
        meter = Meter(proxy.program.pid)
        transfers = {**memory.FAST, **memory.SLOW}
        return {name: memory.growth(meter, transfer, proxy.port) for name, transfer in transfers.items()}


def growth_table(found: Mapping[str, int]) -> str:
    """Each transfer and its growth, and the bar."""
    rows = [[name, f"+{each / memory.MIB:.1f}"] for name, each in found.items()]
    worst = max(found.values()) / memory.MIB
    judged = f"- proxy_pass, any of them: +{worst:.1f} MiB (bar {LIBRARY_MIB:g}): {verdict(worst, LIBRARY_MIB)}"
    return f"{markdown(['200 MiB through proxy_pass', 'RSS MiB'], rows)}\n\n{judged}"
