"""Our own answers: short, fixed, and naming the failure; never an exception's text.

Pure. Plain text, or problem details (RFC 9457) where the client asks for JSON.
"""

import json
import re
from collections.abc import Sequence

from worker.failure import CROWDED, REASONS, STATUS, Failure
from worker.http1 import RequestHead

Fields = Sequence[tuple[bytes, bytes]]

_WANTS_JSON = re.compile(rb"(?i)\r\naccept:[^\r]*application/(?:problem\+)?json")

TEXTS: dict[Failure, str] = {
    Failure.BAD_REQUEST: "The request is not valid HTTP/1.1.",
    Failure.HEADER_TIMEOUT: "The request's head did not arrive in time.",
    Failure.BODY_TIMEOUT: "The request's body stopped arriving.",
    Failure.BODY_TOO_LARGE: "The request's body is larger than this proxy accepts.",
    Failure.TARGET_TOO_LONG: "The request's target is longer than this proxy accepts.",
    Failure.HEADERS_TOO_LARGE: "The request's head is larger than this proxy accepts.",
    Failure.METHOD_REFUSED: "This proxy does not forward this method.",
    Failure.LOOP: "The request came back to the proxy that sent it.",
    Failure.LAST_HOP: "This proxy is as far as Max-Forwards lets the request go.",
    Failure.NO_ROUTE: "No route matches this request.",
    Failure.SHUTTING_DOWN: "The proxy is stopping, and the backend had not answered yet.",
    Failure.NO_BACKEND: "No backend takes requests at the moment.",
    Failure.QUEUE_TIMEOUT: "All that the backends may take at a time is in use.",
    Failure.QUEUE_FULL: "Too many requests wait for the backends already.",
    Failure.OVERALL_TIMEOUT: "No backend answered within the time the request has in all.",
    Failure.REFUSED: "The backend refused the connection.",
    Failure.UNREACHABLE: "The backend cannot be reached.",
    Failure.CONNECT_TIMEOUT: "The backend did not accept the connection in time.",
    Failure.TLS: "The backend's TLS handshake failed.",
    Failure.RESET: "The backend closed the connection before it answered.",
    Failure.BAD_RESPONSE: "The backend's answer is not valid HTTP/1.1.",
    Failure.RESPONSE_TIMEOUT: "The backend did not answer in time.",
    Failure.INTERNAL: "The proxy failed.",
}


def error_body(failure: Failure, fields: bytes) -> tuple[bytes, bytes]:
    """(content type, body) of our answer; ``fields`` are the request's, for what it accepts."""
    status = STATUS[failure]
    if not _WANTS_JSON.search(fields):
        return b"text/plain; charset=utf-8", f"{status} {REASONS[status]}: {TEXTS[failure]}\n".encode()
    problem = {"type": "about:blank", "title": REASONS[status], "status": status, "detail": TEXTS[failure]}
    return b"application/problem+json", json.dumps(problem | {"failure": failure.text}).encode()


def error_fields(
    failure: Failure, fields: bytes, retry_s: int = 1, said: Fields = ()
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The header fields of our answer and its body; ``retry_s`` is what ``Retry-After`` says where there is one.

    ``said`` are further fields.
    """
    kind, body = error_body(failure, fields)
    headers = [
        (b"Content-Type", kind),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"x-sidebeat-error", failure.text.encode()),
    ]
    if failure in (Failure.NO_BACKEND, Failure.SHUTTING_DOWN, *CROWDED):
        headers.append((b"Retry-After", b"%d" % retry_s))
    if failure in (Failure.METHOD_REFUSED, Failure.LAST_HOP):
        headers.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    headers.extend(said)
    return headers, body


def error_answer(
    failure: Failure, head: RequestHead, date: bytes, retry_s: int = 1, said: Fields = (), *, close: bool
) -> bytes:
    """The whole answer as bytes; without its body where the request was HEAD."""
    status = STATUS[failure]
    headers, body = error_fields(failure, head.fields, retry_s, said)
    headers.append((b"Date", date))
    if close:
        headers.append((b"Connection", b"close"))
    elif head.version == 0:
        headers.append((b"Connection", b"keep-alive"))
    lines = b"".join(b"\r\n%b: %b" % header for header in headers)
    answer = b"HTTP/1.1 %d %b%b\r\n\r\n" % (status, REASONS[status].encode(), lines)
    return answer if head.method == b"HEAD" else answer + body
