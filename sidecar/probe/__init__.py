"""One probe of one backend: a fresh connection, one question, a result in words for people.

A sick backend is a value, never a raise. Connections are not reused, since accepting one is part of being well. What
is asked depends on the type (``http``, ``sse``, ``websocket``, ``connect``); how long it may take, and what an error
means, is the same for all (``timed``, ``trouble``).
"""

from sidecar.probe.http import own_headers
from sidecar.probe.prober import Prober, tls_context
from sidecar.probe.result import ProbeResult
from sidecar.probe.timed import TimedProbe
from sidecar.probe.trouble import in_words

__all__ = ["ProbeResult", "Prober", "TimedProbe", "in_words", "own_headers", "tls_context"]
