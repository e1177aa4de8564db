"""python scripts/simulate.d/simulate.py: the table over all policies, the promises, and a plot; kept under .bench."""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from found import described, promises, table
from plot import PLOTTED, draw
from simulated.bars import LOAD, judge
from simulated.contenders import CONTENDERS, DEFAULT, FLEET, ONE_HOST, SCENES, SWEEP, Contender, records
from simulated.figures import Figures, figures
from simulated.record import Record

KEPT = Path(__file__).resolve().parents[2] / ".bench"
LOADS = {FLEET: "30,70,90", ONE_HOST: "57,79"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Who runs where, how often, at which loads (1 is all that the backends can do), and whether to draw it."""

    scene: str
    contenders: Mapping[str, Contender]
    loads: Sequence[float]
    seeds: Sequence[int]
    plots: bool


def run(options: Options) -> bool:
    """Simulate, print, keep, draw; whether all promises that could be judged were kept."""
    KEPT.mkdir(exist_ok=True)
    setup, is_kept = SCENES[options.scene], True
    texts = [described(setup, options.seeds)]
    for load in options.loads:
        found, to_plot = _contend(options, load)
        texts += ["", f"## {load:.0%} load", "", table(found)]
        if options.scene == FLEET and load == LOAD and DEFAULT in found:
            judged = list(judge(found))
            texts += ["", promises(judged)]
            is_kept = all(each.is_met for each in judged)
            if options.plots:
                draw(to_plot, setup.phases, KEPT / "simulation.png")
    text = "\n".join(texts) + "\n"
    sys.stdout.write(text)
    (KEPT / "simulation.md").write_text(text)
    return is_kept


def _contend(options: Options, load: float) -> tuple[dict[str, Figures], dict[str, list[Record]]]:
    """The figures of everybody, and the records of those that are plotted."""
    found: dict[str, Figures] = {}
    to_plot: dict[str, list[Record]] = {}
    scene = SCENES[options.scene]
    for name, contender in options.contenders.items():
        began = monotonic()
        runs = records(contender, load=load, seeds=options.seeds, scene=scene)
        found[name] = figures(runs, scene.phases)
        if name in PLOTTED:
            to_plot[name] = runs
        sys.stderr.write(f"simulate: {load:.0%} {name}: {monotonic() - began:.1f} s\n")
    return found, to_plot


def parse_arguments() -> Options:
    """What to simulate."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--scene", choices=list(SCENES), default=FLEET, help="default: %(default)s")
    parser.add_argument("--loads", help="per cent of what the backends can do; default: 30,70,90, or 57,79 on one host")
    parser.add_argument("--seeds", type=int, default=5, help="how many runs of each; default: %(default)s")
    parser.add_argument("--contenders", help="names, by semicolons; default: all")
    parser.add_argument("--sweep", action="store_true", help="the default policy with other constants as well")
    parser.add_argument("--no-plot", action="store_true", help="tables only")
    given = parser.parse_args()
    known = {**CONTENDERS, **(SWEEP if given.sweep else {})}
    names = given.contenders.split(";") if given.contenders else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such contender: {'; '.join(unknown)}; there are {'; '.join(known)}")
    return Options(
        scene=given.scene,
        contenders={name: known[name] for name in names},
        loads=[int(load) / 100 for load in (given.loads or LOADS[given.scene]).split(",")],
        seeds=range(1, given.seeds + 1),
        plots=not given.no_plot,
    )


def main() -> int:
    """0: every promise was kept; 1: one was not."""
    options = parse_arguments()
    logging.disable()  # what workers would log, thousands of lines
    return 0 if run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
