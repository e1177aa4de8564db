"""One backend's connections."""

from worker.upstream.connection import Receiver, UpstreamConnection
from worker.upstream.upstream import IDLE_S, CoarseClock, Upstream

__all__ = ["IDLE_S", "CoarseClock", "Receiver", "Upstream", "UpstreamConnection"]
