"""What is known of a request when it is over. Pure."""

from enum import StrEnum
from typing import NamedTuple

from worker.headers import trace_id_of
from worker.http1 import RequestHead
from worker.route import path_of


class Ended(StrEnum):
    """How a request came to its end."""

    COMPLETE = "complete"
    """The client got all of an answer, the backend's or ours."""
    CLIENT_GONE = "client_gone"
    CUT = "cut"
    """The answer had begun, and its rest did not come."""
    WITHDRAWN = "withdrawn"
    """The app in front took the request back."""


COMPLETE = Ended.COMPLETE  # of an enum's class it takes a tenth of a microsecond


class Tried(NamedTuple):
    """An attempt that came to nothing: at which backend, why, and when that was known (monotonic)."""

    backend: str
    failure: str
    at: float


class Entry(NamedTuple):
    """One request, at its end.

    ``over`` is when that was (monotonic). ``head`` is ``NO_HEAD`` where none could be read. ``status`` is 0 where no
    answer began, and 499 where its client had left by then (nginx's word for it). The bytes are those of the two
    bodies; what passes through a tunnel is counted in ``messages``, which is None for everything else. ``backend`` is
    who had it last, empty for nobody; ``tried`` are those before, ``failure`` is what it ended with. ``ttfb_s`` is None
    where no answer began.
    """

    over: float
    head: RequestHead
    client: bytes
    status: int
    bytes_up: int
    bytes_down: int
    duration_s: float
    ttfb_s: float | None
    pool: str
    backend: str
    tried: tuple[Tried, ...]
    failure: str
    ended: Ended
    messages: int | None

    @property
    def path(self) -> bytes:
        """As it came, without the query."""
        return path_of(self.head.target)

    @property
    def trace_id(self) -> bytes:
        """In hex, empty for none."""
        return trace_id_of(self.head.fields)

    @property
    def attempts(self) -> int:
        """How many backends were asked."""
        return len(self.tried) + bool(self.backend)


Noted = tuple[
    float, RequestHead, bytes, int, int, int, float, float | None, str, str, tuple[Tried, ...], str, Ended, int | None
]
"""The fields of an entry, in their order: all that is made of most requests while they run."""


def is_trouble(noted: Noted) -> bool:
    """Whether somebody will look for it: a server error, or an answer that its client did not get."""
    return noted[3] >= 500 or noted[12] is not COMPLETE
