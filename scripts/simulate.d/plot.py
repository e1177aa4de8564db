"""A picture of a few policies over time: how long one client in a hundred waits, and who carries the load."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simulated.contenders import DEFAULT, FASTEST, PEAK_EWMA
from simulated.record import Ended, Record, quantile
from simulated.run import HOLLOW, SLOW, SLOWNESS, Phases

PLOTTED = (DEFAULT, "least_request", PEAK_EWMA, "round_robin", FASTEST)
BIN_S = 0.5
_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SICK = {SLOW: "tab:red", HOLLOW: "black"}
_WELL = {1.0: "tab:blue", 1.25: "tab:cyan", 1.8: "tab:olive"}
_COLOURS = {
    "slow for a while": _SICK[SLOW],
    "a black hole for a while": _SICK[HOLLOW],
    **{f"takes {slowness:g}x as long": colour for slowness, colour in _WELL.items()},
}


def draw(found: Mapping[str, Sequence[Record]], phases: Phases, path: Path) -> None:
    """Write a PNG of the contenders that were plotted: waits over all seeds, loads of the first one."""
    mpl.use("Agg")
    figure = Figure(figsize=(12, 4 + 2 * len(found)), layout="constrained")
    first, *others = figure.subplots(1 + len(found), 1, sharex=True, height_ratios=[2, *[1] * len(found)])
    _waits(first, found, phases)
    for axes, (name, records) in zip(others, found.items(), strict=True):
        _loads(axes, name, records[0], phases)
    lines = [Line2D([], [], color=colour, label=text) for text, colour in _COLOURS.items()]
    others[0].legend(handles=lines, loc="lower right", bbox_to_anchor=(1, 1), ncols=5, fontsize="small")
    others[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=110)


def _waits(axes: Axes, found: Mapping[str, Sequence[Record]], phases: Phases) -> None:
    """The 99th percentile of each half second, on a scale where twice as long is as far everywhere."""
    _mark(axes, phases)
    for name, records in found.items():
        bins: list[list[Ended]] = [[] for _ in _starts(phases)]
        for record in records:
            for request in record.between(0.0, phases.end_s):
                bins[min(int(request.arrived_s / BIN_S), len(bins) - 1)].append(request)
        axes.plot(_starts(phases), [quantile(each, 0.99) for each in bins], label=name)
    axes.set(yscale="log", ylabel="p99, s", yticks=_TICKS, yticklabels=[f"{tick:g}" for tick in _TICKS])
    axes.minorticks_off()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, fontsize="small")


def _loads(axes: Axes, name: str, record: Record, phases: Phases) -> None:
    """Attempts at each backend over its fair share."""
    _mark(axes, phases)
    steps = record.loads(0.0, phases.end_s, BIN_S)
    for number, slowness in enumerate(SLOWNESS):
        loads = [step[number] for step in steps]
        axes.plot(_starts(phases), loads, color=_SICK.get(number, _WELL[slowness]), linewidth=1)
    axes.set(ylabel="load / fair share")
    axes.set_ylim(bottom=0)
    axes.set_title(name, loc="left", fontsize="small")


def _mark(axes: Axes, phases: Phases) -> None:
    axes.axvspan(phases.slow_s, phases.well_s, color=_SICK[SLOW], alpha=0.08)
    axes.axvspan(phases.hollow_s, phases.filled_s, color=_SICK[HOLLOW], alpha=0.08)


def _starts(phases: Phases) -> list[float]:
    return [step * BIN_S for step in range(round(phases.end_s / BIN_S))]
