"""What a person, a script or `up` wants to know of a running system, read from Redis and from nowhere else.

``table`` draws it, and is to be asked for by itself: most who read have no use for a library of tables.
"""

from sidecar.status.happened import Happening, in_order, latest, newest, since
from sidecar.status.history import History, histories
from sidecar.status.keys import Entry, read_keys, show_keys
from sidecar.status.read import backend_ids, known_backends, pool_names, read_reports, read_status, store_at
from sidecar.status.records import BackendStatus, LimitStatus, PoolStatus, Status, UnreadableError, WorkerStatus
from sidecar.status.traffic import ends_work, warning_without
from sidecar.status.words import printable

__all__ = [
    "BackendStatus",
    "Entry",
    "Happening",
    "History",
    "LimitStatus",
    "PoolStatus",
    "Status",
    "UnreadableError",
    "WorkerStatus",
    "backend_ids",
    "ends_work",
    "histories",
    "in_order",
    "known_backends",
    "latest",
    "newest",
    "pool_names",
    "printable",
    "read_keys",
    "read_reports",
    "read_status",
    "show_keys",
    "since",
    "store_at",
    "warning_without",
]
