"""The access log: one line for each proxied request, at its end."""

from worker.access.entry import COMPLETE, Ended, Entry, Noted, Tried
from worker.access.log import AccessLog
from worker.access.sink import Sink

__all__ = ["COMPLETE", "AccessLog", "Ended", "Entry", "Noted", "Sink", "Tried"]
