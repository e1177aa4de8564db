import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.codec import (
    ContractError,
    backend_hash,
    decode_view,
    encode_view,
    probe_times_of,
    probe_times_text,
    reading_from_hash,
    report_from_hash,
    report_hash,
    view_body,
)
from sidecar.contract.model import Admin, Health, Reading, Report, Tally, Verdict, View

whole = st.integers(min_value=0, max_value=2**53 - 1)
names = st.text(alphabet="abcXYZ019.:_/-", min_size=1, max_size=20)
verdicts = st.builds(
    Verdict,
    id=names,
    url=st.text(max_size=30),
    state=st.sampled_from(Health),
    reason=st.text(max_size=30),
    since_ms=whole,
    admin=st.sampled_from(Admin),
    ejected_ms=whole,
    ramp_ms=whole,
    weight=st.floats(min_value=0, max_value=256),
)
views = st.builds(
    lambda backends, **fields: View(backends={verdict.id: verdict for verdict in backends}, **fields),
    backends=st.lists(verdicts, max_size=5),
    epoch=whole,
    token=whole,
    store_id=st.text(max_size=10),
    config_hash=st.text(max_size=10),
)
VIEW = View(epoch=7, token=3, store_id="s", config_hash="c", backends={"a": Verdict(id="a", url="http://a")})


@given(views)
def test_a_view_comes_back_as_it_was(view):
    assert decode_view(encode_view(view)) == view


def test_the_script_puts_the_epoch_in_front_of_the_body():
    assert f'{{"epoch":7,{view_body(VIEW)}'.encode() == encode_view(VIEW)


def test_a_field_from_a_newer_monitor_is_ignored():
    content = json.loads(encode_view(VIEW))
    content["colour"] = "blue"
    content["backends"]["a"]["mood"] = {"good": True}
    assert decode_view(json.dumps(content)) == VIEW


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2), ("schema", None), ("epoch", -1), ("epoch", True), ("epoch", "7"), ("epoch", 2**60),
        ("token", 1.5),
        ("backends", []), ("backends", {"a": []}), ("backends", {"a": {}}),
        ("backends", {"a": {"url": "u", "state": "splendid", "since_ms": 0}}),
        ("backends", {"a": {"url": "u", "state": "healthy", "since_ms": 0, "weight": -1}}),
        ("backends", {"a": {"url": "u", "state": "healthy", "since_ms": 0, "weight": float("nan")}}),
        ("backends", {"a": {"url": "u", "state": "healthy", "since_ms": 0, "ejected_ms": "5"}}),
    ],
)  # fmt: skip
def test_a_wrong_value_is_a_contract_error_and_nothing_else(key, value):
    content = json.loads(encode_view(VIEW)) | {key: value}
    with pytest.raises(ContractError):
        decode_view(json.dumps(content))


@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_garbage_is_a_contract_error_and_nothing_else(raw):
    with pytest.raises(ContractError):
        decode_view(raw)


def test_nesting_that_exhausts_the_stack_is_a_contract_error():
    with pytest.raises(ContractError):
        decode_view("[" * 100_000)


@given(st.builds(
    Report, host=names, instance=names, slot=st.integers(-(2**31), 2**31), pid=whole, incarnation=names,
    heartbeat_ms=whole, applied_epoch=whole, view_age_ms=st.none() | whole, draining=st.booleans(),
    tallies=st.dictionaries(names, st.builds(Tally, inflight=whole, requests=whole, responses=whole, failures=whole,
                                             retries=whole, ejected_ms=whole,
                                             first_bytes=st.lists(whole, max_size=14).map(tuple)), max_size=3),
))  # fmt: skip
def test_a_report_comes_back_as_it_was(report):
    assert report_from_hash(report_hash(report)) == report
    brief = report_from_hash(report_hash(report), in_brief=True)
    assert brief == replace(report, tallies=brief.tallies)
    assert {name: (each.inflight, each.ejected_ms) for name, each in brief.tallies.items()} == {
        name: (each.inflight, each.ejected_ms) for name, each in report.tallies.items()
    }


@pytest.mark.parametrize("change", [
    {"backend:a": '{"first_bytes": [1, -1]}'}, {"backend:a": '{"first_bytes": [true]}'},
    {"backend:a": '{"latency_s": NaN}'}, {"backend:a": '{"latency_s": "1"}'}, {"backend:a": "{},{}"},
    {"slot": "x"}, {"pid": ""}, {"backend:a": "{"}, {"backend:a": "[]"}, {"heartbeat": f"-{10**400}"},
    {"applied_epoch": f"-{10**400}"}, {"view_age_ms": f"{10**400}"}, {"backend:a": f'{{"latency_s":{10**400}}}'},
])  # fmt: skip
def test_an_unreadable_report_is_a_contract_error(change):
    report = Report(host="h", instance="i", slot=0, pid=1, incarnation="x")
    with pytest.raises(ContractError) as caught:
        report_from_hash(report_hash(report) | change)
    assert len(str(caught.value)) < 200, "it goes into a line of the log"


def test_a_report_without_a_field_is_a_contract_error():
    with pytest.raises(ContractError):
        report_from_hash({"host": "h"})


def test_a_reading_survives_the_hash_and_garbage_in_it_counts_as_absent():
    reading = Reading(ok_streak=3, fail_streak=0, probe_ms=1.5, ttfb_ms=None)
    verdict = replace(VIEW.backends["a"], weight=2.0)
    fields = backend_hash(verdict, reading)
    assert fields["weight"] == "2"
    assert reading_from_hash(fields) == reading
    assert reading_from_hash({"ok_streak": "-1", "fail_streak": "many", "probe_ms": "nan"}) == Reading()


@given(st.dictionaries(names, st.floats(min_value=0, max_value=1e6)))
def test_probe_times_come_back_to_a_tenth_of_a_millisecond(probe_ms):
    assert probe_times_of(probe_times_text(probe_ms)) == {name: round(value, 1) for name, value in probe_ms.items()}


@pytest.mark.parametrize(
    "text", ["", "fast", "7", "[1]", "[" * 100_000, '{"a":"1"}', '{"a":-1}', '{"a":NaN}', '{"a":true}']
)
def test_probe_times_that_cannot_be_read_are_absent(text):
    assert probe_times_of(text) == {}


def test_of_several_probe_times_those_that_can_be_read_count():
    assert probe_times_of('{"a":1,"b":null,"c":2.5,"d":1e400}') == {"a": 1.0, "c": 2.5}
