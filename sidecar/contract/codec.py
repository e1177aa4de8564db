"""Model to bytes and back: versioned, additive, strict about types, deaf to unknown fields.

Pure. A reader ignores fields it does not know, so an older worker can follow a newer monitor; what it cannot read
raises ``ContractError``, which followers treat as no news, never as an empty view.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sidecar.contract.model import Admin, Health, Intent, Reading, Report, Tally, UnderWay, Verdict, View

SCHEMA = 1
"""Major version of the view; a reader refuses a greater one."""

_SHOWN_CHARS = 40
_BRIEF = re.compile(r'\{"inflight": (\d{1,15}), [^{}\[\]]*"ejected_ms": (\d{1,15})[,}]')
_NO_TALLY = Tally()


class ContractError(ValueError):
    """What stands in the store is not what we write; the message says what and where."""


def view_body(view: View) -> str:
    """The view as JSON without its ``epoch`` and without the opening brace.

    The publishing script knows the epoch and puts ``{"epoch":N,`` in front, so that Lua never re-encodes JSON
    (cjson turns large integers and empty arrays into something else).
    """
    content = {
        "schema": SCHEMA,
        "token": view.token,
        "store_id": view.store_id,
        "config_hash": view.config_hash,
        "suspect": view.suspect,
        "backends": {verdict.id: _verdict_fields(verdict) for verdict in view.backends.values()},
    }
    return json.dumps(content, separators=(",", ":"))[1:]


def encode_view(view: View) -> bytes:
    """The whole view as the store holds it; see ``view_body`` for the form that is published."""
    return f'{{"epoch":{view.epoch},{view_body(view)}'.encode()


def decode_view(raw: bytes | str) -> View:
    """Read a published view.

    Raises:
        ContractError: not JSON, a newer major schema, or a field of the wrong type or out of its range.
    """
    try:
        content = json.loads(raw)
        if not isinstance(content, dict):
            raise ContractError("the view is not a JSON object")
        if (schema := _integer(content, "schema")) > SCHEMA:
            raise ContractError(f"the view has schema {schema}; this program reads up to {SCHEMA}")
        backends = content["backends"]
        return View(
            epoch=_integer(content, "epoch"),
            token=_integer(content, "token"),
            store_id=str(content["store_id"]),
            config_hash=str(content["config_hash"]),
            suspect=str(content.get("suspect", "")),
            backends={name: _verdict(name, fields) for name, fields in backends.items()},
        )
    except ContractError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ContractError(f"the view cannot be read: {type(error).__name__}: {error}") from error


def _verdict_fields(verdict: Verdict) -> dict[str, object]:
    return {
        "url": verdict.url,
        "state": verdict.state,
        "reason": verdict.reason,
        "since_ms": verdict.since_ms,
        "admin": verdict.admin,
        "ejected_ms": verdict.ejected_ms,
        "ramp_ms": verdict.ramp_ms,
        "weight": verdict.weight,
    }


def _verdict(name: str, fields: dict[str, Any]) -> Verdict:
    weight = fields.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e6:
        raise ContractError(f"weight of {name!r} is {weight!r:.{_SHOWN_CHARS}}")
    return Verdict(
        id=name,
        url=str(fields["url"]),
        state=Health(fields["state"]),
        reason=str(fields.get("reason", "")),
        since_ms=_integer(fields, "since_ms"),
        admin=Admin(fields.get("admin", "ready")),
        ejected_ms=_integer(fields, "ejected_ms", 0),
        ramp_ms=_integer(fields, "ramp_ms", 0),
        weight=float(weight),
    )


def _integer(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ContractError(f"{name} is {value!r:.{_SHOWN_CHARS}}, not a whole number from 0 to 2^53")
    return value


def _decimal_in(fields: Mapping[str, str], name: str) -> int:
    return _integer({name: int(fields[name])}, name)


def backend_hash(verdict: Verdict, reading: Reading) -> dict[str, str]:
    """The fields of ``backend:<id>`` that the monitor knows; what is unknown is an empty string."""
    return {
        "url": verdict.url,
        "state": verdict.state,
        "reason": verdict.reason,
        "since": str(verdict.since_ms),
        "admin": verdict.admin,
        "weight": f"{verdict.weight:g}",
        "probe_ms": decimal_text(reading.probe_ms),
        "ttfb_ms": decimal_text(reading.ttfb_ms),
        "ok_streak": str(reading.ok_streak),
        "fail_streak": str(reading.fail_streak),
        "ejected_ms": str(verdict.ejected_ms),
    }


def reading_from_hash(fields: Mapping[str, str]) -> Reading:
    """The latest probe figures out of ``backend:<id>``; anything unreadable counts as absent."""
    return Reading(
        ok_streak=_count(fields.get("ok_streak")),
        fail_streak=_count(fields.get("fail_streak")),
        probe_ms=_milliseconds(fields.get("probe_ms")),
        ttfb_ms=_milliseconds(fields.get("ttfb_ms")),
    )


def decimal_text(value: float | None) -> str:
    """A figure as hashes and histories have it; empty for None."""
    return "" if value is None else f"{value:.1f}"


def _count(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 16 else 0


def _milliseconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if _is_time(value) else None


def probe_times_text(probe_ms: Mapping[str, float]) -> str:
    """The field ``probe_ms`` of the beat: milliseconds by backend id."""
    return json.dumps({name: round(value, 1) for name, value in probe_ms.items()}, separators=(",", ":"))


def probe_times_of(text: str) -> dict[str, float]:
    """Read it; what is unreadable counts as absent: it is no reason to doubt the beat."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    return {name: float(value) for name, value in fields.items() if _is_time(value)}


def _is_time(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value < 1e12


def report_hash(report: Report) -> dict[str, str]:
    """The fields of ``worker:<host>:<instance>:<slot>``; counters per backend are JSON under ``backend:<id>``."""
    fields = {
        "host": report.host,
        "instance": report.instance,
        "slot": str(report.slot),
        "pid": str(report.pid),
        "incarnation": report.incarnation,
        "heartbeat": str(report.heartbeat_ms),
        "applied_epoch": str(report.applied_epoch),
        "view_age_ms": "" if report.view_age_ms is None else str(report.view_age_ms),
        "draining": "1" if report.draining else "0",
        "under_way": json.dumps(asdict(report.under_way)),
    }
    return fields | {f"backend:{name}": json.dumps(_tally_fields(tally)) for name, tally in report.tallies.items()}


def report_from_hash(fields: Mapping[str, str], *, in_brief: bool = False) -> Report:
    """Read one worker's report.

    Args:
        fields: as ``report_hash`` makes them.
        in_brief: of each tally, only ``inflight`` and ``ejected_ms``, in a tenth of the time.

    Raises:
        ContractError: a field is missing or unreadable.
    """
    tallies = {name: raw for name, raw in fields.items() if name.startswith("backend:")}
    try:
        age = fields["view_age_ms"]
        return Report(
            host=fields["host"],
            instance=fields["instance"],
            slot=int(fields["slot"]),
            pid=_decimal_in(fields, "pid"),
            incarnation=fields["incarnation"],
            heartbeat_ms=_decimal_in(fields, "heartbeat"),
            applied_epoch=_decimal_in(fields, "applied_epoch"),
            view_age_ms=_decimal_in(fields, "view_age_ms") if age else None,
            draining=fields.get("draining") == "1",
            under_way=_under_way(json.loads(fields.get("under_way", "{}"))),
            tallies={
                name.removeprefix("backend:"): tally
                for name, tally in zip(tallies, (_brief if in_brief else _whole)(tallies.values()), strict=True)
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ContractError(f"a worker's report cannot be read: {type(error).__name__}: {error}") from error


def _under_way(fields: Mapping[str, Any]) -> UnderWay:
    return UnderWay(
        requests=_integer(fields, "requests", 0),
        streams=_integer(fields, "streams", 0),
        tunnels=_integer(fields, "tunnels", 0),
        idle=_integer(fields, "idle", 0),
    )


def _tally_fields(tally: Tally) -> dict[str, object]:
    return {
        "inflight": tally.inflight,
        "requests": tally.requests,
        "responses": tally.responses,
        "failures": tally.failures,
        "retries": tally.retries,
        "latency_s": round(tally.latency_s, 6),
        "ejected_ms": tally.ejected_ms,
        "ok_age_ms": tally.ok_age_ms,
        "first_bytes": tally.first_bytes,
    }


def _whole(texts: Iterable[str]) -> Iterator[Tally]:
    """Read as one text: a call for each of 12,800 a second took as long again (measured 2026-11)."""
    return map(_tally, json.loads(f"[{','.join(texts)}]"))


def _brief(texts: Iterable[str]) -> Iterator[Tally]:
    return map(_brief_tally, texts)


def _brief_tally(raw: str) -> Tally:
    """What ``_tally_fields`` writes is known by its beginning; anything else is read as a whole."""
    match = _BRIEF.match(raw)
    if match is None:
        return _tally(json.loads(raw))
    inflight, ejected_ms = match.groups()
    return _NO_TALLY if inflight == ejected_ms == "0" else Tally(inflight=int(inflight), ejected_ms=int(ejected_ms))


def _tally(fields: dict[str, Any]) -> Tally:
    get = fields.get
    counts = _counts(
        (
            get("inflight", 0), get("requests", 0), get("responses", 0), get("failures", 0), get("retries", 0),
            get("ejected_ms", 0), *get("first_bytes", ()),
        )
    )  # fmt: skip
    if not _is_time(latency_s := get("latency_s", 0.0)):
        raise ContractError(f"latency_s is {latency_s!r:.{_SHOWN_CHARS}}")
    return Tally(
        inflight=counts[0],
        requests=counts[1],
        responses=counts[2],
        failures=counts[3],
        retries=counts[4],
        latency_s=float(latency_s),
        ejected_ms=counts[5],
        ok_age_ms=None if get("ok_age_ms") is None else _integer(fields, "ok_age_ms"),
        first_bytes=counts[6:],
    )


def _counts(values: tuple[Any, ...]) -> tuple[int, ...]:
    """Whole numbers. One look for all of them: 64 workers with 200 backends tell of 250,000 each second."""
    if set(map(type, values)) != {int} or min(values) < 0 or max(values) >= 1 << 53:
        raise ContractError(f"counts are {values!r:.{_SHOWN_CHARS}}, not whole numbers from 0 to 2^53")
    return values


def intent_text(intent: Intent) -> str:
    """One field of the ``admin`` hash, under the backend's id."""
    fields = {"admin": intent.admin, "weight": intent.weight, "since_ms": intent.since_ms, "by": intent.by}
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def intent_of(text: str) -> Intent:
    """Read one field of the ``admin`` hash.

    Raises:
        ContractError: it is not what we write.
    """
    try:
        fields = json.loads(text)
        weight = fields.get("weight")
        if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
            raise ContractError(f"an intent's weight is {weight!r:.{_SHOWN_CHARS}}")
        return Intent(
            admin=Admin(fields.get("admin", "ready")),
            weight=weight,
            since_ms=_integer(fields, "since_ms", 0),
            by=str(fields.get("by", "")),
        )
    except ContractError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ContractError(f"an intent cannot be read: {type(error).__name__}: {error}") from error
