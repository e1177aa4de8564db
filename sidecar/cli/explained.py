"""An explanation for people: from the request down to what the backend sees, a heading for each question."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sidecar.status import printable
from sidecar.status.table import STYLES, plain_table, standard_output
from sidecar.status.words import duration, milliseconds

Record = Mapping[str, Any]


def show_explanation(told: Record) -> None:
    """Print it to stdout."""
    console = standard_output()
    for part in _parts(told):
        console.print(part)


def _parts(told: Record) -> Iterator[RenderableType]:
    trust = "believed about those before it" if told["trusted"] else "not believed about those before it"
    yield _head(f"{told['method']} {told['url']}", f"Host {told['host']}, from {told['client']} ({trust})")
    if (refused := told["refused"]) is not None:
        answer = f"answered with {refused['status']} {refused['failure']}: {refused['why']}"
        yield Text(f" {printable(answer)}", style="bold red")
    for route in told["routes"]:
        yield _route(route)
    if (choice := told["choice"]) is not None:
        yield _head(f"pool {choice['pool']}", _choice(choice))
        yield _backends(told)
    if (forwarded := told["forwarded"]) is not None:
        yield _head("sent", f"to {forwarded['backend']}, the likeliest: {forwarded['request_line']}")
        yield _changes(forwarded["changes"])
    if told["rules"] is not None:
        yield from _rules(told)
    yield _head("as of", _standpoint(told))


def _head(title: str, rest: str) -> Text:
    return Text.assemble((printable(title), "bold"), f"  {printable(rest)}")


def _route(route: Record) -> Text:
    parts = [route["host"] or "any host", route["path_prefix"], "|".join(route["methods"]), f"to {route['pool']}:"]
    mark, style = ("✓", "green") if route["taken"] else ("✗", "dim")
    words = " ".join(filter(None, parts))
    return Text(f" {mark} route {printable(words)} {printable(route['why'])}", style=style)


def _choice(choice: Record) -> str:
    parts = [f"{choice['policy']} over tier {choice['tier']}: {choice['reason']}"]
    decisions = {
        "affinity": "its cookie decides",
        "canary": "a backend whose ejection is over has to be tried, and this request would be the one to do it",
    }
    if choice["decided_by"] in decisions:
        parts.append(decisions[choice["decided_by"]])
    if choice["draws"]:
        parts.append(f"probabilities are estimated from {choice['draws']} picks")
    if waiting := choice["waiting"]:
        parts.append(f"{waiting} requests wait for a place" if waiting > 1 else "one request waits for a place")
    return "; ".join(parts)


def _backends(told: Record) -> Table:
    table = plain_table("BACKEND", "NEXT", "RECENT MEAN", "IN FLIGHT", "WEIGHT", "COST", "STATE", "WHY")
    for backend in told["backends"]:
        state = backend["state"] if backend["admin"] == "ready" else f"{backend['state']}, {backend['admin']}"
        share = f"{backend['probability']:.1%}" if backend["eligible"] else "-"
        table.add_row(
            Text(printable(backend["id"])),
            Text(share, style="green" if backend["probability"] else "dim"),
            milliseconds(backend["latency_ms"] if backend["probe_ms"] is None else backend["probe_ms"]),
            _of(backend["inflight"], backend["places"]),
            _weight(backend),
            _cost(backend),
            Text(state, style=STYLES.get(backend["state"], "")),
            Text(printable(backend["cause"] or backend["reason"])),
        )
    return table


def _of(count: int, most: int | None) -> str:
    return str(count) if most is None else f"{count} of {most}"


def _weight(backend: Record) -> str:
    ramp = backend["ramp"]
    return f"{backend['weight']:g}" if ramp in (None, 1.0) else f"{backend['weight']:g} x {ramp:.0%}"


def _cost(backend: Record) -> str:
    if backend["cost"] is not None:
        return f"{backend['cost']:.4g}"
    return "" if backend["credit"] is None else f"credit {backend['credit']:.3g}"


def _changes(changes: list[Record]) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=True)
    for change in changes:
        before, after = (", ".join(change[when]) for when in ("before", "after"))
        kind, style = (
            ("+", "green") if not change["before"] else ("-", "red") if not change["after"] else ("~", "yellow")
        )
        words = after if kind == "+" else before if kind == "-" else f"{before} → {after}"
        table.add_row(Text(kind, style=style), Text(printable(change["name"])), Text(printable(words)))
    return table if changes else Text(" no field is changed")


def _rules(told: Record) -> Iterator[RenderableType]:
    rules, affinity = told["rules"], told["affinity"]
    yield _head(
        "belongs", f"{affinity['backend']}: {affinity['outcome']}" if affinity["backend"] else affinity["outcome"]
    )
    yield _head("again", "after a failure, at another backend:")
    for rule in rules["retry"]:
        yield Text(f" {printable(rule)}")
    if rules["hedge_after_ms"] is not None:
        yield Text(f" a second backend is asked beside the first after {milliseconds(rules['hedge_after_ms'])}")
    limits = ", ".join(f"{name} {value:g}" for name, value in rules["timeouts"].items() if value)
    yield _head("timeouts", limits)


def _standpoint(told: Record) -> str:
    worker, view = told["worker"], told["view"]
    parts = [f"worker {worker['host']}:{worker['slot']} (pid {worker['pid']}){', draining' * worker['draining']}"]
    if view is not None:
        age = "of no monitor yet" if view["age_ms"] is None else f"{duration(view['age_ms'])} old"
        parts.append(f"view {view['epoch']}, {age} ({view['freshness']})")
        if view["suspect"]:
            parts.append(f"monitor_suspect: {view['suspect']}")
    if not worker["store_up"]:
        parts.append("the store does not answer")
    return ", ".join(parts)
