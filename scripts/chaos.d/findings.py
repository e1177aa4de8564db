"""What a fault showed, against what must hold. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One figure of one fault. ``met`` None: no bar, only told."""

    what: str
    measured: str
    bar: str = ""
    met: bool | None = None


def at_most(what: str, measured: float, bar: float, unit: str = "") -> Finding:
    """A figure that may not exceed its bar."""
    return Finding(what=what, measured=_figure(measured, unit), bar=f"<= {_figure(bar, unit)}", met=measured <= bar)


def holds(what: str, *, met: bool, measured: str = "") -> Finding:
    """A condition."""
    return Finding(what=what, measured=measured or ("yes" if met else "no"), bar="yes", met=met)


def told(what: str, measured: str) -> Finding:
    """Something worth knowing, without a bar."""
    return Finding(what=what, measured=measured)


def _figure(value: float, unit: str) -> str:
    text = f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def table(found: Sequence[tuple[str, Finding]]) -> str:
    """Markdown, a line for each finding."""
    rows = [("fault", "what", "measured", "must be", "")]
    before = ""
    for fault, finding in found:
        verdict = {True: "met", False: "**missed**", None: ""}[finding.met]
        rows.append((fault if fault != before else "", finding.what, finding.measured, finding.bar, verdict))
        before = fault
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
