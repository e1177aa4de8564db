"""The access log: one line for each proxied request, at its end."""

from worker.access.entry import Ended, Entry, Noted, Tried
from worker.access.log import AccessLog
from worker.access.sink import Sink

__all__ = ["AccessLog", "Ended", "Entry", "Noted", "Sink", "Tried"]
