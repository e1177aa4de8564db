"""What an exchange needs of whoever runs it: the worker it lives in, and the client's side in one of the lanes."""

from collections.abc import Callable
from typing import Protocol

from typing_extensions import override

from sidecar.contract.config import Listen
from sidecar.contract.model import Backend
from worker.access import Noted, Tried
from worker.answer import Fields
from worker.failure import Failure
from worker.headers import Peer
from worker.http1 import RequestHead, ResponseHead
from worker.outbox import Outbox
from worker.pool import Pool
from worker.route import Router
from worker.upstream import CoarseClock


class Downstream(Protocol):
    """The client's side of an exchange, in whichever lane."""

    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """The final response, with what came of its body so far."""

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """More of the body, without framing; trailers only with ``done``."""

    def informational(self, head: ResponseHead) -> None:
        """A 1xx response."""

    def refuse(self, failure: Failure, retry_s: int = 1) -> None:
        """Nothing was passed on, and nothing will be: answer with an error of ours.

        ``retry_s`` is when it is worth another try, if the failure is of that kind.
        """

    def cut(self, failure: Failure) -> None:
        """Something was passed on and the rest will not come: end the connection so that the client sees it."""

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """The backend switches protocols; ``exchange.connection`` is the other end of the tunnel."""

    def raw(self, data: bytes) -> None:
        """Bytes through the tunnel."""

    def raw_eof(self) -> None:
        """The backend's direction of the tunnel ended."""

    def hold_upload(self, *, hold: bool) -> None:
        """Whether to stop or go on reading the request's body."""

    def drain(self) -> None:
        """The tunnel is to end with a word that says so; a stream ends soon, and a worker that drains takes no more."""


class Lane(Downstream, Protocol):
    """The client itself, at the end of all that stand between."""

    @override
    def refuse(self, failure: Failure, retry_s: int = 1, said: Fields = ()) -> None:
        """See ``Downstream``; ``said`` are further fields of the answer."""


class Pace(Protocol):
    """How long an exchange waits for its backend."""

    @property
    def idle_s(self) -> float:
        """For more of a body."""

    @property
    def try_s(self) -> float:
        """For a head, once all of the request is sent."""


class Service(Protocol):
    """What an exchange needs of the worker it runs in."""

    listen: Listen
    router: Router
    pools: dict[str, Pool]
    via: bytes
    date: bytes
    clock: Callable[[], float]
    coarse: CoarseClock
    outbox: Outbox
    active: "set[Ongoing]"
    observer: "Observer | None"

    def may_see(self, token: bytes) -> bool:
        """Whether who bears this token may see how an answer came about."""

    def refused(self, failure: Failure) -> None:
        """Count an answer of our own, one of ``failure.REFUSALS``."""


class Client(Protocol):
    """A client's connection, as the worker sees it."""

    def check_deadline(self, now: float) -> None:
        """End what it has kept us waiting for; ``now`` is monotonic."""

    @property
    def is_flushing(self) -> bool:
        """Whether it has yet to take the end of an answer."""

    def end(self) -> None:
        """The worker stops now."""


class Home(Service, Protocol):
    """The worker that client connections live in."""

    clients: set[Client]
    draining: bool


class Ongoing(Protocol):
    """Something with deadlines that the worker's ticker keeps.

    ``responded``: its response has begun, so that it is a stream or a tunnel by now. ``drains``: it was asked to end.
    """

    responded: bool
    drains: bool

    @property
    def backend(self) -> Backend | None:
        """Who has it; None before one was picked."""

    @property
    def is_tunnel(self) -> bool:
        """Whether it is bytes both ways."""

    @property
    def pool(self) -> Pool:
        """Where it began, and will end: one that was replaced lives for so long."""

    def check_deadline(self, now: float) -> None:
        """Act if the deadline is over; ``now`` is monotonic."""

    def drain(self, now: float) -> None:
        """The worker or the backend takes no more: end what would go on for ever, where that loses nothing.

        Asked once. A WebSocket is told to come again, an event stream ends after a whole event; others take no notice.
        """


class Tapped(Protocol):
    """What a tap reads off an exchange when it is over; ``tap`` is the way back to it."""

    tap: "Tap | None"
    story: tuple[Tried, ...]
    has_parted: bool

    @property
    def backend(self) -> Backend | None:
        """See ``Ongoing``."""

    @property
    def pool(self) -> Pool:
        """See ``Ongoing``."""

    @property
    def upload_size(self) -> int:
        """Bytes that came of the request's body."""

    @property
    def messages(self) -> int | None:
        """How many have passed through the tunnel that it was, None if it was none."""


class Tap(Downstream, Protocol):
    """Stands between an exchange and its downstream where somebody wants to know how a request went.

    ``head`` is the one to send, which may have been changed for whoever traces requests; ``exchange`` is set by whoever
    makes that.
    """

    head: RequestHead
    exchange: "Tapped | None"

    def aborted(self, failure: Failure | None) -> None:
        """It is given up for this reason; None: whoever asked for it has taken it back."""


class Observer(Protocol):
    """Who wants to know how requests go; a worker without one has none of the cost."""

    is_tracing: bool
    """Whether each request is to have a tap from the start; else it is enough once it does not end in one piece."""
    note: Callable[[Noted], None]
    """Has what became of a request written down, at its end."""

    def client(self, head: RequestHead, peer: Peer) -> bytes:
        """Whose request it is, as a proxy says that we trust."""

    def tap(self, head: RequestHead, peer: Peer, downstream: Downstream, began: float) -> Tap:
        """One that looks on; the request came at ``began`` (monotonic)."""

    def turned_away(self, head: RequestHead, peer: Peer, failure: Failure) -> None:
        """One was refused, and never became an exchange; the head is ``NO_HEAD`` where none could be read."""
