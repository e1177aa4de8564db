import pytest
from hypothesis import given
from hypothesis import strategies as st

from exposed import PARSERS, Parse
from sidecar.contract.events import Metric
from sidecar.contract.exposition import Kind, Page, bounds_of, labels

BOTH = pytest.mark.parametrize(("accept", "parse"), PARSERS.items(), ids=["plain", "openmetrics"])


def text(page: Page) -> str:
    return b"".join(page.parts()).decode()


@BOTH
def test_each_kind_is_read_back_as_what_it_is(accept: str, parse: Parse):
    page = Page(accept, "1.2.3")
    page.family(Metric.HEDGES, Kind.COUNTER, "Counted.").add(labels(pool="api"), 7)
    page.family(Metric.STORE_UP, Kind.GAUGE, "A truth.").add("", True)
    page.family(Metric.VIEW_AGE, Kind.GAUGE, "Not told.")
    page.family(Metric.DURATION, Kind.HISTOGRAM, "Times.").add_histogram(
        labels(pool="api"), bounds_of((0.5, 1)), (3, 0, 2), 12.5
    )
    build, counter, gauge, histogram = parse(text(page))
    assert build.samples[0].labels == {"version": "1.2.3"}
    assert (counter.type, counter.documentation) == ("counter", "Counted.")
    assert [(one.name, one.labels, one.value) for one in counter.samples] == [
        ("sidebeat_hedges_total", {"pool": "api"}, 7)
    ]
    assert (gauge.type, [(one.labels, one.value) for one in gauge.samples]) == ("gauge", [({}, 1)])
    assert histogram.type == "histogram"
    assert [(one.name.rpartition("_")[2], one.labels.get("le"), one.value) for one in histogram.samples] == [
        ("bucket", "0.5", 3),
        ("bucket", "1.0", 3),
        ("bucket", "+Inf", 5),
        ("count", None, 5),
        ("sum", None, 12.5),
    ]


@BOTH
@given(value=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n")))
def test_whatever_a_label_says_is_read_back(accept: str, parse: Parse, value: str):
    page = Page(accept, "1.2.3")
    page.family(Metric.INFLIGHT, Kind.GAUGE, "One.").add(labels(pool=value, backend="b"), 1)
    _, family = parse(text(page))
    assert [one.labels for one in family.samples] == [{"pool": value, "backend": "b"}]
