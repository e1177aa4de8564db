"""What stands between an exchange and its client's side, and changes or notes some of what passes."""

from worker.failure import Failure
from worker.http1 import ResponseHead
from worker.lane import Downstream


class Between:
    """A ``Downstream`` that passes everything on to the next one, as it came."""

    __slots__ = ("_downstream",)

    def __init__(self, downstream: Downstream) -> None:
        self._downstream = downstream

    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Downstream``; so are the others."""
        self._downstream.respond(head, body, done=done)

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """See there."""
        self._downstream.body(data, trailers, done=done)

    def informational(self, head: ResponseHead) -> None:
        """See there."""
        self._downstream.informational(head)

    def refuse(self, failure: Failure, retry_s: int = 1) -> None:
        """See there."""
        self._downstream.refuse(failure, retry_s)

    def cut(self, failure: Failure) -> None:
        """See there."""
        self._downstream.cut(failure)

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See there."""
        self._downstream.switched(head, data)

    def raw(self, data: bytes) -> None:
        """See there."""
        self._downstream.raw(data)

    def raw_eof(self) -> None:
        """See there."""
        self._downstream.raw_eof()

    def hold_upload(self, *, hold: bool) -> None:
        """See there."""
        self._downstream.hold_upload(hold=hold)

    def drain(self) -> None:
        """See there."""
        self._downstream.drain()
