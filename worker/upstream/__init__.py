"""One backend's connections."""

from worker.upstream.connection import Receiver, UpstreamConnection
from worker.upstream.queue import Connecting, Waiting
from worker.upstream.upstream import CoarseClock, Upstream, way_of

__all__ = ["CoarseClock", "Connecting", "Receiver", "Upstream", "UpstreamConnection", "Waiting", "way_of"]
