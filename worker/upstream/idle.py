"""How long a connection to a backend may rest: less than the backend allows, as far as that is known.

Pure; times are seconds, ``now`` is monotonic. A request that is sent just as the backend closes is lost, so it must be
we who close (RFC 9112 §9.3.1). What is known comes from two sources, and the shorter one holds:

- what the backend says, ``Keep-Alive: timeout=5``; until it says something, we assume uvicorn's 5 s
- what the backend does: one that it closed after so long a rest shows where its limit is

A backend that restarts closes connections of every age, which shows nothing. Of closes that come together only the
longest rest counts, then: true limits strike at one age, and a restart spares the truth as far as it can. What is left
of the error fades: the limit drawn from a close doubles every minute, up to what the backend says. A limit that is met
there again at about the same age was true, and each time it is kept for twice as long.
"""

import re
from math import exp2, inf

START_S = 4.0
"""Below uvicorn's 5 s, which is the shortest default of the servers of the Python world but for gunicorn's 2 s."""
MAX_S = 60.0
"""The most, whatever a backend says: nginx's ``keepalive_timeout`` for upstreams."""
MARGIN_S = 1.0
"""How far below a limit we stay: timers of servers count in whole seconds, and our clock here is a coarse one."""
LEAST_S = 0.5
"""A close after less of a rest than this is about something else: a restart, or an answer that was the last one."""
TOGETHER_S = 2.0
"""Closes within this time of the first have one cause."""
FADE_S = 60.0
"""In this time a limit seen once doubles: long enough to be spared most races, short enough to get over a restart."""
MAX_PROOFS = 6
"""So often the fading slows down by half: to an hour or so."""
_SIMILAR = 0.25
_TIMEOUT = re.compile(rb"(?i)(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,9})")


def below(limit_s: float) -> float:
    """How long to rest where the other side closes after ``limit_s``; 0 where it does so at once."""
    return max(limit_s - MARGIN_S, limit_s / 2)


class IdleLimit:
    """What one worker knows of one backend's patience."""

    __slots__ = ("_base_s", "_earlier", "_field", "_proofs", "_seen_at", "_seen_s", "_together_since")

    def __init__(self) -> None:
        self._base_s = START_S
        self._field = b""
        self._seen_s = 0.0  # the rest after which it last closed; 0: it never did
        self._seen_at = 0.0
        self._proofs = 0
        self._earlier = (0.0, 0)  # what was seen, and how often, before the closes that come together now
        self._together_since = -inf

    def tell(self, field: bytes) -> bool:
        """Hear the value of a ``Keep-Alive`` field; whether it says anything new. ``timeout=0``: do not reuse."""
        if field == self._field:
            return False
        self._field = field
        if not (match := _TIMEOUT.search(field)):
            return False
        self._base_s = min(below(int(match[1])), MAX_S)
        return True

    def closed(self, rested_s: float, now: float) -> bool:
        """See the backend close a connection after such a rest; whether that teaches anything."""
        if rested_s < LEAST_S:
            return False
        if now - self._together_since > TOGETHER_S:
            self._together_since = now
            self._earlier = self._seen_s, self._proofs
        elif rested_s <= self._seen_s:
            return False
        known_s, proofs = self._earlier
        is_proof = abs(rested_s - known_s) <= _SIMILAR * max(known_s, MARGIN_S)
        self._seen_s = rested_s
        self._seen_at = now
        self._proofs = min(proofs + 1, MAX_PROOFS) if is_proof else 0
        return True

    def rest_s(self, now: float) -> float:
        """How long a connection may rest; 0: not at all."""
        if not self._seen_s:
            return self._base_s
        doublings = (now - self._seen_at) / (FADE_S * (1 << self._proofs))
        return min(self._base_s, below(self._seen_s) * exp2(min(doublings, 16.0)))
