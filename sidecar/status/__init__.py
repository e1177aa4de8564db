"""What a person, a script or `up` wants to know of a running system, read from Redis and from nowhere else."""

from sidecar.status.happened import Happening, latest, newest, since
from sidecar.status.keys import Entry, read_keys, show_keys
from sidecar.status.read import pool_names, read_status, store_at
from sidecar.status.records import BackendStatus, LimitStatus, PoolStatus, Status, UnreadableError, WorkerStatus
from sidecar.status.table import show_status

__all__ = [
    "BackendStatus",
    "Entry",
    "Happening",
    "LimitStatus",
    "PoolStatus",
    "Status",
    "UnreadableError",
    "WorkerStatus",
    "latest",
    "newest",
    "pool_names",
    "read_keys",
    "read_status",
    "show_keys",
    "show_status",
    "since",
    "store_at",
]
