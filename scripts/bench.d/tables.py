"""Markdown from runs. Pure."""

from collections.abc import Mapping, Sequence

from bars import judge, times
from figures import Metric, Run, cpu_per_gb, cpu_us, errors, mb_per_s, p50, p99, rate, ratio, rss_mib, typical

Runs = Mapping[str, Sequence[Run]]
"""The rounds of each subject; all have the same number of them."""


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns line up in a terminal too; the first is left-aligned, figures are right-aligned."""
    widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    lines = [_line(row, widths) for row in (header, rule, *rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"


def requests_table(load: str, runs: Runs, metric: Metric) -> str:
    """Everything about one load; bodies are compared with nginx in its better setting, small things unbuffered."""
    references = reference_runs(runs, metric)
    is_big = metric is cpu_per_gb
    cost, speed = ("CPU s/GB", "MB/s") if is_big else ("CPU µs/request", "requests/s")
    against = {name: "less than the seed" if name == "seed" else f"x {name}" for name in references}
    header = ["subject", cost, *against.values(), speed, "p50 ms", "p99 ms", "RSS MiB", "errors"]
    rows = []
    for name, rounds in runs.items():
        ratios = [_against(key, rounds, reference, metric) for key, reference in references.items()]
        rows.append([name, _figure(typical(rounds, metric)), *ratios, *_rest(rounds, mb_per_s if is_big else rate)])
    return "\n".join([markdown(header, rows), "", *judge(load, _with_references(runs, references))]).rstrip()


def reference_runs(runs: Runs, metric: Metric) -> dict[str, Sequence[Run]]:
    """Whom to compare with, of those that were measured; nginx is the better of its two settings for big bodies."""
    found = {name: runs[name] for name in ("nginx", "haproxy", "no proxy", "seed", "off") if name in runs}
    settings = [runs[name] for name in ("nginx", "nginx-buffered") if name in runs]
    if metric is cpu_per_gb and settings:
        found["nginx"] = min(settings, key=lambda rounds: typical(rounds, metric))
    return found


def _with_references(runs: Runs, references: Runs) -> Runs:
    return {**runs, **references}


def _against(name: str, rounds: Sequence[Run], reference: Sequence[Run], metric: Metric) -> str:
    found = ratio(rounds, reference, metric)
    return f"{1 / found:.3g}x" if name == "seed" else f"{found:.2f}"


def _rest(rounds: Sequence[Run], speed: Metric) -> list[str]:
    figures = [f"{typical(rounds, speed):,.0f}", *(f"{typical(rounds, metric):.2f}" for metric in (p50, p99))]
    return [*figures, f"{typical(rounds, rss_mib):.0f}", str(errors(rounds))]


def sweep_table(by_load: Mapping[str, Runs]) -> str:
    """CPU per request of each subject, a column for each number of connections."""
    subjects = list(dict.fromkeys(name for runs in by_load.values() for name in runs))
    rows = [
        [name, *(_figure(typical(runs[name], cpu_us)) if name in runs else "-" for runs in by_load.values())]
        for name in subjects
    ]
    lines = [line for load, runs in by_load.items() for line in judge(load, runs)]
    header = ["CPU µs/request", *(load.removeprefix("get, ") for load in by_load)]
    return "\n".join([markdown(header, rows), "", *lines]).rstrip()


def latency_table(runs: Runs) -> str:
    """Latency at a fixed rate, with ratios against nginx."""
    header = ["subject", "p50 ms", "p99 ms", "p50 x nginx", "p99 x nginx", "CPU µs/request", "errors"]
    rows = []
    for name, rounds in runs.items():
        ratios = [times(ratio(rounds, runs["nginx"], each)) if "nginx" in runs else "-" for each in (p50, p99)]
        figures = [f"{typical(rounds, each):.3f}" for each in (p50, p99)]
        rows.append([name, *figures, *ratios, _figure(typical(rounds, cpu_us)), str(errors(rounds))])
    return "\n".join([markdown(header, rows), "", *judge("rate", runs)]).rstrip()


def _figure(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
