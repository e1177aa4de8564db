"""What callers of the library see when there is no answer: HTTP errors that are httpx errors, too.

An app written for fastapi-reverse-proxy 0.2.0 catches what httpx raises, one for 0.4.0 ``HTTPException``; both are met.
"""

import httpx
from fastapi import HTTPException

from worker.failure import CROWDED, STATUS, Failure


class GatewayError(HTTPException):
    """A request that got no answer; ``failure`` says why, in the word of ``x-sidebeat-error``."""

    def __init__(self, failure: Failure, detail: str, retry_s: int | None = None) -> None:
        """``retry_s`` is when it is worth another try, if the failure is of that kind."""
        headers = {"x-sidebeat-error": failure.text}
        if retry_s is not None:
            headers["retry-after"] = str(retry_s)
        HTTPException.__init__(self, STATUS[failure], detail, headers)
        self.failure = failure
        self._request: httpx.Request | None = None  # where httpx's errors have theirs

    def of(self, request: httpx.Request) -> None:
        """Say what was asked for, as httpx's errors do."""
        self._request = request


class ConnectFailedError(GatewayError, httpx.ConnectError):
    """502: the backend cannot be reached."""


class BadAnswerError(GatewayError, httpx.RemoteProtocolError):
    """502: the backend closed before it answered, or its answer is not HTTP."""


class ConnectTimeoutError(GatewayError, httpx.ConnectTimeout):
    """504: the backend did not accept the connection in time."""


class AnswerTimeoutError(GatewayError, httpx.ReadTimeout):
    """504: the backend did not answer in time."""


class CutShortError(httpx.RemoteProtocolError):
    """The response broke off after it had begun; raised where the rest of it was awaited."""


NOBODY = frozenset({Failure.NO_BACKEND, *CROWDED})
"""Nobody is eligible, or nobody had a place in time: worth another try in a moment."""

_KINDS: dict[Failure, tuple[type[GatewayError], str]] = {
    Failure.REFUSED: (ConnectFailedError, "Bad Gateway"),
    Failure.UNREACHABLE: (ConnectFailedError, "Bad Gateway"),
    Failure.TLS: (ConnectFailedError, "Bad Gateway"),
    Failure.RESET: (BadAnswerError, "Bad Gateway"),
    Failure.BAD_RESPONSE: (BadAnswerError, "Bad Gateway"),
    Failure.CONNECT_TIMEOUT: (ConnectTimeoutError, "Gateway Timeout"),
    Failure.RESPONSE_TIMEOUT: (AnswerTimeoutError, "Upstream Read Timeout"),
    Failure.OVERALL_TIMEOUT: (AnswerTimeoutError, "Upstream Read Timeout"),
    **dict.fromkeys(NOBODY, (GatewayError, "Service Unavailable: No healthy backends available or all over limit")),
}
"""The class and the text: 0.4.0's own, of its ``handle_proxy_exception`` and of its balancer."""


def error_of(failure: Failure, retry_s: int | None = None) -> GatewayError:
    """The error that tells a caller of this failure."""
    kind, detail = _KINDS.get(failure, (GatewayError, failure.text.replace("_", " ").capitalize()))
    return kind(failure, detail, retry_s)
