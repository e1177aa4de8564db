"""The Grafana dashboard and the alert rules: every name, label and value that they ask for is one that we export."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from admin import NOW, StandIn
from exposed import samples
from posts import StandInPost, report
from sidecar.collect import Traffic
from sidecar.contract.config import parse
from sidecar.contract.events import Event
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Tally
from sidecar.monitor.metrics import Exposition
from sidecar.monitor.post import Post
from sidecar.publish import Change, Outcome
from watched import PASS
from worker.metrics import HostMetrics

COMPOSE = Path(__file__).resolve().parents[1] / "compose"
SELECTOR = re.compile(r"\b(sidebeat_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
GROUPING = re.compile(r"\b(?:by|on|group_left) \(([^)]*)\)")
SCRAPED = {"instance": set[str](), "job": {"sidebeat", "sidebeat-monitor"}}

Exported = dict[str, dict[str, set[str]]]
"""The labels of each sample's name, and the values that each of them takes."""


def expressions() -> Iterator[tuple[str, str, list[str]]]:
    """Everything that is asked of Prometheus: where, the expression, and what people read beside its result."""
    dashboard = json.loads((COMPOSE / "grafana" / "sidebeat.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"], [target["legendFormat"]]
    for note in dashboard["annotations"]["list"]:
        yield note["name"], note["expr"], [note["titleFormat"]]
    for variable in dashboard["templating"]["list"]:
        if met := re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", "")):
            yield variable["name"], f"count by ({met[2]}) ({met[1]})", []
    for rule in rules():
        yield rule["alert"], rule["expr"], list(rule["annotations"].values())


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((COMPOSE / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def exported() -> Exported:
    """What a host and a monitor tell where everything has happened once."""
    host = StandIn()
    host.worker(booted=True).routes_on(0, 7, NOW)
    post = StandInPost("a")
    post.watched.probed("a", result=replace(PASS, expires_days=2))
    post.watch.counted["a"].add(PASS)
    worker = replace(
        report(0, a=Tally(requests=1, first_bytes=(1, *[0] * len(BUCKETS)))), applied_epoch=7, view_age_ms=500
    )
    post.hear(worker, a=Traffic(rps=1.0, error_ratio=0.5))
    post.account.wrote(Outcome.DONE, [Change(backend="a", before="", after=Event.EJECTED, reason="")])
    page = asyncio.run(HostMetrics(host, lambda: NOW).render(""))
    pages = [page, Exposition(lambda: [cast("Post", post)]).render("")]
    found: Exported = {"up": dict(SCRAPED)}
    for name, labels in (each for text, _ in pages for each in samples(text)):
        told = found.setdefault(name, dict(SCRAPED))
        for label, value in labels:
            told.setdefault(label, set()).add(value)
    return found


@pytest.mark.parametrize(("expression", "words"), [pytest.param(*rest, id=where) for where, *rest in expressions()])
def test_whatever_is_asked_for_is_exported(exported: Exported, expression: str, words: list[str]):
    selectors = SELECTOR.findall(expression)
    assert selectors
    for name, matchers in selectors:
        assert name in exported
        for label, operator, value in MATCHER.findall(matchers):
            assert label in exported[name], name
            if "$" not in value:
                assert_matches(operator, value, exported[name][label])
    known = {label for name, _ in selectors for label in exported[name]}
    grouped = {label.strip() for group in GROUPING.findall(expression) for label in group.split(",") if label.strip()}
    assert grouped <= known
    shown = {label for each in words for label in re.findall(r"\{\{ ?(?:\$labels\.)?([a-z]+)", each)}
    assert shown - {"$value"} <= grouped | ({"instance"} if "by (" not in expression else set())
    assert expression.count("(") == expression.count(")")


def assert_matches(operator: str, value: str, told: set[str]) -> None:
    """Every word of a matcher is one that is exported."""
    for word in value.split("|") if "~" in operator else [value]:
        assert any(re.fullmatch(word, each) for each in told), f"{word!r} is none of {sorted(told)}"


def test_every_alert_says_what_it_means_and_how_long_it_waits():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 0
    for rule in rules():
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert re.fullmatch(r"\d+[smh]", rule["for"]), rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]


def test_the_scrape_asks_where_we_listen():
    settings = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text())
    targets = [job["static_configs"][0]["targets"] for job in settings["scrape_configs"]]
    listen = parse({"pools": {"api": {"backends": ["http://127.0.0.1:8081"]}}}, {}).listen
    assert targets == [[listen.admin], [listen.console]]
    assert {job["job_name"] for job in settings["scrape_configs"]} == SCRAPED["job"]
    assert all((COMPOSE / "prometheus" / name).is_file() for name in settings["rule_files"])


def test_panels_lie_beside_each_other_and_say_what_they_show():
    panels = json.loads((COMPOSE / "grafana" / "sidebeat.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"], panel["title"]
