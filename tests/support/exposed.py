"""What Prometheus reads from a page of metrics, by its own parsers.

samples(text)["sidebeat_inflight", labels(pool="api", backend="b")]
"""

from collections.abc import Callable, Iterable

from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics

Parse = Callable[[str], Iterable[Metric]]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

PARSERS: dict[str, Parse] = {
    "": parser.text_string_to_metric_families,
    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3": openmetrics.text_string_to_metric_families,
}
"""By what is asked for in ``Accept``."""


def labels(**pairs: str) -> frozenset[tuple[str, str]]:
    """The labels of a sample, in whatever order."""
    return frozenset(pairs.items())


def samples(text: bytes, accept: str = "") -> Samples:
    """Each sample's value, by its name and labels; no two samples have the same."""
    families = PARSERS[accept](text.decode())
    found = [((one.name, labels(**one.labels)), one.value) for family in families for one in family.samples]
    assert len(dict(found)) == len(found)
    return dict(found)
