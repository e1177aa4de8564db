"""What went wrong, as a value: the stage it happened at and the side that broke, and the tables that follow from it.

Pure. Client status, blame and retry are each a table over ``Failure``; nobody decides them anywhere else. A client
that goes away is never evidence against a backend.
"""

from collections.abc import Sequence
from enum import Enum, StrEnum


class Side(StrEnum):
    """Who broke: the client, the backend, or we."""

    CLIENT = "client"
    BACKEND = "backend"
    GATEWAY = "gateway"


class Stage(StrEnum):
    """How far the exchange had come."""

    REQUEST = "request"
    ROUTE = "route"
    CONNECT = "connect"
    HEAD = "head"
    BODY = "body"


class Failure(Enum):
    """Each failure's name is what a client reads in ``x-sidebeat-error``."""

    BAD_REQUEST = "bad_request", Stage.REQUEST, Side.CLIENT
    HEADER_TIMEOUT = "header_timeout", Stage.REQUEST, Side.CLIENT
    BODY_TIMEOUT = "body_timeout", Stage.REQUEST, Side.CLIENT
    BODY_TOO_LARGE = "body_too_large", Stage.REQUEST, Side.CLIENT
    TARGET_TOO_LONG = "target_too_long", Stage.REQUEST, Side.CLIENT
    HEADERS_TOO_LARGE = "headers_too_large", Stage.REQUEST, Side.CLIENT
    METHOD_REFUSED = "method_refused", Stage.REQUEST, Side.CLIENT
    CLIENT_GONE = "client_gone", Stage.REQUEST, Side.CLIENT
    LOOP = "loop", Stage.ROUTE, Side.GATEWAY
    LAST_HOP = "last_hop", Stage.ROUTE, Side.GATEWAY
    NO_ROUTE = "no_route", Stage.ROUTE, Side.GATEWAY
    SHUTTING_DOWN = "shutting_down", Stage.ROUTE, Side.GATEWAY
    NO_BACKEND = "no_backend", Stage.ROUTE, Side.GATEWAY
    QUEUE_TIMEOUT = "queue_timeout", Stage.ROUTE, Side.GATEWAY
    QUEUE_FULL = "queue_full", Stage.ROUTE, Side.GATEWAY
    OVERALL_TIMEOUT = "overall_timeout", Stage.ROUTE, Side.GATEWAY
    REFUSED = "connect_refused", Stage.CONNECT, Side.BACKEND
    UNREACHABLE = "connect_failed", Stage.CONNECT, Side.BACKEND
    CONNECT_TIMEOUT = "connect_timeout", Stage.CONNECT, Side.BACKEND
    TLS = "tls_failed", Stage.CONNECT, Side.BACKEND
    RESET = "reset_before_head", Stage.HEAD, Side.BACKEND
    BAD_RESPONSE = "bad_response", Stage.HEAD, Side.BACKEND
    RESPONSE_TIMEOUT = "response_timeout", Stage.HEAD, Side.BACKEND
    GATEWAY_ERROR = "gateway_error", Stage.HEAD, Side.BACKEND
    CUT_SHORT = "response_cut_short", Stage.BODY, Side.BACKEND
    BAD_BODY = "bad_response_body", Stage.BODY, Side.BACKEND
    IDLE_TIMEOUT = "response_idle_timeout", Stage.BODY, Side.BACKEND
    INTERNAL = "internal", Stage.ROUTE, Side.GATEWAY

    def __init__(self, text: str, stage: Stage, side: Side) -> None:
        """Unpack the value, so that a member reads as a record."""
        self.text = text
        self.stage = stage
        self.side = side

    @property
    def blames_backend(self) -> bool:
        """Whether it counts as evidence against the backend it happened with."""
        return self.side is Side.BACKEND


STATUS: dict[Failure, int] = {
    Failure.BAD_REQUEST: 400,
    Failure.HEADER_TIMEOUT: 408,
    Failure.BODY_TIMEOUT: 408,
    Failure.BODY_TOO_LARGE: 413,
    Failure.TARGET_TOO_LONG: 414,
    Failure.HEADERS_TOO_LARGE: 431,
    Failure.METHOD_REFUSED: 405,
    Failure.LOOP: 508,
    Failure.LAST_HOP: 200,
    Failure.NO_ROUTE: 404,
    Failure.SHUTTING_DOWN: 503,
    Failure.NO_BACKEND: 503,
    Failure.QUEUE_TIMEOUT: 503,
    Failure.QUEUE_FULL: 503,
    Failure.OVERALL_TIMEOUT: 504,
    Failure.REFUSED: 502,
    Failure.UNREACHABLE: 502,
    Failure.CONNECT_TIMEOUT: 504,
    Failure.TLS: 502,
    Failure.RESET: 502,
    Failure.BAD_RESPONSE: 502,
    Failure.RESPONSE_TIMEOUT: 504,
    Failure.INTERNAL: 500,
}
"""Status of our own answer, RFC 9110 §15; a failure that is not here ends the connection, since bytes were passed on
(``GATEWAY_ERROR`` is the backend's own answer, and is passed on as it came)."""

CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client left before its answer: nginx's word for it, which only logs and apps read."""

REFUSALS = tuple(STATUS)
"""All that is counted as an answer of our own."""

CROWDED = frozenset({Failure.QUEUE_TIMEOUT, Failure.QUEUE_FULL})
"""The backends are well and take no more for the moment: the pool knows when it is worth another try."""

RETRY_CONDITION: dict[Failure, str] = {
    Failure.REFUSED: "connect_failure",
    Failure.UNREACHABLE: "connect_failure",
    Failure.CONNECT_TIMEOUT: "connect_failure",
    Failure.TLS: "connect_failure",
    Failure.RESET: "reset",
    Failure.RESPONSE_TIMEOUT: "timeout",
    Failure.GATEWAY_ERROR: "gateway_error",
}
"""The word of ``[pools.NAME.retry] retry_on`` that allows another try; a failure that is not here is final."""

RETRY_REASONS = tuple(dict.fromkeys(RETRY_CONDITION.values()))
"""All that is counted as a reason for another try."""

REASONS: dict[int, str] = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    508: "Loop Detected",
}


class Refused(Exception):  # noqa: N818 - it says what happened to the message, and is never our error
    """A message that breaks the rules, raised by the parsers; carries the failure it amounts to.

    ``said`` are fields for an answer to somebody who may know more.
    """

    def __init__(self, failure: Failure, why: str) -> None:
        """``why`` is for the log; a client reads only the failure's fixed text."""
        super().__init__(why)
        self.failure = failure
        self.said: Sequence[tuple[bytes, bytes]] = ()
