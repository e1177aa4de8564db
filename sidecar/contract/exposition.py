"""Prometheus' text in its two forms, the plain one (0.0.4) and OpenMetrics 1.0.0.

Pure. Lines are written as they come: by way of ``prometheus_client``'s objects, a thousand backends took ten times the
CPU (0.67 s, measured 2026-11), and all of a worker's requests waited for that.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

from sidecar.contract.events import Metric

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Kind(StrEnum):
    """What a family's numbers are. A counter's name ends in ``_total``."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


def labels(**pairs: str) -> str:
    """The labels of a sample as they are written, without the braces."""
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in pairs.items()])


class Family:
    """One metric with all its samples. Their labels are what ``labels`` makes, and no two have the same."""

    __slots__ = ("_lines", "_name", "_texts")

    def __init__(self, name: Metric, kind: Kind, said: str, *, openmetrics: bool) -> None:
        """``said`` is for people: plain words in one line."""
        title = name.removesuffix("_total") if openmetrics else name
        self._name = str(name)
        self._texts = [f"# HELP {title} {said}\n# TYPE {title} {kind}\n".encode()]
        self._lines: list[str] = []

    def add(self, labels: str, value: float) -> None:
        """A sample of a counter or a gauge."""
        where = f"{{{labels}}}" if labels else ""
        self._lines.append(f"{self._name}{where} {+value}\n")  # plus: a truth is written as a number

    def add_histogram(self, labels: str, bounds: Sequence[str], counts: Iterable[int], total: float) -> None:
        """The samples of a histogram.

        Args:
            labels: not empty.
            bounds: as ``bounds_of`` makes them.
            counts: of each bucket alone.
            total: the sum of all that was counted.
        """
        start, below = f"{self._name}_bucket{{{labels},le=", 0
        for bound, count in zip(bounds, counts, strict=True):
            below += count
            self._lines.append(f"{start}{bound}}} {below}\n")
        self._lines.append(f"{self._name}_count{{{labels}}} {below}\n{self._name}_sum{{{labels}}} {+total}\n")

    def settle(self) -> None:
        """Make text of what was added since."""
        if self._lines:
            self._texts.append("".join(self._lines).encode())
            self._lines.clear()

    def text(self) -> bytes:
        """All of it, as it is sent; nothing where there are no samples."""
        self.settle()
        return b"".join(self._texts) if len(self._texts) > 1 else b""


class Page:
    """What one scrape is answered with: plain, unless OpenMetrics is asked for."""

    def __init__(self, accept: str, version: str) -> None:
        """Begin with what runs; ``accept`` is the field of that name, or empty."""
        self._openmetrics = "application/openmetrics-text" in accept.lower()
        self._families: list[Family] = []
        build = self.family(Metric.BUILD, Kind.GAUGE, "1, with the version that runs.")
        build.add(labels(version=version), 1)

    def family(self, name: Metric, kind: Kind, said: str) -> Family:
        """The next family; each name once."""
        family = Family(name, kind, said, openmetrics=self._openmetrics)
        self._families.append(family)
        return family

    @property
    def content_type(self) -> str:
        """Of the text."""
        return OPENMETRICS if self._openmetrics else PLAIN

    def settle(self) -> None:
        """Make text of what was added since: a thousand backends' all at once would take long."""
        for family in self._families:
            family.settle()

    def parts(self) -> Iterator[bytes]:
        """All of it, as it is sent, a family at a time."""
        yield from (family.text() for family in self._families)
        if self._openmetrics:
            yield b"# EOF\n"


def bounds_of(buckets: Iterable[float]) -> tuple[str, ...]:
    """The upper bounds of buckets as they are written, and one for the rest; ``buckets`` are doubles (OpenMetrics)."""
    return (*(f'"{float(bound)}"' for bound in buckets), '"+Inf"')


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
