"""Names of log events and metrics, shared by monitor and workers, and the one way to write a log line.

Pure. Log transitions, not repetitions; never secrets, query strings or bodies.
"""

from enum import StrEnum


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
    WORKER_BOOTED = "worker-booted"
    WORKER_GONE = "worker-gone"
    CHILD_DIED = "child-died"
    RESTARTING = "restarting"
    RESTARTED = "restarted"
    RESTART_FAILED = "restart-failed"
    DRAINING = "draining"
    CONFIG = "config"
    APP_FAILED = "app-failed"
    DEADLINE_FAILED = "deadline-failed"
    EJECTED = "ejected"
    READMITTED = "readmitted"
    RETRY_BUDGET_EXHAUSTED = "retry-budget-exhausted"
    INTENT = "intent"
    MONITOR_SUSPECT = "monitor-suspect"


class Metric(StrEnum):
    """Prometheus names; units and ``_total`` by the conventions."""

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


def line(event: Event, **fields: object) -> str:
    """One log line in logfmt: the event, then ``key=value`` with quotes where a value has spaces or quotes.

    A field whose value is None is left out.
    """
    return " ".join([event, *(f"{key}={_plain(value)}" for key, value in fields.items() if value is not None)])


def _plain(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{text}"' if not text or " " in text or '"' in text or "=" in text else text
