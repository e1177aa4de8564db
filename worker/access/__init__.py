"""The access log: one line for each proxied request, at its end."""

from worker.access.entry import Ended, Entry, Tried, entry_of
from worker.access.log import AccessLog
from worker.access.sink import Sink

__all__ = ["AccessLog", "Ended", "Entry", "Sink", "Tried", "entry_of"]
