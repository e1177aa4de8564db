"""What the answer to one request says of how it came about, where its sender bears a token that lets it.

``Recount`` stands between the exchange and the lane, and adds its fields to whatever head goes by: the backend's answer
or ours. The same goes for every attempt before it. Nothing of this exists for any other request.
"""

import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from typing_extensions import override

from sidecar.contract.token import FIELD
from worker.affinity import Wish
from worker.answer import Fields
from worker.between import Between
from worker.exchange import Exchange
from worker.failure import Failure
from worker.hedge import Hedge, Hedged
from worker.http1 import ResponseHead
from worker.lane import Lane, Service
from worker.survey import Stand, ms, odds_of, prospect_of, stands_of
from worker.upstream import UpstreamConnection

EXPLAIN = FIELD.encode()
WAYS = 256
"""How many picks are asked for to tell how likely the backend was: this is on the path of other requests."""
SHOWN = 16
"""Backends in the record: a header has to fit into what others read."""
MAX_CAUSE = 100
"""Characters of what is said of one."""


class Timed(Exchange):
    """An exchange that notes when its attempts began, and what connecting took."""

    recount: "Recount | None" = None
    first_pick: float | None = None
    connect_s: float | None = None

    @override
    def start(self) -> None:
        self.connect_s = None
        super().start()
        if self.first_pick is None and self.backend is not None:
            self.first_pick = self._began

    @override
    def connected(self, connection: UpstreamConnection) -> None:
        self.connect_s = self._service.clock() - self._began
        super().connected(connection)

    @override
    def said(self, failure: Failure) -> Fields:
        return () if self.recount is None else self.recount.said(failure)

    @property
    def wish(self) -> Wish | None:
        """Whom it would rather have."""
        return self._wish

    @property
    def is_repeatable(self) -> bool:
        """Whether its method, or its key, lets it be made again."""
        return self._repeatable

    @property
    def is_safe(self) -> bool:
        """Whether it can be made again elsewhere without harm; see ``Pool.take``."""
        return self._repeatable and self._pieces is None

    @property
    def began(self) -> float:
        """When the attempt under way did (monotonic)."""
        return self._began


class TimedHedged(Timed, Hedged):
    """The same of one that may be hedged."""

    @override
    def _hand_over(self, hedge: Hedge, why: str) -> None:
        self.connect_s = None  # that was the other one's
        super()._hand_over(hedge, why)


class Recount(Between):
    """The downstream of one exchange, in front of the real one."""

    def __init__(self, service: Service, downstream: Lane) -> None:
        super().__init__(downstream)
        self._service = service
        self._lane = downstream
        self._begun = service.clock()
        self._exchange: Timed | None = None
        self._stands: tuple[Stand, ...] = ()
        self._about: dict[str, Any] = {"pid": os.getpid()}

    def follow(self, exchange: Timed) -> None:
        """This is the exchange, not yet started: see how its pool stands before it picks."""
        now, pool = self._begun, exchange.pool
        self._exchange = exchange
        exchange.recount = self
        prospect = prospect_of(pool, exchange.wish, now, safe=exchange.is_safe)
        odds = odds_of(pool, prospect, now, WAYS)
        self._stands = stands_of(pool, prospect, odds, now, SHOWN)
        knowledge = pool.knowledge
        self._about |= {
            "pool": pool.name,
            "tier": pool.selection.tier,
            "decided_by": prospect.by,
            "epoch": knowledge.view.epoch if knowledge.view else 0,
            "age_ms": ms(knowledge.age_s(now)),
        }

    def said(self, failure: Failure, why: str = "") -> Fields:
        """The fields of an error of ours."""
        return self._fields({"failure": failure.text, **({"why": why} if why else {})})

    def _fields(self, outcome: dict[str, Any]) -> Fields:
        now, exchange = self._service.clock(), self._exchange
        backend = exchange.backend if exchange is not None else None
        record = {**self._about, "backends": dict(self._backends()), "attempts": list(self._attempts(now)), **outcome}
        fields = [
            (b"Server-Timing", ", ".join(self._timing(now)).encode()),
            (EXPLAIN, json.dumps(record, separators=(",", ":")).encode()),
        ]
        if backend is not None:
            fields.insert(0, (b"x-sidebeat-backend", _printable(backend.id).encode()))
        return fields

    def _backends(self) -> Iterator[tuple[str, float | str]]:
        """Each with how likely it was to be picked, or why it was not to be."""
        for stand in self._stands:
            yield stand.id, round(stand.probability, 4) if stand.eligible else stand.cause[:MAX_CAUSE]
        if self._exchange is not None and (more := len(self._exchange.pool.seats.rows) - len(self._stands)):
            yield "…", f"{more} more"

    def _attempts(self, now: float) -> Iterator[dict[str, Any]]:
        exchange = self._exchange
        if exchange is None:
            return
        for tried in exchange.story:
            yield {"backend": tried.backend, "failure": tried.failure, "at_ms": ms(tried.at - self._begun)}
        if exchange.backend is not None:
            connect = {} if exchange.connect_s is None else {"connect_ms": ms(exchange.connect_s)}
            yield {"backend": exchange.backend.id, **connect, "ms": ms(now - exchange.began)}

    def _timing(self, now: float) -> Iterator[str]:
        """Server Timing (W3C): durations in milliseconds."""
        exchange = self._exchange
        if exchange is None or exchange.first_pick is None:
            yield f"queue;dur={ms(now - self._begun)}"
            return
        yield f"queue;dur={ms(exchange.first_pick - self._begun)}"
        if exchange.story:
            yield f"retries;dur={ms(exchange.began - exchange.first_pick)}"
        if exchange.backend is not None:
            if exchange.connect_s is not None:
                yield f"connect;dur={ms(exchange.connect_s)}"
            yield f'upstream;dur={ms(now - exchange.began)};desc="{_printable(exchange.backend.id)}"'
        yield f'attempts;desc="{len(exchange.story) + (exchange.backend is not None)}"'

    def _telling(self, head: ResponseHead) -> ResponseHead:
        return _TellingHead(head, b"".join(b"\r\n%b: %b" % field for field in self._fields({"status": head.status})))

    @override
    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        super().respond(self._telling(head), body, done=done)

    @override
    def switched(self, head: ResponseHead, data: bytes) -> None:
        super().switched(self._telling(head), data)

    @override
    def refuse(self, failure: Failure, retry_s: int = 1, said: Fields = ()) -> None:
        self._lane.refuse(failure, retry_s, (*said, *self.said(failure)))


class _TellingHead(ResponseHead):
    """A head with lines of ours."""

    def __init__(self, head: ResponseHead, ours: bytes) -> None:
        super().__init__(head.status, head.reason, head.version, head.fields, head.special, head.length, head.size)
        self.ours = ours


def _printable(name: str) -> str:
    """An id as a field may have it; that of a unix socket is a path, and may be anything."""
    return quote(name, safe="/:@!$&'()*+,;=~[] ")
