"""Names of log events and metrics, shared by monitor and workers, and the one way to write a log line.

Pure. Log transitions, not repetitions; never secrets, query strings or bodies.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum

_BARE = re.compile(r'[^ "=]+')
"""What needs no quotes."""


class Event(StrEnum):
    """The first word of a log line; what follows are ``key=value`` pairs."""

    STARTED = "started"
    STOPPED = "stopped"
    VERDICT = "verdict"
    LEASE_WON = "lease-won"
    LEASE_LOST = "lease-lost"
    FENCED = "fenced"
    STORE_UP = "store-up"
    STORE_DOWN = "store-down"
    STORE_GARBAGE = "store-garbage"
    VIEW_APPLIED = "view-applied"
    VIEW_STALE = "view-stale"
    VIEW_FRESH = "view-fresh"
    SLOTS_EXHAUSTED = "slots-exhausted"
    BOARD_FULL = "board-full"
    ALONE = "alone"
    WORKER_BOOTED = "worker-booted"
    WORKER_GONE = "worker-gone"
    CHILD_DIED = "child-died"
    RESTARTING = "restarting"
    RESTARTED = "restarted"
    RESTART_FAILED = "restart-failed"
    DRAINING = "draining"
    CONFIG = "config"
    CONSOLE = "console"
    APP_FAILED = "app-failed"
    DEADLINE_FAILED = "deadline-failed"
    EJECTED = "ejected"
    READMITTED = "readmitted"
    RETRY_BUDGET_EXHAUSTED = "retry-budget-exhausted"
    INTENT = "intent"
    MONITOR_SUSPECT = "monitor-suspect"
    ACCESS_LOG_LOST = "access-log-lost"
    ACCESS_LOG_BACK = "access-log-back"


class Metric(StrEnum):
    """Prometheus names; units and ``_total`` by the conventions. First those of a host, then those of the monitor."""

    REQUESTS = "sidebeat_requests_total"
    INFLIGHT = "sidebeat_inflight"
    PENDING = "sidebeat_pending"
    RETRIES = "sidebeat_retries_total"
    HEDGES = "sidebeat_hedges_total"
    FAILURES = "sidebeat_upstream_failures_total"
    FIRST_BYTE = "sidebeat_upstream_first_byte_seconds"
    DURATION = "sidebeat_request_duration_seconds"
    BACKEND_STATE = "sidebeat_backend_state"
    EJECTED = "sidebeat_ejected"
    PANIC = "sidebeat_panic"
    VIEW_AGE = "sidebeat_view_age_seconds"
    VIEW_EPOCH = "sidebeat_view_epoch"
    STORE_UP = "sidebeat_store_up"
    TUNNELS = "sidebeat_tunnels"
    MESSAGES = "sidebeat_websocket_messages_total"
    DRAINING = "sidebeat_draining"
    REFUSALS = "sidebeat_refusals_total"
    WORKERS = "sidebeat_workers"
    WORKERS_BEHIND = "sidebeat_workers_behind"
    HEARTBEAT_AGE = "sidebeat_worker_heartbeat_age_seconds"
    OFF_BOARD = "sidebeat_pool_off_board"
    BUILD = "sidebeat_build_info"

    PROBE_TIMES = "sidebeat_probe_seconds"
    PROBE_RESULTS = "sidebeat_probe_results_total"
    CERTIFICATE = "sidebeat_certificate_remaining_seconds"
    LEADER = "sidebeat_leader"
    SUSPECT = "sidebeat_monitor_suspect"
    PUBLISHES = "sidebeat_publish_total"
    EVENTS = "sidebeat_events_total"
    WORKERS_FRESH = "sidebeat_workers_fresh"
    FLEET_BEHIND = "sidebeat_fleet_workers_behind"
    FLEET_VIEW_AGE = "sidebeat_fleet_view_age_seconds"
    FLEET_EPOCH = "sidebeat_fleet_view_epoch"
    FLEET_STATE = "sidebeat_fleet_backend_state"
    FLEET_EJECTED = "sidebeat_fleet_ejected"
    FLEET_INFLIGHT = "sidebeat_fleet_inflight"
    FLEET_RATE = "sidebeat_fleet_requests_per_second"
    FLEET_ERRORS = "sidebeat_fleet_error_ratio"
    FLEET_REQUESTS = "sidebeat_fleet_requests_total"
    FLEET_RESPONSES = "sidebeat_fleet_responses_total"
    FLEET_FAILURES = "sidebeat_fleet_failures_total"
    FLEET_RETRIES = "sidebeat_fleet_retries_total"
    FLEET_FIRST_BYTE = "sidebeat_fleet_first_byte_seconds"


class Line(str):
    """A log line as text, which still knows what it is made of."""

    __slots__ = ("event", "fields")
    event: Event
    fields: Mapping[str, object]


def line(event: Event, **fields: object) -> Line:
    """One log line in logfmt: the event, then ``key=value`` with quotes where a value has spaces or quotes.

    A field whose value is None is left out.
    """
    said = {key: value for key, value in fields.items() if value is not None}
    made = Line(" ".join([event, *(f"{key}={_plain(value)}" for key, value in said.items())]))
    made.event, made.fields = event, said
    return made


def _plain(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if not text.isprintable() or '"' in text or "\\" in text:  # a terminal would obey what is not printable
        text = json.dumps(text)[1:-1]
    return f'"{text}"' if not text or not _BARE.fullmatch(text) else text
