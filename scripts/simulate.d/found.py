"""What was found, in words and in Markdown. Pure."""

from collections.abc import Mapping, Sequence

from simulated.bars import Judged
from simulated.figures import Figures
from simulated.machine import SLOTS
from simulated.run import Setup
from tables import markdown

_COLUMNS = (
    "policy", "p50 ms", "p99 ms", "p99.9 ms", "p99 steady", "p99 while one is slow", "errors", "errors in black hole",
    "attempts into it", "busiest",
)  # fmt: skip


def described(setup: Setup, seeds: Sequence[int]) -> str:
    """What was simulated."""
    phases, slowness = setup.phases, ", ".join(f"{each:g}" for each in setup.slowness)
    pauses = f", pauses of 80 to 250 ms about every {setup.pause_every_s:g} s" if setup.pause_every_s else ""
    hollow = f"; another answers 503 in 1 ms in [{phases.hollow_s:g}, {phases.filled_s:g}) s"
    return (
        f"{len(setup.slowness)} backends of {SLOTS} slots and one queue each, a request lognormal with a mean of 20 ms "
        f"times {slowness}{pauses}; hosts x workers: {setup.hosts} x {setup.workers}; Poisson arrivals; clients leave "
        f"after 5 s. One of the fast backends is 10x slow in [{phases.slow_s:g}, {phases.well_s:g}) s"
        f"{hollow if phases.hollow_s < phases.filled_s else ''}; all pass their probes. Figures are of "
        f"[{phases.measured_s:g}, {phases.end_s:g}) s, over {len(seeds)} seeds together; latencies are of requests "
        "that were answered well or whose client left. `busiest` is what the busiest backend gets in a steady second, "
        "in fair shares."
    )


def table(found: Mapping[str, Figures]) -> str:
    """A row for each contender."""
    return markdown(_COLUMNS, [_row(name, each) for name, each in found.items()])


def _row(name: str, found: Figures) -> list[str]:
    waits = (found.p50_s, found.p99_s, found.p999_s, found.steady_p99_s, found.slow_p99_s)
    ratios = (found.errors, found.hollow_errors, found.to_hollow)
    return [
        name,
        *(f"{wait * 1000:,.0f}" for wait in waits),
        *(f"{each:.2%}" for each in ratios),
        f"{found.busiest:.2f}",
    ]


def promises(judged: Sequence[Judged]) -> str:
    """A line for each."""
    return "\n".join(
        f"- {each.what}: {each.found:.3g} (at most {each.limit:g}): {'kept' if each.is_met else '**missed**'}"
        for each in judged
    )
